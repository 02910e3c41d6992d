"""Samples that the disk has to bring are announced ahead, and nothing else becomes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from saf.data import Dataset, load, save
from saf.data.mapped import MappedRows
from saf.training import batches
from saf.training.batches import Batches
from saf.training.events import Finished
from saf.training.loop import train
from saf.training.read_ahead import AHEAD, ReadAhead
from tests.saf.training.trainings import dataset, run, specification


class Asked:
    """Samples that note what is announced of them."""

    def __init__(self) -> None:
        self.waited = False
        self.rows: list[list[int]] = []

    def announce(self, rows: torch.Tensor) -> None:
        self.rows.append(rows.tolist())


def test_batches_are_announced_once_each_from_the_first_that_waited_to_the_last() -> None:
    samples: Any = Asked()
    order = Batches(20, 5, seed=0)
    read_ahead = ReadAhead(samples, order, 8)  # two epochs
    read_ahead.after(0)
    assert samples.rows == []
    samples.waited = True
    for step in range(1, 8):
        read_ahead.after(step)
    assert samples.rows == [Batches(20, 5, seed=0)[step].tolist() for step in range(2, 8)]
    assert AHEAD == 2


@pytest.fixture
def from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A mapped data set of which every batch has to wait for the disk."""
    count = iter(range(10**9))
    monkeypatch.setattr(batches, "waits", lambda: next(count))
    save(dataset(), tmp_path / "kept")
    return load(tmp_path / "kept")


def test_a_training_that_reads_ahead_is_the_same_bit_for_bit_also_when_it_goes_on(
    tmp_path: Path, from_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = []
    real = MappedRows.announce
    monkeypatch.setattr(
        MappedRows, "announce", lambda self, rows: (announced.append(rows), real(self, rows))
    )
    job = specification(validation_share=0.2)
    run(job, dataset(), tmp_path / "memory")
    assert not announced
    run(job, from_disk, tmp_path / "mapped")
    assert announced
    asked = iter([False, False, False, True])
    cut = tmp_path / "cut"
    reports = list(train(job, from_disk, cut, device="cpu", stop=lambda: next(asked, False)))
    assert not isinstance(reports[-1], Finished)
    list(train(job, from_disk, cut, device="cpu", resume_from=cut / "checkpoints"))
    in_memory, mapped, resumed = (
        (tmp_path / folder / "lif.safetensors").read_bytes()
        for folder in ("memory", "mapped", "cut")
    )
    assert in_memory == mapped == resumed
