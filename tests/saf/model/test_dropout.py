"""Neuron dropout: drawn per sample and neuron, kept for a sequence, a function of the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from saf.config import Neuron
from saf.data.dataset import Dataset
from saf.model.dropout import dropout_masks
from saf.model.inference import infer
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.training import checkpoint as checkpoints
from saf.training.loop import train
from tests.saf.methods.gradients import assert_close, firing_case
from tests.saf.methods.gradients import train as gradients_of
from tests.saf.methods.rules import METHODS
from tests.saf.training.trainings import resolved


def network(share: float) -> SpikingNetwork:
    return SpikingNetwork(
        build(ConvNet(channels=(8, 8)), (2, 8, 8), 3),
        Neuron(dropout=share),
        mean=[0.5] * 2,
        std=[0.3] * 2,
        seed=0,
    )


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def test_a_neuron_sends_nothing_or_more_by_what_the_others_leave_out() -> None:
    masks = dropout_masks(network(0.2), 64, seeded(0))
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {
        "layer1": (64, 8, 8, 8),
        "layer2": (64, 8, 4, 4),
    }
    for mask in masks.values():
        assert set(mask.unique().tolist()) == {0.0, 1.25}
        assert 0.17 < (mask == 0).float().mean() < 0.23
        assert not torch.equal(mask[0], mask[1]), "drawn for every sample"


def test_masks_are_a_function_of_the_seed() -> None:
    one, same, other = (dropout_masks(network(0.5), 4, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_without_dropout_there_are_no_masks() -> None:
    assert dropout_masks(network(0.0), 4, seeded(0)) == {}


@pytest.mark.parametrize("name", METHODS)
def test_a_neuron_that_is_left_out_learns_nothing_and_a_mask_of_ones_changes_nothing(
    name: str,
) -> None:
    """One channel of layer1 is silenced at all steps: neither its own weights nor those of the
    next layer that hear it have a gradient."""
    case = firing_case()
    _, without = gradients_of(METHODS[name], case, traced=False)
    shapes = case.network.architecture.shapes()
    ones = {n: torch.ones(4, *shapes[n]).double() for n in ("layer1", "layer2", "layer3")}
    case.masks = ones
    _, with_ones = gradients_of(METHODS[name], case, traced=False)
    assert_close(without, with_ones, 1e-12, case.network)
    ones["layer1"][:, 2] = 0.0
    _, silenced = gradients_of(METHODS[name], case, traced=False)
    assert not silenced["layer1.0.gain"][2].any()
    assert not silenced["layer1.bias"][2].any()
    assert silenced["layer1.bias"][0].any()


def test_an_evaluation_leaves_no_neuron_out() -> None:
    plain, dropping = network(0.0), network(0.5)
    x = torch.rand(3, 2, 8, 8, generator=seeded(0))
    assert torch.equal(
        infer(plain, x, 4, readout="mean").scores, infer(dropping, x, 4, readout="mean").scores
    )


@pytest.mark.parametrize("method", ["saf-e", "saf-f"])
def test_a_resumed_training_with_dropout_ends_bit_for_bit_as_an_undisturbed_one(
    method: str, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (24, 1, 8, 8)).astype(np.uint8)
    y = np.arange(24) % 3
    data = Dataset(x_train=x, y_train=y, x_test=x[:6], y_test=y[:6], class_names=tuple("abc"))

    def weights(directory: Path, share: float, stop_after: int | None) -> dict[str, torch.Tensor]:
        specification = resolved(
            {
                "network": {"name": "convnet", "channels": [4, 4]},
                "neuron": {"dropout": share},
                "method": {"name": method},
                "timesteps": 3,
                "epochs": 2,
                "batch_size": 8,
            }
        )
        if stop_after is not None:
            asked = iter(range(100))
            stopped = train(
                specification, data, directory, device="cpu", stop=lambda: next(asked) >= stop_after
            )
            assert len(list(stopped)) > 0
        resume = directory / "checkpoints" if stop_after is not None else None
        list(train(specification, data, directory, device="cpu", resume_from=resume))
        return checkpoints.Checkpoint.read(directory / "checkpoint.safetensors").weights

    undisturbed = weights(tmp_path / "a", 0.3, None)
    resumed = weights(tmp_path / "b", 0.3, 1)
    without = weights(tmp_path / "c", 0.0, None)
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
    assert not all(torch.equal(undisturbed[name], without[name]) for name in undisturbed)
