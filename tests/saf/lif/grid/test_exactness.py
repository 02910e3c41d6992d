"""On a grid, where the bound holds, no order of summation and no precision changes a spike."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import chain, combinations, product
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from torch import Tensor

from saf.config import Neuron
from saf.lif.convert import on_grid
from saf.lif.grid.exactness import bounds
from saf.lif.grid.fixed_point import Grid, is_on_grid
from saf.lif.grid.saf_run import run_saf
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.lif.sequence import LIFStep, wires
from saf.model import operations as synapse
from saf.model.forward.delays import DelayLine
from saf.model.inference import record
from saf.model.layers import Layer
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Scale,
    SumPool,
)
from saf.neurons import base
from saf.powers import SIGNIFICANT_BITS
from tests.saf.lif.grid_networks import (
    architecture_of_one_layer,
    converted,
    decays,
    described,
    exact_grid,
    images,
    linear,
    samples,
)
from tests.saf.networks.random_networks import CLASSES, INPUT_SHAPE, architectures


@st.composite
def networks(draw: st.DrawFn, *, delays: bool = False, mixed: bool = False) -> LIFNetwork:
    """Networks of random layers with λ = 2^−n; targets of exports know no `delays`, and few of them
    layers of `mixed` λ."""
    frames = draw(st.booleans())
    architecture = draw(architectures(delays=delays, frames=frames))
    return converted(
        architecture,
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(1, 8)),
        draw(st.sampled_from(["saf-e", "saf-f"])),
        frames=frames,
        neuron=draw(decays(len(architecture.spiking), mixed=mixed)),
    )


class InAnotherOrder(LIFNetwork):
    """Adds the products up in random groups, and the groups one after the other."""

    def current(
        self,
        layer: Layer,
        inputs: Mapping[str, Tensor],
        start: Tensor | None,
        sent: Mapping[str, DelayLine] | None = None,
        steps: int = 1,
    ) -> Tensor:
        generator = torch.Generator().manual_seed(len(inputs))
        parts = [] if start is None else [start]
        for wire in wires(layer):
            if wire.source not in inputs:
                continue
            x, left = inputs[wire.source], list(wire.weights)
            if wire.delay:
                line = (sent or {}).get(wire.source, DelayLine(wire.delay))
                x = line.read(wire.delay, x, steps)
            for operation in wire.operations:
                if not isinstance(operation, Conv | Linear):
                    x = synapse.apply([operation], [], x)
                    continue
                weight = left.pop(0)
                group = torch.randint(0, 5, weight.shape, generator=generator)
                sums = [synapse.apply([operation], [weight * (group == g)], x) for g in range(5)]
                x = sums[4] + (sums[2] + sums[0]) + (sums[3] + sums[1])
            parts.insert(0, x)
        total = parts[0]
        for part in parts[1:]:
            total = part + total
        return total


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(network=networks(delays=True, mixed=True), seed=st.integers(0, 1000))
def test_within_the_bound_every_form_order_and_precision_fires_alike(
    network: LIFNetwork, seed: int
) -> None:
    lif = exact_grid(network)
    x = samples(seed, 6, lif)
    forms: list[list[LIFStep]] = [
        list(lif.run(x)),
        list(run_saf(lif, x)),
        list(lif.copied(dtype=torch.float64).run(x.double())),
        list(run_saf(lif.copied(dtype=torch.float64), x.double())),
        list(InAnotherOrder(lif.description, lif.tensors).run(x)),
        list(run_saf(InAnotherOrder(lif.description, lif.tensors), x)),
    ]
    reference = forms[2]
    for form in forms:
        for step, expected in zip(form, reference, strict=True):
            for name, spikes in step.spikes.items():
                assert torch.equal(spikes.double(), expected.spikes[name])
                assert torch.equal(step.potentials[name].double(), expected.potentials[name])
    in_float32 = [form[-1].scores for form in forms if form[-1].scores.dtype == torch.float32]
    assert len(in_float32) == 4
    assert all(torch.equal(scores, in_float32[0]) for scores in in_float32)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    network=networks(delays=True, mixed=True), bits=st.integers(1, 20), seed=st.integers(0, 1000)
)
def test_no_potential_exceeds_its_bound_or_leaves_its_fraction(
    network: LIFNetwork, bits: int, seed: int
) -> None:
    lif = on_grid(network, bits).to(dtype=torch.float64)
    x = samples(seed, 6, lif).double()
    found = {bound.name: bound for bound in bounds(lif)}
    assert list(found) == [p.name for p in lif.description.architecture.layers] + ["readout"]
    for run in (lif.run, lambda x: run_saf(lif, x)):
        for step in run(x):
            for name, u in step.potentials.items():
                assert u.abs().max() <= found[name].magnitude
                assert (u - 1.0).abs().max() <= found[name].magnitude
                assert (u - step.spikes[name]).abs().max() <= found[name].magnitude
                assert is_on_grid(u, found[name].fraction_bits)
    if lif.description.readout == "mean":
        assert step.scores.abs().max() <= found["readout"].magnitude


def small(
    weight: list[list[float]], bias: list[float], timesteps: int, **changes: Any
) -> LIFNetwork:
    """One pixel, three neurons, and two that hear these by `weight`."""
    architecture = Architecture(
        input_shape=(1, 1, 1),
        layers=(linear(INPUT, "layer1", 3), linear("layer1", "layer2", 2)),
        readout=linear("layer2", "readout", 2),
    )
    return LIFNetwork(
        described(architecture, timesteps, Grid(bits=3, input_bits=4), **changes),
        {
            "layer1.0.weight": torch.tensor([[1.0], [0.5], [-2.0]]),
            "layer1.bias": torch.tensor([0.25, 0.5, 3.0]),
            "layer2.0.weight": torch.tensor(weight),
            "layer2.bias": torch.tensor(bias),
            "readout.0.weight": torch.eye(2),
            "readout.bias": torch.zeros(2),
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        ([[1.5, -0.75, 2.0], [-1.0, -3.125, 0.5]], [0.5, -0.25]),
        ([[0.25, 0.125, 0.0], [0.5, 1.0, 4.0]], [-2.0, 1.0]),
    ],
)
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_bound_is_the_largest_partial_sum_over_all_spike_trains(
    weight: list[list[float]], bias: list[float], n: int
) -> None:
    timesteps = 3
    slower = {"name": "lif", "decay": 2.0**-n, "threshold": 1.0}
    network = small(weight, bias, timesteps, neurons={"layer2": slower} if n != 1 else {})
    half = Fraction(1, 2**n)
    trains = list(product((0, 1), repeat=timesteps))
    accumulations = {
        sum((half ** (timesteps - 1 - t) * s for t, s in enumerate(train)), Fraction(0))
        for train in trains
    }
    c = sum((half**k for k in range(timesteps)), Fraction(0))
    before = {
        sum((half ** (timesteps - 2 - t) * s for t, s in enumerate(train)), Fraction(0))
        for train in product((0, 1), repeat=timesteps - 1)
    }
    largest = Fraction(0)
    for row, of_row in zip(weight, bias, strict=True):
        for arriving in product(accumulations, repeat=3):
            terms = [Fraction(w) * a for w, a in zip(row, arriving, strict=True)]
            for own in {half * a for a in before}:
                everything = [*terms, c * Fraction(of_row), -(own + 1)]
                sizes = range(len(everything) + 1)
                subsets = chain.from_iterable(combinations(everything, n) for n in sizes)
                largest = max(largest, *(abs(sum(subset, Fraction(0))) for subset in subsets))
    bound = next(bound for bound in bounds(network) if bound.name == "layer2")
    assert bound.magnitude == largest
    assert bound.fraction_bits == 3 + n * (timesteps - 1)


def test_bound_of_the_first_layer_holds_for_every_pixel() -> None:
    network = small([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [0.0, 0.0], 5).to(dtype=torch.float64)
    x = (torch.arange(256) / 255).view(256, 1, 1, 1).double()
    bound = bounds(network)[0]
    largest = max(
        float((step.potentials["layer1"] - reset).abs().max())
        for step in run_saf(network, x)
        for reset in (0.0, 1.0)
    )
    assert 0.3 * bound.magnitude < largest <= bound.magnitude


def test_a_large_weight_breaks_the_bound_and_float32_breaks_with_it() -> None:
    fine = small([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [0.125, 0.0], 6)
    assert all(bound.within for bound in bounds(fine))
    tensors = dict(fine.tensors)
    tensors["layer2.0.weight"] = torch.tensor([[2.0**22, 2.0**22, -(2.0**22)], [1.0, 1.0, 1.0]])
    large = LIFNetwork(fine.description, tensors)
    assert [bound.within for bound in bounds(large)] == [True, False, True]
    x = (torch.arange(256) / 255).view(256, 1, 1, 1)
    steps = zip(run_saf(large, x), run_saf(large.copied(dtype=torch.float64), x), strict=True)
    assert any(
        not torch.equal(a.potentials["layer2"].double(), b.potentials["layer2"]) for a, b in steps
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(network=networks(delays=True, mixed=True), seed=st.integers(0, 100))
def test_more_bits_than_float32_has_are_noticed(network: LIFNetwork, seed: int) -> None:
    lif = on_grid(network, 20)
    assert not all(bound.within for bound in bounds(lif))
    assert max(bound.bits_needed for bound in bounds(lif)) > SIGNIFICANT_BITS["float32"]


def test_sum_pooling_widens_the_magnitude_and_not_the_fraction() -> None:
    def pooled(*operations: Any) -> LIFNetwork:
        layer1 = Connection(source=INPUT, operations=())
        layer2 = Connection(source="layer1", operations=operations)
        architecture = Architecture(
            input_shape=(1, 4, 4),
            layers=(
                LayerDescription(name="layer1", connections=(layer1,)),
                LayerDescription(name="layer2", connections=(layer2,)),
            ),
            readout=linear(INPUT, "readout", 2),
        )
        tensors = {
            "layer1.bias": torch.zeros(1),
            "layer2.bias": torch.zeros(1),
            "readout.0.weight": torch.zeros(2, 16),
            "readout.bias": torch.zeros(2),
        }
        return LIFNetwork(described(architecture, 3, Grid(bits=2, input_bits=4)), tensors)

    c = 1.75  # c[3] = 1 + 1/2 + 1/4, also the largest reset V (λ â + 1)
    summed = bounds(pooled(SumPool(kernel=2)))[1]
    assert summed.magnitude == 4 * c
    assert summed.fraction_bits == 2 + 2
    scaled = bounds(pooled(SumPool(kernel=2), Scale(factor=-0.75)))[1]
    assert scaled.magnitude == 0.75 * 4 * c + c
    assert scaled.fraction_bits == 2 + 2


@pytest.mark.parametrize("seed", range(4))
def test_training_code_on_the_grid_fires_as_the_lif_network_does(seed: int) -> None:
    """SAF as it trains: the rounded currents are its image, which enters layer1 as it is."""
    second = Connection(source="layer1", operations=(SumPool(), Conv(out_channels=4, groups=2)))
    back = Connection(source="layer2", operations=(Conv(out_channels=4, standardised=False),))
    first = Connection(source=INPUT, operations=(Conv(out_channels=4),))
    readout = linear("layer2", "readout", CLASSES)
    flat = (Flatten(), *readout.connections[0].operations)
    whole = Architecture(
        input_shape=INPUT_SHAPE,
        layers=(
            LayerDescription(name="layer1", connections=(first,)),
            LayerDescription(name="layer2", connections=(second, back)),
        ),
        readout=LayerDescription(
            name="readout", connections=(Connection(source="layer2", operations=flat),)
        ),
    )
    lif, x = exact_grid(converted(whole, seed, 7, "saf-f")), images(seed, 16)
    of = lif.description.architecture
    after = of.model_copy(
        update={
            "input_shape": (4, 8, 8),
            "layers": (
                LayerDescription(name="layer1", connections=(Connection(source=INPUT),)),
                of.layers[1],
            ),
        }
    )
    saf = SpikingNetwork(after, Neuron(), mean=[0.0] * 4, std=[1.0] * 4, seed=0)
    with torch.no_grad():
        for name, parameter in saf.named_parameters():
            parameter.copy_(torch.zeros(4) if name == "layer1.bias" else lif.tensors[name])
    current = lif.currents_of_input(x)[0]["layer1"]
    fired = torch.zeros(2)
    for step, expected in zip(record(saf, current, 7), lif.run(x), strict=True):
        for number, (name, spikes) in enumerate(expected.spikes.items()):
            assert torch.equal(step[number][0], spikes)
            assert torch.equal(step[number][1], expected.potentials[name])
            fired[number] += spikes.sum()
    assert fired.all(), "a silent layer proves nothing"


def test_bounds_of_a_network_on_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="on no grid"):
        bounds(converted(architecture_of_one_layer(), 1, 4, "saf-f"))


class Negated(BaseModel):
    """An operation that a later version may have: what is larger becomes smaller."""

    kind: str = "negated"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape


def test_an_operation_that_no_bound_is_known_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Operations that keep an order map the ends of an interval to its ends; others do not."""
    known = synapse._fixed

    def computed(operation: Any, x: Tensor) -> Tensor:
        return -x if isinstance(operation, Negated) else known(operation, x)

    monkeypatch.setattr(synapse, "_fixed", computed)
    plain = small([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [0.0, 0.0], 3)
    before = bounds(plain)[1]
    of = plain.description.architecture
    (wire,) = of.layers[1].connections
    negated = wire.model_copy(update={"operations": (Negated(), *wire.operations)})
    layer2 = of.layers[1].model_copy(update={"connections": (negated,)})
    changed = of.model_copy(update={"layers": (of.layers[0], layer2)})
    network = LIFNetwork(
        plain.description.model_copy(update={"architecture": changed}), plain.tensors
    )
    x = torch.ones(1, 1, 1, 1)
    reached = [step.potentials["layer2"].min().item() for step in run_saf(network, x)]
    assert min(reached) < -0.5 * before.magnitude, "the bound of the plain connection still holds"
    with pytest.raises(ValueError, match="no bound is known for the operation 'negated'"):
        bounds(network)


def test_neurons_that_no_bound_is_known_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(base.Neuron):
        """A model that is no LIF neuron."""

    Other.__abstractmethods__ = frozenset()
    monkeypatch.setattr(LIFDescription, "neurons_of", lambda of, layer: Other())  # type: ignore[abstract]
    with pytest.raises(ValueError, match=r"no bound is known for the neurons of layer1 \(Other\)"):
        bounds(small([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [0.0, 0.0], 3))
