"""Where the verdict could be `proven`, for every λ = 2^−n, spikes are those of rational numbers."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from saf.config import JobSpecification
from saf.lif.convert import decays_of, on_grid, with_nearest_decays
from saf.lif.grid.advice import advice_of, remedies, with_decays_from
from saf.lif.grid.exactness import bounds
from saf.lif.grid.fixed_point import Grid
from saf.lif.grid.saf_run import run_saf
from saf.lif.header import LIFDescription
from saf.lif.network import LIFNetwork
from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Flatten,
    LayerDescription,
    Linear,
    Scale,
)
from saf.powers import halvings, most_timesteps, nearest_power
from tests.saf.lif.grid import rational

POWERS = [1.0, 0.5, 0.25, 0.125]
SIZES = {INPUT: 2, "layer1": 3, "layer2": 2, "layer3": 3, "readout": 2}
SPIKING = ("layer1", "layer2", "layer3")


@st.composite
def neurons(draw: st.DrawFn) -> dict[str, Any]:
    """The neurons of a layer, on a grid."""
    found = {"name": "lif", "decay": draw(st.sampled_from(POWERS)), "threshold": 1.0}
    match draw(st.sampled_from(["lif", "lif", "lif", "cuba", "alif"])):
        case "cuba":
            alpha = draw(st.sampled_from([*POWERS, 0.0]))
            found |= {"name": "cuba", "synaptic_decay": alpha}
        case "alif":
            rho = draw(st.sampled_from([*POWERS, 0.0]))
            beta = draw(st.sampled_from([0.25, 1.0, 3 / 32]))
            found |= {"name": "alif", "adaptation": beta, "adaptation_decay": rho}
    return found


@st.composite
def descriptions(draw: st.DrawFn) -> LIFDescription:
    """Three layers of linear maps, with skips, feedback, delays, factors, and perhaps a relay."""
    frames = draw(st.booleans())
    relay = draw(st.sampled_from([None, None, "layer1", "layer2"]))

    def heard(source: str, name: str, *, feedback: bool = False) -> Connection:
        flat: tuple[Any, ...] = (Flatten(),) if source == INPUT else ()
        factor = (Scale(factor=draw(st.sampled_from([-0.5, 2.0]))),) if draw(st.booleans()) else ()
        may_wait = name != "readout" and (frames or source != INPUT)
        delay = draw(st.integers(1 if feedback else 0, 2)) if may_wait else 0
        maps = (*flat, *factor, Linear(out_features=SIZES[name]))
        return Connection(source=source, operations=maps, delay=delay)

    def layer(name: str, *sources: str, back: str = "") -> LayerDescription:
        connections = [heard(source, name) for source in sources]
        if back and back != relay and draw(st.booleans()):
            connections.append(heard(back, name, feedback=True))
        return LayerDescription(name=name, connections=tuple(connections), relay=name == relay)

    skip = (INPUT,) if draw(st.booleans()) else ()
    architecture = Architecture(
        input_shape=(2, 1, 1),
        layers=(
            layer("layer1", INPUT, back="layer3"),
            layer("layer2", "layer1", *skip, back="layer2"),
            layer("layer3", "layer2", "layer1"),
        ),
        readout=layer("readout", "layer3", "layer2"),
    )
    spiking = {name: draw(neurons()) for name in SPIKING if name != relay}
    return LIFDescription(
        format="saf-lif/3" if architecture.delays else "saf-lif/2",
        architecture=architecture,
        decay=draw(st.sampled_from(POWERS)),
        threshold=1.0,
        timesteps=draw(st.integers(1, 8)),
        readout=draw(st.sampled_from(["mean", "weighted"])),
        neurons=spiking,
        frames=frames,
        mean=(0.4, 0.0),
        std=(0.3, 1.0),
        class_names=("a", "b"),
        specification={},
    )


@st.composite
def networks(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> LIFNetwork:
    """Networks with weights of all sizes, many of them whole, halves and at the threshold."""
    of = draw(descriptions())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    coarse = draw(st.booleans())  # potentials at the threshold are frequent
    tensors = {}
    for name, shape in of.tensor_shapes().items():
        size = draw(st.sampled_from([0.5, 1.0, 1.0, 4.0, 40.0]))
        value = torch.randn(shape, generator=generator, dtype=torch.float64) * size
        if name.endswith("bias") and coarse:
            value = torch.randint(-1, 2, shape, generator=generator).double()
        tensors[name] = (torch.round(value * 2) / 2 if coarse else value).to(dtype)
    return LIFNetwork(of, tensors)


def inputs(network: LIFNetwork, seed: int, count: int = 6) -> torch.Tensor:
    """Bytes, N T 2: the extremes of both channels at every step, and random ones."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, network.timesteps, 2)
    x = torch.randint(0, 256, shape, generator=generator)
    for n, levels in enumerate(product((0, 255), repeat=2)):
        x[n] = torch.tensor(levels)
    x[4] = torch.randint(0, 2, shape[1:], generator=generator) * 255
    return x if network.description.frames else x[:, :1].expand(shape)


