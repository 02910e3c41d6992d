"""Slots, with a stand-in for nvidia-smi where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from saf.cores import cores
from worker.devices import slots

CARDS = """0, GPU-aaaaaaaa-1, NVIDIA H100 80GB HBM3, 81559 MiB
1, GPU-bbbbbbbb-2, NVIDIA H100 80GB HBM3, 81559 MiB
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a program that answers as nvidia-smi does on a machine with two cards."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{CARDS}END\n")
    program.chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


def test_without_gpu_one_slot_has_all_cores() -> None:
    (slot,) = slots(wanted=0, environment={"PATH": "/nowhere"})
    assert slot.device == "cpu"
    assert slot.environment["OMP_NUM_THREADS"] == str(cores())
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_each_gpu_is_a_slot_of_its_own(path: str) -> None:
    first, second = slots(wanted=0, environment={"PATH": path})
    assert (first.device, second.device) == ("cuda", "cuda")
    assert first.environment["CUDA_VISIBLE_DEVICES"] == "GPU-aaaaaaaa-1"
    assert second.environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbbbbbb-2"
    assert second.label == "cuda:1 NVIDIA H100 80GB HBM3, 81559 MiB"


def test_more_slots_than_gpus_share_them_and_the_cores(path: str) -> None:
    found = slots(wanted=4, environment={"PATH": path})
    visible = [slot.environment["CUDA_VISIBLE_DEVICES"][:5] for slot in found]
    assert visible == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]
    assert found[0].environment["OMP_NUM_THREADS"] == str(max(1, cores() // 4))


@pytest.mark.parametrize("visible", ["1", "GPU-bbbbbbbb-2"])
def test_gpus_that_are_hidden_from_the_worker_stay_hidden(path: str, visible: str) -> None:
    (slot,) = slots(wanted=0, environment={"PATH": path, "CUDA_VISIBLE_DEVICES": visible})
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbbbbbb-2"


def test_a_driver_that_does_not_answer_leaves_the_processor(tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    (slot,) = slots(wanted=0, environment={"PATH": str(tmp_path)})
    assert slot.device == "cpu"


def test_as_many_threads_as_are_wanted_whatever_the_slots(path: str) -> None:
    found = slots(wanted=4, environment={"PATH": path}, threads=3)
    assert {slot.environment["OMP_NUM_THREADS"] for slot in found} == {"3"}
    (slot,) = slots(wanted=1, environment={"PATH": "/nowhere"}, threads=1)
    assert slot.label == "cpu (1 thread)"
