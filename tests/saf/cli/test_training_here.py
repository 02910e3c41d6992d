"""What a training on this machine shows while it goes on, and where it cannot write."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from saf.cli import offline
from saf.client.progress import Moment
from saf.training import loop
from saf.training.events import Checking, Converting, Evaluation
from tests.saf.cli.test_main import Saf, saf

__all__ = ["saf"]


def test_the_check_of_the_network_leaves_the_step_where_it_was() -> None:
    shown: list[Moment] = []

    class Bar:
        def show(self, moment: Moment) -> None:
            shown.append(moment)

    follow = offline._Follower(Console(quiet=True), Bar())  # type: ignore[arg-type]
    follow(Evaluation(step=48, epoch=2, metrics={"test_accuracy": 0.5}))
    follow(Converting(step=48))
    follow(Checking(done=10, total=20))
    assert [moment.step for moment in shown] == [48, 48, 48]
    assert shown[-1].checked == (10, 20)


def test_a_full_disk_is_told_with_the_folder(
    saf: Saf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "train", full)
    ended = saf("train", "--epochs", "1", "--out", str(tmp_path))
    assert ended.status == 1
    assert ended.err.strip().endswith(f"{tmp_path}: No space left on device")
