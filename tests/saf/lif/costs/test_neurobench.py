"""NeuroBench's numbers, natively and by its harness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saf.config import JobSpecification, Neuron
from saf.lif.convert import convert
from saf.lif.costs.neurobench import neurobench
from saf.lif.network import LIFNetwork
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    SumPool,
)

T, SAMPLES = 4, 5


def trained(*, frames: bool) -> LIFNetwork:
    architecture = Architecture(
        input_shape=(2, 6, 6),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(
                    Connection(
                        source=INPUT, operations=(Conv(out_channels=4, standardised=False),)
                    ),
                ),
            ),
            LayerDescription(
                name="layer2",
                connections=(
                    Connection(
                        source="layer1",
                        operations=(SumPool(), Conv(out_channels=3, standardised=False)),
                    ),
                ),
            ),
            LayerDescription(
                name="layer3",
                connections=(
                    Connection(source="layer2", operations=(Flatten(), Linear(out_features=7))),
                ),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(Connection(source="layer3", operations=(Linear(out_features=3),)),),
        ),
    )
    network = SpikingNetwork(architecture, Neuron(), mean=[0.5] * 2, std=[0.3] * 2, seed=0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.1, 1.5 * parameter[0].numel() ** -0.5, generator=generator)
            if parameter.dim() > 1:
                parameter.mul_(torch.rand(parameter.shape, generator=generator) > 0.2)
    return convert(network, JobSpecification(timesteps=T), class_names="abc", frames=frames)


def samples(*, frames: bool) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand((SAMPLES, T, 2, 6, 6) if frames else (SAMPLES, 2, 6, 6), generator=generator)


@pytest.mark.parametrize("frames", [False, True], ids=["image", "frames"])
def test_the_numbers_are_those_of_the_harness(frames: bool) -> None:
    snn: Any = pytest.importorskip("snntorch")
    models: Any = pytest.importorskip("neurobench.models")
    static: Any = pytest.importorskip("neurobench.metrics.static")
    workload: Any = pytest.importorskip("neurobench.metrics.workload")
    hooks: Any = pytest.importorskip("neurobench.hooks.neuron")
    layers: Any = pytest.importorskip("neurobench.hooks.layer")
    lif, x = trained(frames=frames), samples(frames=frames)

    class Soft(snn.SpikingNeuron):  # type: ignore[misc]
        """LIF with our soft reset, as the harness wants to see it."""

        def __init__(self) -> None:
            super().__init__(init_hidden=True, output=False)
            self.mem = self.fired = torch.zeros(())

        def forward(self, current: Tensor) -> Tensor:
            self.mem = 0.5 * (self.mem - self.fired) + current
            self.fired = (self.mem >= 1.0).float()
            return self.fired

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(2, 4, 3, padding=1)
            self.conv2 = torch.nn.Conv2d(4, 3, 3, padding=1)
            self.linear3, self.linear4 = torch.nn.Linear(27, 7), torch.nn.Linear(7, 3)
            for layer, name in zip(
                (self.conv1, self.conv2, self.linear3, self.linear4),
                ("layer1", "layer2", "layer3", "readout"),
                strict=True,
            ):
                layer.weight.data = lif.tensors[f"{name}.0.weight"].clone()
                layer.bias.data = lif.tensors[f"{name}.bias"].clone()
            self.one, self.two, self.three = Soft(), Soft(), Soft()

        def forward(self, x: Tensor) -> Tensor:
            total = torch.zeros(len(x), 3)
            for t in range(T):
                if frames or t == 0:
                    arriving = self.conv1((x[:, t] if frames else x) / 0.3 - 0.5 / 0.3)
                s = 4 * torch.nn.functional.avg_pool2d(self.one(arriving), 2)
                s = self.two(self.conv2(s)).flatten(1)
                total = 0.5 * total + self.linear4(self.three(self.linear3(s)))
            return total

    plain = Plain()
    model = models.TorchModel(plain)
    for neuron in (plain.one, plain.two, plain.three):
        model.activation_hooks.append(hooks.NeuronHook(neuron))
    for layer in (plain.conv1, plain.conv2, plain.linear3, plain.linear4):
        model.connection_hooks.append(layers.LayerHook(layer))
    data = (x, torch.zeros(SAMPLES))
    with torch.no_grad():
        scores = plain(x)
        assert torch.equal(scores.argmax(1), lif(x).argmax(1))
        operations = workload.SynapticOperations()(model, scores, data)
        sparsity = workload.ActivationSparsity()(model, scores, data)
        updates = workload.MembraneUpdates()(model, scores, data)
    found = neurobench(lif, x)
    assert found["samples"] == SAMPLES
    assert found["synaptic_operations"] == {
        "effective_acs": operations["Effective_ACs"],
        "effective_macs": operations["Effective_MACs"],
        "dense": operations["Dense"],
    }
    assert operations["Effective_ACs"] > 0 < operations["Effective_MACs"]
    assert found["activation_sparsity"] == sparsity
    assert 0.1 < sparsity < 0.9
    assert found["membrane_updates"] == updates
    assert round(found["connection_sparsity"], 4) == static.ConnectionSparsity()(model)
    # The harness does not see the mean and the deviation of the input, two channels each.
    assert found["footprint_bytes"] == static.Footprint()(model) - neuron_buffers(plain) + 16


def neuron_buffers(plain: torch.nn.Module) -> int:
    """Bytes of what the neurons of snnTorch keep beside weights."""
    return sum(
        each.numel() * each.element_size()
        for name, each in (*plain.named_buffers(), *plain.named_parameters())
        if name.startswith(("one.", "two.", "three."))
    )


def test_numbers_of_a_network_that_one_can_count() -> None:
    architecture = Architecture(
        input_shape=(3,),
        layers=(
            LayerDescription(
                name="layer1",
                connections=(Connection(source=INPUT, operations=(Linear(out_features=2),)),),
            ),
        ),
        readout=LayerDescription(
            name="readout",
            connections=(Connection(source="layer1", operations=(Linear(out_features=2),)),),
        ),
    )
    network = SpikingNetwork(architecture, Neuron(), mean=[0.0] * 3, std=[1.0] * 3, seed=0)
    with torch.no_grad():
        network.get_parameter("layer1.0.weight").copy_(torch.tensor([[2.0, 0, 0], [0, 0.25, 0]]))
        network.get_parameter("readout.0.weight").copy_(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    lif = convert(network, JobSpecification(timesteps=3), class_names="ab", frames=False)
    found = neurobench(lif, torch.tensor([[0.5, 0.5, 0.5]]))
    # Neuron 1 gets 1.0 and fires at every step (u: 1, 1, 1); neuron 2 gets 0.125 and never does.
    assert found["activation_sparsity"] == 0.5
    assert found["connection_sparsity"] == 5 / 10
    assert found["synaptic_operations"] == {
        "effective_acs": 3 * 1.0,
        "effective_macs": 2.0,
        "dense": 6.0 + 3 * 4.0,
    }
    assert found["membrane_updates"] == 2 + 2  # both at first, then the second alone
    assert found["footprint_bytes"] == 4 * (6 + 2 + 4 + 2 + 3 + 3)
