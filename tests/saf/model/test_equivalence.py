"""SAF neurons fire when LIF neurons fire."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from saf.config import Neuron
from saf.model.forward.lif_forward import lif_advance, lif_rest
from saf.model.forward.presentation import NO_DROPOUT, Masks, traced
from saf.model.forward.saf_forward import REST, advance, chunks
from saf.model.inference import infer, record
from saf.model.network import SpikingNetwork, present
from saf.networks.build import build
from saf.networks.convnet import ConvNet
from saf.networks.vgg import VGG11
from tests.saf.methods import reference
from tests.saf.networks.random_networks import Case, cases, randomise


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def names(case: Case) -> list[str]:
    return [layer.name for layer in case.network.architecture.spiking]


@torch.no_grad()
def lif_spikes(
    network: SpikingNetwork, x: torch.Tensor, timesteps: int, masks: Masks = NO_DROPOUT
) -> list[torch.Tensor]:
    """Spikes of every layer, T B …, by the recursion of the library's LIF neurons."""
    stimulus = network.stimulus(x, timesteps)
    shown = present(network, stimulus, masks)
    state = lif_rest(network, stimulus)
    found: dict[str, list[torch.Tensor]] = {name: [] for name in state.neurons}
    for _ in range(timesteps):
        _, state = lif_advance(
            shown,
            state,
            synapse=traced,
            trace_bias_and_input=False,
        )
        for name, neuron in state.neurons.items():
            found[name].append(neuron.s)
    return [torch.stack(spikes) for spikes in found.values()]


