"""The residual networks free of normalisation, and the relays that their streams are made of."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import ValidationError

from saf.config import Neuron
from saf.config.networks import Network
from saf.data.dataset import Dataset
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
    Scale,
)
from saf.networks.build import NetworkError, build
from saf.networks.resnet import ResNet18, ResNet34, ResNet50
from saf.training.events import Finished, Step
from saf.training.loop import train
from tests.saf.methods.rules import METHODS
from tests.saf.training.trainings import resolved


@pytest.mark.parametrize(
    ("network", "of_torchvision", "first_channels", "changed_channels", "blocks"),
    [
        # Of torchvision's ResNets: convolutions, two numbers per channel, the linear layer.
        (ResNet18(), 11_689_512, 3 * 64 + 2 * 128 + 2 * 256 + 512, 896, 8),
        (ResNet34(), 21_797_672, 4 * 64 + 4 * 128 + 6 * 256 + 2 * 512, 896, 16),
        (ResNet50(), 25_557_032, 64 + 3 * 256 + 4 * 512 + 6 * 1024 + 2 * 2048, 3840, 16),
    ],
    ids=["resnet18", "resnet34", "resnet50"],
)
def test_parameters_are_those_of_the_resnet_but_for_gains_of_branches_and_where_biases_are(
    network: Network, of_torchvision: int, first_channels: int, changed_channels: int, blocks: int
) -> None:
    """A gain per channel stands for a batch norm's scale. The neurons that start a block have a
    bias of their own, a skip that changes the shape has none, each branch has one gain."""
    architecture = build(network, (3, 224, 224), 1000)
    assert architecture.parameters == of_torchvision + first_channels - changed_channels + blocks
    shapes = architecture.shapes()
    assert shapes["stem"] == (64, 56, 56)
    assert shapes["stage4_block2"][1:] == (7, 7)


def test_small_images_keep_their_size_in_the_stem_and_large_ones_do_not() -> None:
    for side, after in ((8, 8), (32, 32), (64, 64), (96, 24), (224, 56)):
        shapes = build(ResNet18(width=0.1), (1, side, side), 10).shapes()
        assert shapes["stem"] == (6, after, after)
    assert build(ResNet18(width=0.1), (1, 8, 8), 10).shapes()["stage4_block2"] == (51, 1, 1)


def test_the_stream_is_scaled_by_the_variance_that_it_is_expected_to_have() -> None:
    """As `_make_layer` of the published code reckons it: 1 + 0.04 after a change of shape."""
    architecture = build(ResNet34(width=0.1), (3, 32, 32), 10)
    found = []
    for layer in architecture.spiking:
        if layer.name.endswith("layer1"):
            (connection,) = layer.connections
            found += [o.factor for o in connection.operations if isinstance(o, Scale)] or [1.0]
    variances = [1.0, 1.04, 1.08, 1.12, 1.04, 1.08, 1.12, 1.16]
    variances += [1.04, 1.08, 1.12, 1.16, 1.2, 1.24, 1.04, 1.08]
    assert found == pytest.approx([1 / sqrt(v) for v in variances])


@pytest.mark.parametrize(
    ("shape", "says"),
    [((1, 7, 7), "8 to 512 pixels"), ((3, 640, 640), "8 to 512 pixels")],
)
def test_images_that_a_resnet_cannot_take_are_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(NetworkError, match=says):
        build(ResNet18(), shape, 10)


def relay(name: str, *sources: str) -> LayerDescription:
    return LayerDescription(
        name=name, connections=tuple(Connection(source=s) for s in sources), relay=True
    )


def readout(source: str) -> LayerDescription:
    to_classes = Connection(source=source, operations=(Flatten(), Linear(out_features=2)))
    return LayerDescription(name="readout", connections=(to_classes,))


def test_feedback_from_a_relay_is_refused_with_the_way_out() -> None:
    hears = (Connection(source=INPUT), Connection(source="sum"))
    neurons = LayerDescription(name="layer1", connections=hears)
    with pytest.raises(ValidationError, match="feedback from sum, which is a relay"):
        Architecture(
            input_shape=(1, 2, 2),
            layers=(neurons, relay("sum", "layer1")),
            readout=readout("sum"),
        )
    with pytest.raises(ValidationError, match="feedback from sum"):
        Architecture(
            input_shape=(1, 2, 2),
            layers=(
                LayerDescription(name="layer1", connections=hears[:1]),
                relay("sum", "layer1", "sum"),
            ),
            readout=readout("sum"),
        )


def test_a_network_of_relays_alone_is_refused() -> None:
    with pytest.raises(ValidationError, match="no layer of the network spikes"):
        Architecture(input_shape=(1, 2, 2), layers=(relay("sum", INPUT),), readout=readout("sum"))


def awake(network: SpikingNetwork) -> SpikingNetwork:
    """With gains under which all layers of a small network fire, branches too."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("residual_gain"):
                parameter.fill_(0.7)
            elif name.endswith("gain"):
                parameter.fill_(1.5)
            elif name.endswith("bias"):
                parameter.uniform_(0.0, 0.4, generator=generator)
    return network


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("name", [ResNet18(width=0.05), ResNet50(width=0.035)], ids=["18", "50"])
def test_saf_e_has_the_gradient_of_ottt_in_a_resnet_on_images_and_events(
    name: Network, frames: bool
) -> None:
    network = SpikingNetwork(
        build(name, (2, 8, 8), 3), Neuron(), mean=[0.4] * 2, std=[0.3] * 2, seed=0
    )
    awake(network.double())
    generator = torch.Generator().manual_seed(0)
    shape = (3, 4, 2, 8, 8) if frames else (3, 2, 8, 8)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    gradients: list[dict[str, Any]] = []
    for method in ("saf-e", "ottt-a"):
        network.zero_grad()
        outcome = METHODS[method](
            network,
            x,
            torch.arange(3),
            timesteps=4,
            loss=F.cross_entropy,
            update=lambda: None,
        )
        assert (outcome.firing_rates > 0.01).all(), "a silent layer proves nothing"
        gradients.append(
            {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        )
    of_saf, of_ottt = gradients
    assert of_saf.keys() == dict(network.named_parameters()).keys()
    for key, gradient in of_saf.items():
        assert gradient.abs().max() > 0, key
        assert (gradient - of_ottt[key]).abs().max() <= 1e-11 * gradient.abs().max(), key


def dataset(side: int, channels: int = 1, steps: int | None = None) -> Dataset:
    """Three classes that differ in where they are bright and in the direction of stripes."""
    generator = np.random.default_rng(0)
    y = np.arange(48) % 3
    shape = (48, channels, side, side) if steps is None else (48, steps, channels, side, side)
    x = generator.integers(0, 60, shape)
    rows, columns = np.indices((side, side)) // 2 % 2
    third = side // 3
    for number, label in enumerate(y):
        x[number] += 100 * np.stack([rows, columns, np.zeros_like(rows)])[label]
        x[number, ..., third * label : third * (label + 1)] += 90
    images = x.astype(np.uint8)
    return Dataset(
        x_train=images, y_train=y, x_test=images[:24], y_test=y[:24], class_names=tuple("abc")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "data", "grid_bits"),
    [
        ({"name": "resnet18", "width": 0.1}, dataset(8), 6),
        ({"name": "resnet50", "width": 0.06}, dataset(8), None),
        ({"name": "resnet18", "width": 0.1}, dataset(9, 2, 3), None),
        ({"name": "mobilenet", "width": 0.25}, dataset(8), 6),
    ],
    ids=["resnet18", "resnet50", "resnet18 on events", "mobilenet"],
)
def test_a_deep_network_learns_and_its_conversion_is_certified(
    network: dict[str, Any], data: Dataset, grid_bits: int | None, tmp_path: Path
) -> None:
    specification = resolved(
        {
            "network": network,
            "method": {"name": "saf-e"},
            "neuron": {"surrogate": {"slope": 2.0}},
            "timesteps": 3,
            "epochs": 6,
            "batch_size": 24,
            "optimizer": {"name": "adamw", "learning_rate": 0.01},
            "conversion": {"grid_bits": grid_bits},
        }
    )
    reports = list(train(specification, data, tmp_path, device="cpu"))
    losses = [report.metrics["loss"] for report in reports if isinstance(report, Step)]
    assert sum(losses[-4:]) / 4 < 0.95 * losses[0]
    (finished,) = (report for report in reports if isinstance(report, Finished))
    assert finished.summary["verdict"] == ("measured" if grid_bits is None else "proven")
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    names = [layer["name"] for layer in certificate["checks"][0]["layers"]]
    architecture = build(specification.network, data.sample_shape, 3)
    assert names == [layer.name for layer in architecture.spiking]
    if grid_bits is not None:
        assert [layer["name"] for layer in certificate["grid"]["layers"]] == names
        relays = [relay["name"] for relay in certificate["grid"]["relays"]]
        assert relays == [p.name for p in architecture.layers if p.relay]
