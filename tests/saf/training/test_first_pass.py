"""Gains to start from: every layer fires on the data at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saf.config import JobSpecification, Neuron
from saf.config.networks import Network
from saf.model.inference import infer
from saf.model.network import SpikingNetwork
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.mlp import MLP
from saf.networks.mobilenet import MobileNet
from saf.networks.resnet import ResNet18
from saf.networks.vgg import VGG11, VGG11F, VGG16
from saf.training.checkpoint import Checkpoint, steps
from saf.training.first_pass import BRANCH, RATE, RATE_OF_STREAMS, fit_gains
from saf.training.loop import train
from tests.saf.training.trainings import dataset

SMALL: list[Network] = [
    ConvNet(channels=(6, 8, 8)),
    MLP(features=(30, 20)),
    VGG11(width=0.1),
    VGG11F(width=0.1),
    VGG16(width=0.1),
    ResNet18(width=0.1),
    MobileNet(width=0.1),
]


def network_for(network: Network, x: torch.Tensor, neuron: Neuron) -> SpikingNetwork:
    architecture = build(network, tuple(x.shape[-3:]), 4)
    channels = x.shape[-3]
    return SpikingNetwork(
        architecture,
        neuron,
        mean=[float(x.mean())] * channels,
        std=[float(x.std())] * channels,
        seed=0,
    )


def rates(network: SpikingNetwork, x: torch.Tensor, timesteps: int) -> torch.Tensor:
    return infer(network, x, timesteps, readout="mean").firing_rates


@pytest.mark.parametrize("threshold", [1.0, 30.0])
@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.name)
def test_every_layer_of_every_network_fires_as_wanted(network: Network, threshold: float) -> None:
    x = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0)) ** 3
    module = network_for(network, x, Neuron(threshold=threshold))
    fit_gains(module, x, 4)
    found = rates(module, x, 4)
    wanted, most = RATE, 1.6
    if network.name in ("resnet18", "mobilenet"):
        wanted, most = RATE_OF_STREAMS, 2.0  # more along a stage, where blocks add to the stream
    assert ((found > 0.6 * wanted) & (found < most * wanted)).all(), found


def test_branches_that_start_at_zero_are_opened_and_others_are_left() -> None:
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    module = network_for(ResNet18(width=0.1), x, Neuron())
    kept = module.get_parameter("stage1_block1.0.residual_gain")
    kept.data.fill_(-0.25)
    fit_gains(module, x, 3)
    assert kept.item() == -0.25
    for block in ("stage1_block2", "stage2_block2", "stage4_block2"):
        gain = module.get_parameter(f"{block}.0.residual_gain").item()
        assert 0.2 * gain == pytest.approx(BRANCH), block  # α = 0.2 follows


def test_a_stream_that_is_fitted_is_scaled_with_its_branch() -> None:
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    module = network_for(ResNet18(width=0.1), x, Neuron())
    before = module.get_parameter("stage2_block1.1.gain").clone()
    factor = fit_gains(module, x, 3)["stage2_block1"]
    assert factor != 1.0
    gain = module.get_parameter("stage2_block1.0.residual_gain").item()
    assert 0.2 * gain == pytest.approx(BRANCH * factor)
    assert torch.allclose(module.get_parameter("stage2_block1.1.gain"), before * factor)


@pytest.mark.parametrize("shape", [(1, 1, 64), (1, 64, 1), (2, 95, 50), (5, 2, 16, 16)], ids=str)
def test_other_shapes_and_frames_fire_too(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(9, *shape, generator=generator) > 0.8).float()
    module = network_for(ConvNet(channels=(8, 8)), x, Neuron())
    fit_gains(module, x, 5)
    found = rates(module, x, 5)
    assert (found > 0.3 * RATE).all(), found


def test_the_bits_of_a_fit_depend_on_seed_and_data_alone() -> None:
    x = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    once, again = (network_for(ConvNet(channels=(4, 4)), x, Neuron()) for _ in range(2))
    assert fit_gains(once, x, 3) == fit_gains(again, x, 3)
    for one, other in zip(once.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.name)
def test_samples_that_say_nothing_leave_the_weights_as_they_were_drawn(network: Network) -> None:
    x = torch.zeros(6, 3, 32, 32)
    architecture = build(network, (3, 32, 32), 3)
    module = SpikingNetwork(architecture, Neuron(), mean=[0.0] * 3, std=[1.0] * 3, seed=0)
    before = {name: p.clone() for name, p in module.named_parameters()}
    assert set(fit_gains(module, x, 3).values()) == {1.0}
    for name, parameter in module.named_parameters():
        if not name.endswith("residual_gain"):
            assert torch.equal(parameter, before[name])


def test_a_resumed_training_keeps_the_gains_of_its_first_pass(tmp_path: Path) -> None:
    job = JobSpecification.model_validate(
        {"network": {"name": "convnet", "channels": [4, 4]}, "timesteps": 2, "epochs": 2}
    )
    list(train(job, dataset(), tmp_path / "whole", device="cpu"))
    asked = iter([False] * 4 + [True] * 9)
    list(train(job, dataset(), tmp_path / "half", device="cpu", stop=lambda: next(asked)))
    saved = tmp_path / "half" / "checkpoints"
    assert steps(saved)[0][0] == 5
    list(train(job, dataset(), tmp_path / "half", device="cpu", resume_from=saved))
    one, other = (
        Checkpoint.read(tmp_path / of / "checkpoint.safetensors") for of in ("whole", "half")
    )
    assert one.progress.gains == other.progress.gains != {}
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name])
    for name, weight in one.best.items():
        assert torch.equal(weight, other.best[name])
