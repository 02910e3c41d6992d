"""A LIF network in use: how right it is, after how many steps, and how often it fires."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saf.lif.header import LIFDescription
from saf.lif.measure import measure
from saf.lif.network import LIFNetwork
from saf.networks.architecture import Architecture, Connection, Flatten, LayerDescription, Linear


def network(readout: str, timesteps: int, frames: bool = False) -> LIFNetwork:
    layer = LayerDescription(
        name="layer1",
        connections=(Connection(source="input", operations=(Flatten(), Linear(out_features=24))),),
    )
    out = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Linear(out_features=4),)),),
    )
    random = torch.Generator().manual_seed(3)
    described = LIFDescription(
        architecture=Architecture(input_shape=(1, 3, 3), layers=(layer,), readout=out),
        decay=0.75,
        threshold=1.0,
        timesteps=timesteps,
        readout=readout,
        frames=frames,
        mean=(0.4,),
        std=(0.5,),
        class_names=tuple("abcd"),
        specification={},
    )
    tensors = {
        "layer1.0.weight": torch.randn(24, 9, generator=random),
        "layer1.bias": 0.3 * torch.randn(24, generator=random),
        "readout.0.weight": torch.randn(4, 24, generator=random),
        "readout.bias": torch.randn(4, generator=random),
    }
    return LIFNetwork(described, tensors)


X = np.random.default_rng(1).integers(0, 256, (90, 1, 3, 3)).astype(np.uint8)
Y = np.random.default_rng(2).integers(0, 4, 90)


@pytest.mark.parametrize("readout", ["mean", "weighted"])
def test_accuracy_after_a_step_is_that_of_a_network_which_takes_no_more(readout: str) -> None:
    measured = measure(network(readout, 5), X, Y, batch_size=40)
    alone = [measure(network(readout, steps), X, Y).accuracy for steps in range(1, 6)]
    assert list(measured.accuracy_after) == alone
    assert len(set(alone)) > 1
    assert measured.accuracy == alone[-1]


def test_spikes_are_counted_neuron_by_neuron() -> None:
    lif = network("mean", 5)
    measured = measure(lif, X, Y, batch_size=32)
    counted = sum(step.spikes["layer1"] for step in lif.run(torch.from_numpy(X).float() / 255))
    assert isinstance(counted, torch.Tensor)
    np.testing.assert_allclose(measured.spikes["layer1"], counted.double().mean(0).numpy())
    assert measured.firing_rate == measured.firing_rates["layer1"]
    assert measured.firing_rate == pytest.approx(float(counted.mean()) / 5)
