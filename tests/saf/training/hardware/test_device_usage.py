"""What a training tells of the device that it uses."""

from __future__ import annotations

import pytest
import torch

from saf.training.hardware.device_usage import Usage


class NotSupportedError(Exception):
    """As `pynvml` raises it, on a slice of a GPU for example: no RuntimeError."""


def test_a_gpu_that_does_not_tell_how_busy_it_is_ends_no_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(device: torch.device) -> int:
        raise NotSupportedError

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1024)
    assert Usage(torch.device("cuda")).read() == {"memory_bytes": 1024.0}
