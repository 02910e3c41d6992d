"""Connections that hand on what arrives, in other axes at most: a layer keeps its own output."""

from __future__ import annotations

import pytest
import torch

from saf.config import Neuron, Surrogate
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    AveragePool1d,
    Connection,
    Flatten,
    InARow,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
)
from tests.saf.methods.gradients import all_layers_fire, assert_close, train
from tests.saf.methods.rules import METHODS
from tests.saf.networks.random_networks import Case

ALIKE: dict[str, tuple[Operation, ...]] = {
    "nothing": (),
    "flatten": (Flatten(),),
    "in a row": (InARow(maps=2),),
    "both": (Flatten(), InARow()),
    "one pixel": (AveragePool(kernel=1),),
    "their sum": (SumPool(kernel=1),),
    "along a row": (AveragePool1d(kernel=1),),
    "scale": (Scale(factor=1.0),),
    "all": (Scale(factor=1.0), AveragePool(kernel=1), Flatten(), InARow(maps=3)),
}


def heard_twice(operations: tuple[Operation, ...]) -> Architecture:
    """The input and the first layer are read as they are by a layer, and by another after it."""

    def layer(name: str, *connections: Connection) -> LayerDescription:
        return LayerDescription(name=name, connections=connections)

    def to(source: str, features: int) -> Connection:
        operations = (Flatten(), Linear(out_features=features))
        return Connection(source=source, operations=operations)

    return Architecture(
        input_shape=(2, 1, 3),
        layers=(
            layer("layer1", Connection(source=INPUT, operations=operations)),
            layer("layer2", Connection(source="layer1", operations=operations)),
            layer("layer3", to(INPUT, 4), to("layer1", 4), to("layer2", 4)),
        ),
        readout=layer("readout", to("layer3", 3), to("layer1", 3)),
    )


@pytest.mark.parametrize("frames", [False, True], ids=["image", "frames"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("operations", ALIKE.values(), ids=ALIKE.keys())
def test_saf_e_equals_ottt_a(operations: tuple[Operation, ...], samples: int, frames: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    neuron = Neuron(threshold=0.7, surrogate=Surrogate(slope=1.0))
    network = SpikingNetwork(
        heard_twice(operations), neuron, mean=[0.0] * 2, std=[1.0] * 2, seed=0
    ).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.2, 0.5, generator=generator)
    shape = (samples, 5, 2, 1, 3) if frames else (samples, 2, 1, 3)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    case = Case(network, x, torch.arange(samples) % 3, 5)
    expected, theirs = train(METHODS["ottt-a"], case, traced=True)
    assert all_layers_fire(expected)
    for chunk in (1, 2, 5):
        found, ours = train(METHODS["saf-e"], case, traced=True, chunk=chunk)
        assert_close(ours, theirs, 1e-11, network)
        torch.testing.assert_close(found.firing_rates, expected.firing_rates, rtol=0.0, atol=1e-12)
