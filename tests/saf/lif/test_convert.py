"""Folding a trained network into plain weights, and the spikes that must not change."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from saf.config import Neuron
from saf.lif.convert import convert, fold
from saf.lif.network import LIFNetwork
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Scale,
    SumPool,
)
from tests.saf.training.trainings import resolved

CLASSES = tuple("abc")


def skips_and_feedback(generator: random.Random) -> Architecture:
    """Pooling, groups, a stride, two skips (one of them without weights) and two feedbacks."""
    scale = Scale(factor=generator.uniform(0.5, 3.0))
    first = LayerDescription(
        name="layer1",
        connections=(
            Connection(source="input", operations=(Conv(out_channels=4),)),
            Connection(source="layer1", operations=(scale, Conv(out_channels=4, groups=2))),
        ),
    )
    second = LayerDescription(
        name="layer2",
        connections=(
            Connection(source="layer1", operations=(scale, AveragePool(), Conv(out_channels=4))),
            Connection(source="layer1", operations=(Conv(out_channels=4, stride=2), scale)),
            Connection(source="layer3", operations=(Conv(out_channels=4, standardised=False),)),
        ),
    )
    third = LayerDescription(
        name="layer3",
        connections=(
            Connection(source="layer2", operations=(scale, Conv(out_channels=4))),
            Connection(source="layer2", operations=(scale,)),
            Connection(source="layer1", operations=(AveragePool(),)),
        ),
    )
    readout = LayerDescription(
        name="readout",
        connections=(
            Connection(
                source="layer3",
                operations=(scale, AveragePool(), Flatten(), Linear(out_features=3)),
            ),
            Connection(
                source="layer2", operations=(Flatten(), Linear(out_features=3, standardised=True))
            ),
        ),
    )
    return Architecture(input_shape=(2, 8, 8), layers=(first, second, third), readout=readout)


def random_network(seed: int) -> SpikingNetwork:
    generator = random.Random(seed)
    neuron = Neuron(decay=generator.uniform(0.2, 1.0), threshold=generator.uniform(0.3, 2.0))
    network = SpikingNetwork(
        skips_and_feedback(generator), neuron, mean=(0.4, 0.5), std=(0.2, 0.3), seed=seed
    ).double()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            spread = 0.4 if name.endswith("weight") else 0.2
            parameter.add_(spread * torch.randn(parameter.shape, generator=draws).double())
    return network


def images(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double()


def converted(network: SpikingNetwork, timesteps: int, **changes: Any) -> LIFNetwork:
    method = changes.pop("method", "saf-e")
    specification = resolved(
        {"neuron": network.neuron.model_dump(), "timesteps": timesteps, "method": {"name": method}}
    )
    options: dict[str, Any] = {"class_names": CLASSES, "frames": False, "dtype": torch.float64}
    return convert(network, specification, **(options | changes))


@pytest.mark.parametrize("seed", range(8))
def test_folding_and_lif_neurons_change_no_spike(seed: int) -> None:
    network, x = random_network(seed), images(seed, 16, 2, 8, 8)
    lif = converted(network, timesteps=7)
    fired = torch.zeros(3, dtype=torch.long)
    for saf_step, lif_step in zip(record(network, x, 7), lif.run(x), strict=True):
        spikes, potentials = zip(*saf_step, strict=True)
        for number, name in enumerate(lif_step.spikes):
            assert torch.equal(spikes[number], lif_step.spikes[name])
            torch.testing.assert_close(
                potentials[number], lif_step.potentials[name], rtol=1e-9, atol=1e-9
            )
            fired[number] += int(spikes[number].sum())
    assert fired.all(), "a silent layer proves nothing"


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_folding_changes_no_spike_on_event_frames(seed: int) -> None:
    network, x = random_network(seed), images(seed, 8, 5, 2, 8, 8)
    lif = converted(network, timesteps=5, frames=True)
    fired = torch.zeros(3, dtype=torch.long)
    for saf_step, lif_step in zip(record(network, x, 5), lif.run(x), strict=True):
        for number, name in enumerate(lif_step.spikes):
            spikes, _ = saf_step[number]
            assert torch.equal(spikes, lif_step.spikes[name])
            fired[number] += int(spikes.sum())
    assert fired.all(), "a silent layer proves nothing"


@pytest.mark.parametrize(("method", "readout"), [("saf-e", "mean"), ("saf-f", "weighted")])
def test_scores_are_those_of_the_trained_network(method: str, readout: Any) -> None:
    network, x = random_network(3), images(3, 16, 2, 8, 8)
    lif = converted(network, timesteps=6, method=method)
    assert lif.description.readout == readout
    expected = infer(network, x, 6, readout=readout).scores
    torch.testing.assert_close(lif(x), expected, rtol=1e-9, atol=1e-9)


def test_nothing_but_plain_operations_is_left() -> None:
    network = random_network(0)
    folded = converted(network, timesteps=2).description.architecture
    identities = 0
    for layer in (*folded.layers, folded.readout):
        for connection in layer.connections:
            operations = connection.operations
            weighted = [op for op in operations if isinstance(op, Conv | Linear)]
            assert not any(op.standardised for op in weighted)
            assert not any(isinstance(op, AveragePool) for op in operations)
            if not weighted:
                identities += 1
                assert all(isinstance(op, Scale | SumPool) for op in operations)
            else:
                assert not any(isinstance(op, Scale) for op in operations)
    assert identities == 2
    assert folded.shapes() == network.architecture.shapes()


def test_constants_of_a_chain_go_into_its_weight() -> None:
    convolution = Conv(out_channels=1, kernel=1, padding=0, standardised=False)
    operations = (Scale(factor=3.0), AveragePool(kernel=2), convolution)
    neuron = LayerDescription(
        name="layer1", connections=(Connection(source="input", operations=operations),)
    )
    readout = LayerDescription(
        name="readout",
        connections=(Connection(source="layer1", operations=(Flatten(), Linear(out_features=2))),),
    )
    architecture = Architecture(input_shape=(1, 2, 2), layers=(neuron,), readout=readout)
    one = torch.ones(1, 1, 1, 1)
    _, folded = fold(architecture, {"layer1.0.weight": one, "readout.0.weight": torch.ones(2, 1)})
    assert folded["layer1.0.weight"].item() == 3.0 / 4
    assert one.item() == 1.0


def test_conversion_leaves_the_trained_network_as_it_is() -> None:
    network = random_network(1).float()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    converted(network, timesteps=2, dtype=torch.float32)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == torch.float32