def assert_rational(network: LIFNetwork, seed: int, scores: bool) -> int:
    """Both forms of `network` have the spikes, potentials and `scores` of rational numbers; the
    number of spikes."""
    x = inputs(network, seed)
    given_ = x if network.description.frames else x[:, 0]
    floats = (given_.double() / 255).to(network.dtype)[..., None, None]
    in_both = (list(network.run(floats)), list(run_saf(network, floats)))
    fired = 0
    for n, frames in enumerate(x.tolist()):
        spikes, potentials, _, expected = rational.run(network, frames)
        for form in in_both:
            for t, step in enumerate(form):
                for name, own in spikes[t].items():
                    assert step.spikes[name][n].int().tolist() == own
                    assert [Fraction(u) for u in step.potentials[name][n].tolist()] == (
                        potentials[t][name]
                    )
                    fired += sum(own)
            if scores and network.description.readout == "mean":
                found = form[-1].scores[n].tolist()
                assert [Fraction(score) for score in found] == expected
            elif scores:  # one division that is rounded
                found = form[-1].scores[n].tolist()
                assert found == pytest.approx([float(e) for e in expected], rel=1e-6)
    return fired


def finest(network: LIFNetwork, at_most: int) -> LIFNetwork | None:
    """`network` on the finest grid that is exact, of at most so many bits."""
    bits = at_most
    while bits > 0:
        candidate = on_grid(network, bits)
        found = bounds(candidate)[:-1]
        lacking = max(bound.bits_needed - bound.bits_available for bound in found)
        if lacking <= 0:
            return candidate
        bits -= -(-lacking // 4)  # with maps in a row each bit counts several times
    return None


@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(network=networks(), bits=st.integers(1, 20), seed=st.integers(0, 1000))
def test_every_number_is_a_multiple_of_its_fraction_below_its_bound(
    network: LIFNetwork, bits: int, seed: int
) -> None:
    on_it = on_grid(network, bits)
    found = {bound.name: bound for bound in bounds(on_it)}
    x = inputs(on_it, seed)[3:]
    for frames in x.tolist():
        ran = rational.run(on_it, frames)
        for kept in (ran.potentials, ran.margins):
            for name, values in (item for step in kept for item in step.items()):
                bound = found[name]
                for value in values:
                    assert abs(value) <= bound.magnitude
                    assert (value * 2**bound.fraction_bits).denominator == 1
                    units = Fraction(bound.magnitude) * 2**bound.fraction_bits
                    assert units <= 2**bound.bits_needed


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(network=networks(), bits=st.sampled_from([20, 3, 1]), seed=st.integers(0, 1000))
def test_what_is_within_the_bounds_is_rational_arithmetic(
    network: LIFNetwork, bits: int, seed: int
) -> None:
    on_it = finest(network, bits)
    assume(on_it is not None)
    assert on_it is not None
    assert_rational(on_it, seed, scores=bounds(on_it)[-1].within)


@settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
@given(network=networks(torch.float64), seed=st.integers(0, 1000))
def test_in_float64_there_are_53_bits(network: LIFNetwork, seed: int) -> None:
    on_it = finest(network, 20)
    assume(on_it is not None)
    assert on_it is not None
    found = bounds(on_it)
    assert {bound.bits_available for bound in found} == {53}
    assert_rational(on_it, seed, scores=found[-1].within)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)
@given(network=networks(), bits=st.integers(6, 20))
def test_what_is_advised_helps(network: LIFNetwork, bits: int) -> None:
    on_it = on_grid(network, bits)

    def is_exact(changed: LIFNetwork) -> bool:
        return all(bound.within for bound in bounds(changed)[:-1])

    assume(not is_exact(on_it))
    found = remedies(on_it, lambda k: on_grid(network, k))
    most = max(bound.bits_needed for bound in bounds(on_it)[:-1])
    assert found.bits_lacking == most - 24 > 0
    advised = advice_of(found)
    if found.grid_bits is not None:
        assert is_exact(on_grid(network, found.grid_bits))
        assert f"grid_bits of at most {found.grid_bits}" in advised
    if found.timesteps is not None:
        of = on_it.description.model_copy(update={"timesteps": found.timesteps})
        assert is_exact(LIFNetwork(of, on_it.tensors))
        assert f"timesteps of at most {found.timesteps}" in advised
    if found.decay is not None:
        assert is_exact(with_decays_from(on_it, found.decay))
        assert f"λ of at least {found.decay:g}" in advised
    assert found.float64 == is_exact(on_it.copied(dtype=torch.float64))


