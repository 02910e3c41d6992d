"""The number of threads of a training: its bits depend on it, so it goes with the checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch

from saf.training.checkpoint import Checkpoint, Progress, newest
from saf.training.events import Started
from saf.training.hardware.environment import keep_threads
from saf.training.loop import train
from tests.saf.training.trainings import dataset, specification

JOB = specification(network={"name": "convnet", "channels": [16, 16]}, batch_size=24, epochs=3)
DATA = dataset(samples=48)
BEGUN_WITH, ELSEWHERE = 2, 1


@pytest.fixture(autouse=True)
def threads_of_this_test() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(directory: Path, threads: int, stop_at: int | None = None) -> list[torch.Tensor]:
    """The weights after a training, or the rest of one, on a machine with so many threads."""
    torch.set_num_threads(threads)
    asked = count(1)
    reports = train(
        JOB,
        DATA,
        directory,
        device="cpu",
        resume_from=directory / "checkpoints",
        stop=lambda: next(asked) == stop_at,
    )
    started = next(report for report in reports if isinstance(report, Started))
    assert started.environment["threads"] == BEGUN_WITH
    assert list(reports)
    assert torch.get_num_threads() == threads, "the caller's threads are put back"
    if stop_at is not None:
        return []
    return list(Checkpoint.read(directory / "checkpoint.safetensors").weights.values())


@pytest.mark.slow
def test_a_training_goes_on_with_the_threads_that_it_began_with(tmp_path: Path) -> None:
    undisturbed = trained(tmp_path / "one", BEGUN_WITH)

    trained(tmp_path / "other", BEGUN_WITH, stop_at=3)
    resumed = trained(tmp_path / "other", ELSEWHERE)

    assert all(map(torch.equal, undisturbed, resumed))


@pytest.mark.slow
def test_a_checkpoint_that_names_no_threads_goes_on_with_those_that_are_there(
    tmp_path: Path,
) -> None:
    trained(tmp_path, BEGUN_WITH, stop_at=3)
    saved, _ = newest(tmp_path / "checkpoints")
    assert saved is not None
    assert saved.progress.threads == BEGUN_WITH
    older = saved.progress.model_copy(update={"threads": None})
    for path in (tmp_path / "checkpoints").iterdir():
        dataclasses.replace(saved, progress=older).write(path)
    assert trained(tmp_path, BEGUN_WITH)


def test_on_a_gpu_nothing_is_said_of_threads() -> None:
    progress = Progress()
    keep_threads(progress, torch.device("cuda"))
    assert progress.threads is None