def saf_spikes(network: SpikingNetwork, x: torch.Tensor, timesteps: int) -> list[torch.Tensor]:
    steps = list(record(network, x, timesteps))
    return [torch.stack([step[layer][0] for step in steps]) for layer in range(len(steps[0]))]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_saf_spikes_are_lif_spikes_in_random_networks(case: Case) -> None:
    runs = reference.lif_run(case.network, case.x, case.timesteps)
    assume(all(any(run.spikes[name].any() for run in runs) for name in names(case)))
    recorded = list(record(case.network, case.x, case.timesteps))
    for step, run in zip(recorded, runs, strict=True):
        for (spikes, u), name in zip(step, names(case), strict=True):
            assert torch.equal(spikes, run.spikes[name])
            torch.testing.assert_close(u, run.potentials[name], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_the_lif_forward_pass_of_the_library_is_the_loop_reference(case: Case) -> None:
    runs = reference.lif_run(case.network, case.x, case.timesteps, case.masks)
    for spikes, name in zip(
        lif_spikes(case.network, case.x, case.timesteps, case.masks), names(case), strict=True
    ):
        assert torch.equal(spikes, torch.stack([run.spikes[name] for run in runs]))


@settings(max_examples=30, deadline=None)
@given(case=cases(), chunk=st.integers(2, 8))
@torch.no_grad()
def test_spikes_do_not_depend_on_how_time_is_cut(case: Case, chunk: int) -> None:
    network = case.network
    stimulus = network.stimulus(case.x, case.timesteps)
    shown = present(network, stimulus, case.masks)
    everyone = [layer.name for layer in network.architecture.layers]
    state = REST
    parts = []
    for steps in chunks(shown, case.timesteps, chunk):
        part, state = advance(shown, state, steps, keep=everyone)
        parts.append(part)
    assert state.step == case.timesteps
    runs = reference.lif_run(network, case.x, case.timesteps, case.masks)
    for name in everyone:
        if name in names(case):
            spikes = torch.cat([run.spikes[name] for run in runs])
            assert torch.equal(torch.cat([part.spikes(name) for part in parts]), spikes)
        else:
            sent = torch.cat([run.sent[name] for run in runs])
            relayed = torch.cat([part.relayed(name) for part in parts])
            torch.testing.assert_close(relayed, sent, rtol=1e-9, atol=1e-9)


def test_saf_spikes_are_lif_spikes_in_vgg11() -> None:
    """Gains of 1.3: at the published 1.0 the last layers are silent, and nothing is compared."""
    architecture = build(VGG11(width=0.25), (3, 32, 32), 10)
    network = SpikingNetwork(architecture, Neuron(), mean=[0.5] * 3, std=[0.25] * 3, seed=0)
    network.double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(1.3)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    by_saf, by_lif = saf_spikes(network, x, 6), lif_spikes(network, x, 6)
    assert len(by_saf) == 8
    for saf, lif in zip(by_saf, by_lif, strict=True):
        assert saf.mean() > 0.001, "a silent layer proves nothing"
        assert torch.equal(saf, lif)


def grid_network(bits: int, channels: tuple[int, ...]) -> SpikingNetwork:
    """Plain weights and biases that are multiples of 2^−bits, λ = ½, V = 1, in float32."""
    architecture = build(ConvNet(channels=channels), (1, 8, 8), 3)
    plain = architecture.model_dump()
    for layer in (*plain["layers"], plain["readout"]):
        for connection in layer["connections"]:
            kept = [o for o in connection["operations"] if o["kind"] != "scale"]
            connection["operations"] = [o | {"standardised": False} if o["kind"] == "conv" else o
                                        for o in kept]  # fmt: skip
    network = SpikingNetwork(
        type(architecture).model_validate(plain), Neuron(), mean=[0.0], std=[1.0], seed=0
    )
    randomise(network, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Twice the random weights: the first grid of a random net leaves deep layers silent.
            factor = 1.0 if name.endswith("bias") else 2.0
            parameter.copy_((factor * parameter * 2**bits).round() / 2**bits)
    return network


def bits_needed(network: SpikingNetwork, x: torch.Tensor, bits: int, timesteps: int) -> int:
    """The bound of mathematics section 5, worst layer: with â ≤ c[T] and x ≤ 1 it holds for
    every input: bits + (T − 1) + 2 · poolings + log2 of the largest possible sum."""
    c = reference.c_of(timesteps, 0.5)
    worst = 0
    for layer in reference.layers_of(network):
        (wire,) = layer.wires
        weight = next(m.weight for m in wire.maps if m.weight is not None)
        poolings = sum(m.operation.kind == "average_pool" for m in wire.maps)
        largest = float((weight.abs().flatten(1).sum(1) * c + c * layer.bias.abs()).max())
        worst = max(worst, bits + timesteps - 1 + 2 * poolings + math.ceil(math.log2(largest)))
    return worst


def permuted(network: SpikingNetwork, seed: int) -> tuple[SpikingNetwork, list[torch.Tensor]]:
    """The same network with the channels of every convolution in another order, so that all sums
    are taken in another order; and the orders."""
    generator = torch.Generator().manual_seed(seed)
    other = SpikingNetwork(network.architecture, network.neuron, mean=[0.0], std=[1.0], seed=0)
    other.load_state_dict(network.state_dict())
    orders, before = [], torch.arange(1)
    with torch.no_grad():
        for layer in network.architecture.layers:
            weight = other.get_parameter(f"{layer.name}.0.weight")
            bias = other.get_parameter(f"{layer.name}.bias")
            order = torch.randperm(len(bias), generator=generator)
            weight.copy_(weight[order][:, before])
            bias.copy_(bias[order])
            before = order
            orders.append(order)
    return other, orders


def test_spikes_are_bit_identical_in_float32_on_a_dyadic_grid() -> None:
    """Where the bound holds every sum is exact: SAF = LIF, float32 = float64, in any order."""
    bits, timesteps = 8, 6
    network = grid_network(bits, (12, 16, 16))
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (64, 1, 8, 8), generator=generator).float()
    assert bits_needed(network, x, bits, timesteps) <= 24
    by_saf = saf_spikes(network, x, timesteps)
    by_lif = lif_spikes(network, x, timesteps)
    other, orders = permuted(network, 1)
    by_other = saf_spikes(other, x, timesteps)
    recorded = list(record(network, x, timesteps))
    exact = list(record(network.double(), x.double(), timesteps))
    for layer, order in enumerate(orders):
        assert 0.02 < by_saf[layer].mean() < 0.98
        assert torch.equal(by_saf[layer], by_lif[layer])
        assert torch.equal(by_saf[layer][:, :, order], by_other[layer])
        for low, high in zip(recorded, exact, strict=True):
            assert torch.equal(low[layer][0].double(), high[layer][0])
            assert torch.equal(low[layer][1].double(), high[layer][1]), "a potential was rounded"


def test_off_the_grid_float32_rounds_the_potentials() -> None:
    """What the grid test asserts is not true of any network."""
    network = grid_network(8, (12, 16, 16))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.0 / 3.0)
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    low = [step[0][1] for step in record(network, x, 6)]
    high = [step[0][1] for step in record(network.double(), x.double(), 6)]
    assert any(not torch.equal(a.double(), b) for a, b in zip(low, high, strict=True))


def test_predictions_of_saf_are_those_of_the_lif_network() -> None:
    network = SpikingNetwork(
        build(ConvNet(channels=(4, 6)), (2, 8, 8), 3),
        Neuron(decay=0.8, threshold=0.7),
        mean=[0.5, 0.5],
        std=[0.3, 0.3],
        seed=0,
    ).double()
    generator = torch.Generator().manual_seed(0)
    randomise(network, generator)
    x = torch.rand(16, 2, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.zeros(16, dtype=torch.int64)
    summed = reference.ottt_a(network, x, y, 5, False).scores
    torch.testing.assert_close(infer(network, x, 5, readout="mean").scores, summed)
    final = reference.spike_representation(network, x, y, 5, reference.clamp_gate(0.7)).scores
    torch.testing.assert_close(infer(network, x, 5, readout="weighted").scores, final)