def of_one_neuron(decay: float, weight: float, timesteps: int, bits: int) -> LIFNetwork:
    """A pixel, a neuron, one that hears it, and a readout."""

    def layer(source: str, name: str) -> LayerDescription:
        maps = (*((Flatten(),) if source == INPUT else ()), Linear(out_features=1))
        return LayerDescription(
            name=name, connections=(Connection(source=source, operations=maps),)
        )

    of = LIFDescription(
        architecture=Architecture(
            input_shape=(1, 1, 1),
            layers=(layer(INPUT, "layer1"), layer("layer1", "layer2")),
            readout=layer("layer2", "readout"),
        ),
        decay=decay,
        threshold=1.0,
        timesteps=timesteps,
        readout="mean",
        frames=False,
        mean=(0.0,),
        std=(1.0,),
        class_names=("a",),
        grid=Grid(bits=bits, input_bits=8),
        specification={},
    )
    one = torch.ones(1, 1)
    return LIFNetwork(
        of,
        {
            "layer1.0.weight": 0.5 * one,
            "layer1.bias": torch.full((1,), 1.0 - 2.0**-bits),
            "layer2.0.weight": weight * one,
            "layer2.bias": torch.zeros(1),
            "readout.0.weight": one,
            "readout.bias": torch.zeros(1),
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize(("decay", "steps"), [(1.0, 1000), (0.5, 13), (0.25, 7), (0.125, 5)])
def test_the_last_bit_that_is_counted_is_one_that_float32_has(decay: float, steps: int) -> None:
    """The largest T that the bounds allow, and more of them, in which float32 does round."""

    def differs_at(timesteps: int) -> bool:
        network = of_one_neuron(decay, 1.0, timesteps, 8)
        x = torch.tensor([[[[255.0]]], [[[0.0]]], [[[1.0]]], [[[77.0]]]]) / 255
        exact = network.copied(dtype=torch.float64).run(x.double())
        pairs = zip(run_saf(network, x), exact, strict=True)
        return any(
            not torch.equal(a.potentials[name].double(), b.potentials[name])
            for a, b in pairs
            for name in a.potentials
        )

    def is_exact(timesteps: int) -> bool:
        return all(b.within for b in bounds(of_one_neuron(decay, 1.0, timesteps, 8)))

    assert is_exact(steps)
    assert not differs_at(steps)
    if decay != 1.0:
        most = next(t for t in range(steps, 40) if not is_exact(t + 1))
        assert not differs_at(most)
        assert any(differs_at(t) for t in range(most + 1, most + 10))


def test_halvings_of_a_decay() -> None:
    assert [halvings(x) for x in (1.0, 0.5, 0.25, 2.0**-20, 0.0)] == [0, 1, 2, 20, 0]
    assert [halvings(x) for x in (2.0, 2.0**-21, 0.75, 0.5 + 2.0**-50)] == [None] * 4
    assert [nearest_power(x) for x in (0.9, 0.76, 0.75, 0.4, 0.36, 1e-4)] == (
        [1.0, 1.0, 0.5, 0.5, 0.25, 2.0**-13]
    )
    assert [most_timesteps(x, 24) for x in (1.0, 0.5, 0.25, 0.125)] == [None, 23, 12, 8]
    assert [most_timesteps(x, 53) for x in (0.5, 0.125)] == [52, 18]


def test_nearest_decays_leave_powers_of_two_alone() -> None:
    network = of_one_neuron(0.5, 1.0, 4, 8)
    of = network.description.model_copy(
        update={
            "neurons": {"layer2": {"name": "lif", "decay": 0.3, "threshold": 1.0}},
            "grid": None,
        }
    )
    learned = LIFNetwork(of, network.tensors)
    assert decays_of(with_nearest_decays(learned)) == {"layer1": 0.5, "layer2": 0.25}
    assert with_nearest_decays(network).description == network.description


def test_a_specification_that_asks_for_less_than_a_bit_is_refused_before_it_is_trained() -> None:
    with pytest.raises(ValueError, match=r"at most 8 with λ = 0\.125"):
        JobSpecification.model_validate(
            {"neuron": {"decay": 0.125}, "timesteps": 9, "conversion": {"grid_bits": 1}}
        )
