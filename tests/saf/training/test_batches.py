"""How samples are shared out to batches and come to the device."""

import numpy as np
import torch

from saf.training.batches import Batches, Samples
from tests.saf.training.trainings import labelled

CPU = torch.device("cpu")


def test_an_epoch_shows_every_sample_once_in_batches_of_nearly_equal_size() -> None:
    batches = Batches(samples=1437, batch_size=128, seed=0)
    assert batches.per_epoch == 12
    epochs = [[batches[12 * epoch + i] for i in range(12)] for epoch in range(2)]
    for epoch in epochs:
        assert {len(batch) for batch in epoch} == {119, 120}
        assert torch.equal(torch.cat(epoch).sort().values, torch.arange(1437))
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_a_batch_depends_on_its_iteration_alone() -> None:
    one, other = Batches(100, 16, seed=3), Batches(100, 16, seed=3)
    in_order = [one[step] for step in range(20)]
    assert all(torch.equal(other[step], in_order[step]) for step in (19, 2, 11, 0))


def test_bytes_and_floats_of_one_image_are_the_same_to_the_network() -> None:
    x, y = labelled(4, 1, 8, 8)
    of_bytes, _ = Samples(x, y, CPU, torch.float32)[torch.arange(4)]
    of_floats, _ = Samples((x / 255).astype(np.float32), y, CPU, torch.float32)[torch.arange(4)]
    assert torch.equal(of_bytes, of_floats)


def test_read_only_samples_are_taken() -> None:
    x, y = labelled(4, 1, 8, 8)
    x.flags.writeable = False
    assert len(Samples(x, y, CPU, torch.float32)) == 4
