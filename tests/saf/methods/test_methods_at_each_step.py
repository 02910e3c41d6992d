"""SAF-E, OTTT and BPTT against formulas written out by hand, and against each other."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.speed.ottt_published import ottt_as_published
from saf.config import Neuron, Surrogate
from saf.config.methods import Readout
from saf.methods.ottt import OtttA, ottt_a
from saf.methods.saf import SafE, saf_e, saf_e_by_step
from saf.model.network import SpikingNetwork
from saf.networks.architecture import Architecture, Connection, LayerDescription, Linear
from tests.saf.methods import reference, reference_maps
from tests.saf.methods.gradients import PER_STEP, all_layers_fire, assert_close, firing_case, train
from tests.saf.methods.rules import METHODS, SAF_E_BY_STEP, called
from tests.saf.networks.random_networks import Case, cases


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(case=cases(), traced=st.booleans(), readout=st.sampled_from(["mean", "weighted"]))
def test_saf_e_and_ottt_a_have_the_gradient_of_the_loop_reference(
    case: Case, traced: bool, readout: Readout
) -> None:
    outcome, of_saf = train(METHODS["saf-e"], case, traced=traced, readout=readout)
    assume(all_layers_fire(outcome))
    other, of_ottt = train(METHODS["ottt-a"], case, traced=traced, readout=readout)
    with torch.no_grad():
        expected = reference.ottt_a(
            case.network, case.x, case.y, case.timesteps, traced, case.masks, readout == "weighted"
        )
    assert_close(of_saf, of_ottt, 1e-12, case.network)
    assert_close(of_ottt, expected.gradients, 1e-12, case.network)
    for found in (outcome, other):
        torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_saf_e_equals_ottt_a_in_a_convnet_whose_layers_all_fire(traced: bool, frames: bool) -> None:
    case = firing_case(threshold=0.7, decay=0.8, frames=frames)
    _, of_saf = train(METHODS["saf-e"], case, traced=traced)
    _, of_ottt = train(METHODS["ottt-a"], case, traced=traced)
    expected = reference.ottt_a(case.network, case.x, case.y, case.timesteps, traced)
    assert all(g.abs().max() > 0 for g in of_saf.values())
    assert_close(of_saf, of_ottt, 1e-12, case.network)
    assert_close(of_saf, expected.gradients, 1e-12, case.network)


def test_the_trace_option_changes_biases_and_the_first_layer_only() -> None:
    case = firing_case()
    _, without = train(METHODS["saf-e"], case, traced=False)
    _, with_trace = train(METHODS["saf-e"], case, traced=True)
    changed = {n for n in without if not torch.allclose(without[n], with_trace[n], rtol=1e-9)}
    biases = {name for name in without if name.endswith("bias")}
    assert changed == biases | {"layer1.0.weight", "layer1.0.gain"}


@settings(max_examples=15, deadline=None)
@given(case=cases(), traced=st.booleans())
def test_ottt_evaluated_twice_as_published_has_the_same_gradient(case: Case, traced: bool) -> None:
    outcome, once = train(METHODS["ottt-a"], case, traced=traced)
    assume(all_layers_fire(outcome))
    other, twice = train(called(partial(ottt_as_published, traced=traced)), case, traced=traced)
    assert_close(once, twice, 1e-12, case.network)
    torch.testing.assert_close(outcome.scores, other.scores)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(case=cases(), traced=st.booleans(), readout=st.sampled_from(["mean", "weighted"]))
def test_saf_e_updated_at_every_step_takes_the_trajectory_of_ottt_o(
    case: Case, traced: bool, readout: Readout
) -> None:
    ends = []
    for method in (METHODS["ottt-o"], SAF_E_BY_STEP):
        network = deepcopy(case.network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)

        def update(optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        for _ in range(3):
            outcome = method(
                network,
                case.x,
                case.y,
                timesteps=case.timesteps,
                loss=F.cross_entropy,
                update=update,
                trace_bias_and_input=traced,
                masks=case.masks,
                readout=readout,
            )
        ends.append((outcome, dict(network.named_parameters())))
    (of_ottt, weights_of_ottt), (of_saf, weights_of_saf) = ends
    assume(all_layers_fire(of_ottt))
    assert torch.equal(of_ottt.firing_rates, of_saf.firing_rates)
    torch.testing.assert_close(of_saf.scores, of_ottt.scores, rtol=1e-9, atol=1e-9)
    changed = False
    for name, weight in weights_of_ottt.items():
        torch.testing.assert_close(weights_of_saf[name], weight, rtol=1e-9, atol=1e-10)
        changed |= not torch.equal(weight, case.network.get_parameter(name))
    assert changed


@pytest.mark.parametrize("traced", [False, True])
def test_ottt_o_is_a_loop_of_one_step_gradients_and_updates(traced: bool) -> None:
    """By hand: the state is that of LIF neurons that live through the changes of the weights."""
    case, twin = firing_case(), firing_case()
    rate = 0.05
    optimizer = torch.optim.SGD(case.network.parameters(), lr=rate)
    updates = 0

    def update() -> None:
        nonlocal updates
        updates += 1
        optimizer.step()
        optimizer.zero_grad()

    outcome = METHODS["ottt-o"](
        case.network,
        case.x,
        case.y,
        timesteps=case.timesteps,
        loss=F.cross_entropy,
        update=update,
        trace_bias_and_input=traced,
    )
    assert updates == case.timesteps
    assert all_layers_fire(outcome)

    network, V, decay = twin.network, 1.0, 0.5
    image = (twin.x - network.mean) / network.std
    u: dict[str, Tensor | float] = {}
    s: dict[str, Tensor | float] = {}
    a: dict[str, Tensor | float] = {}
    total: Tensor | float = 0.0
    with torch.no_grad():
        for t in range(1, twin.timesteps + 1):
            layers = reference.layers_of(network)
            s["input"], a["input"] = image, decay * a.get("input", 0.0) + image
            for layer in layers[:-1]:
                n = layer.name
                (wire,) = layer.wires
                current = reference_maps.send(wire, s[wire.source])  # type: ignore[arg-type]
                current = current + reference.shaped(layer.bias, current)
                u[n] = decay * (u.get(n, 0.0) - V * s.get(n, 0.0)) + current
                s[n] = (u[n] >= V).double()  # type: ignore[union-attr]
                a[n] = decay * a.get(n, 0.0) + s[n]
            run = reference.Run(dict(s), dict(a), dict(u))  # type: ignore[arg-type]
            gradients: dict[str, Tensor] = {}
            _, o = reference.ottt_step(
                network, layers, run, twin.y, t, twin.timesteps, traced, gradients
            )
            total = total + o
            for name, parameter in network.named_parameters():
                parameter -= rate * gradients[name]  # type: ignore[misc]
    torch.testing.assert_close(outcome.scores, total, rtol=1e-10, atol=1e-12)
    for (name, ours), theirs in zip(
        case.network.named_parameters(), network.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=name)


def test_bptt_equals_ottt_where_the_past_cannot_matter() -> None:
    """At T = 1 there is no past: every per-step method has one and the same gradient."""
    case = firing_case(timesteps=1)
    results = [train(METHODS[name], case, traced=True)[1] for name in PER_STEP]
    for other in results[1:]:
        assert_close(results[0], other, 1e-12, case.network)


def test_bptt_goes_through_the_leak_and_leaves_out_the_reset() -> None:
    """One neuron, two steps, by hand: ∂u[2]/∂b = 1 + λ, ∂u[1]/∂b = 1, the reset a constant."""
    decay, V, slope = 0.5, 1.0, 2.0
    network = SpikingNetwork(
        Architecture(
            input_shape=(1,),
            layers=(
                LayerDescription(
                    name="layer1",
                    connections=(Connection(source="input", operations=(Linear(out_features=1),)),),
                ),
            ),
            readout=LayerDescription(
                name="readout",
                connections=(Connection(source="layer1", operations=(Linear(out_features=1),)),),
            ),
        ),
        Neuron(decay=decay, threshold=V, surrogate=Surrogate(slope=slope)),
        mean=[0.0],
        std=[1.0],
        seed=0,
    ).double()
    with torch.no_grad():
        network.get_parameter("layer1.0.weight").fill_(1.5)
        network.get_parameter("readout.0.weight").fill_(3.0)
    METHODS["bptt"](
        network,
        torch.ones(1, 1, dtype=torch.float64),
        torch.zeros(1),
        timesteps=2,
        loss=lambda scores, _: scores.sum(),
        update=lambda: None,
    )
    # u[1] = 1.5 (fires), u[2] = 0.5 (1.5 − 1) + 1.5 = 1.75 (fires)
    sigma = [reference.surrogate(torch.tensor(u - V).double(), slope) for u in (1.5, 1.75)]
    expected = 3.0 * (sigma[0] + sigma[1] * (1 + decay)) / 2
    grad = network.get_parameter("layer1.bias").grad
    assert grad is not None
    torch.testing.assert_close(grad[0], expected, rtol=1e-13, atol=0)


def test_a_specification_chooses_when_saf_e_updates() -> None:
    chosen = (SafE(), SafE(update="step"), OtttA())
    rules = [method.rule() for method in chosen]
    assert [rule.func for rule in rules] == [saf_e, saf_e_by_step, ottt_a]  # type: ignore[attr-defined]
