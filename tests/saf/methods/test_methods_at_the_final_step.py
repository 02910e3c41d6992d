"""SAF-F and the Spike Representation against formulas written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.saf.methods import reference
from tests.saf.methods.gradients import all_layers_fire, assert_close, firing_case, train
from tests.saf.methods.rules import METHODS
from tests.saf.networks.random_networks import Case, cases


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_spike_representation_has_the_gradient_of_the_clamped_rates(case: Case) -> None:
    outcome, ours = train(METHODS["spike-representation"], case, traced=True)
    assume(all_layers_fire(outcome))
    gate = reference.clamp_gate(case.network.neuron.threshold)
    expected = reference.spike_representation(
        case.network, case.x, case.y, case.timesteps, gate, case.masks
    )
    assert_close(ours, expected.gradients, 1e-11, case.network)
    torch.testing.assert_close(outcome.loss, expected.loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(outcome.scores, expected.scores, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("threshold", [0.6, 1.0, 1.9])
def test_saf_f_is_the_spike_representation_times_v_per_spiking_layer_before_the_loss(
    threshold: float, frames: bool
) -> None:
    """With rates a = â/c and m = Û/c the spike representation has ∂a/∂m = gate / V, and SAF-F has
    ∂â/∂Û = gate; the factors c cancel. So the gradient of the parameters of spiking layer l of N
    is V^(N−l+1) times that of the spike representation, that of the readout the same. The gate is
    one function in both: the surrogate at u[T] − V, which the clamp's derivative is replaced by.
    """
    case = firing_case(threshold=threshold, decay=0.7, frames=frames)
    outcome, ours = train(METHODS["saf-f"], case, traced=True)

    def gate(m: Tensor, x: Tensor) -> Tensor:
        return reference.surrogate(x, 1.0)

    expected = reference.spike_representation(case.network, case.x, case.y, case.timesteps, gate)
    torch.testing.assert_close(outcome.loss, expected.loss, rtol=1e-12, atol=1e-14)
    factors = {"layer1": threshold**3, "layer2": threshold**2, "layer3": threshold, "readout": 1.0}
    scaled = {n: factors[n.split(".")[0]] * g for n, g in expected.gradients.items()}
    assert all(g.abs().max() > 0 for g in ours.values())
    assert_close(ours, scaled, 1e-12, case.network)


@settings(max_examples=20, deadline=None)
@given(case=cases())
def test_saf_f_reduces_to_the_spike_representation_at_threshold_one(case: Case) -> None:
    """Skips and feedback too: at V = 1 every path has the factor 1."""
    neuron = case.network.neuron.model_copy(update={"threshold": 1.0})
    case.network = case.network.with_neuron(neuron)
    outcome, ours = train(METHODS["saf-f"], case, traced=True)
    assume(all_layers_fire(outcome))
    chosen = neuron.surrogate
    expected = reference.spike_representation(
        case.network,
        case.x,
        case.y,
        case.timesteps,
        lambda _, x: reference.surrogate(x, chosen.slope, chosen.name),
        case.masks,
    )
    assert_close(ours, expected.gradients, 1e-11, case.network)


@settings(max_examples=20, deadline=None)
@given(case=cases(skips=False, feedback=False))
def test_in_a_chain_saf_f_is_the_spike_representation_times_v_per_spiking_layer_on_the_way(
    case: Case,
) -> None:
    """Of random λ, V, T, pooling, strides, groups, relays, surrogates."""
    chosen, V = case.network.neuron.surrogate, case.network.neuron.threshold
    outcome, ours = train(METHODS["saf-f"], case, traced=True)
    assume(all_layers_fire(outcome))
    expected = reference.spike_representation(
        case.network,
        case.x,
        case.y,
        case.timesteps,
        lambda _, x: reference.surrogate(x, chosen.slope, chosen.name),
        case.masks,
    )
    factors, factor = {case.network.architecture.readout.name: 1.0}, 1.0
    for layer in reversed(case.network.architecture.layers):
        factor *= 1.0 if layer.relay else V
        factors[layer.name] = factor
    scaled = {n: factors[n.split(".")[0]] * g for n, g in expected.gradients.items()}
    assert_close(ours, scaled, 1e-11, case.network)


def test_saf_f_without_a_trace_gives_hidden_biases_the_gradient_of_the_potential() -> None:
    case = firing_case(decay=0.7)
    c = sum(0.7**k for k in range(case.timesteps))
    _, traced = train(METHODS["saf-f"], case, traced=True)
    _, plain = train(METHODS["saf-f"], case, traced=False)
    for name, gradient in traced.items():
        factor = c if name in {"layer1.0.weight", "layer1.0.gain"} or "bias" in name else 1.0
        factor = 1.0 if name == "readout.bias" else factor
        torch.testing.assert_close(gradient, factor * plain[name], rtol=1e-12, atol=1e-15)


class _Maps(TorchDispatchMode):
    """Rows that go through maps on their way forward, one number for each evaluation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rows: list[int] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.ops.aten.convolution.default:
            self.rows.append(len(args[0]))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["saf-f", "spike-representation"])
def test_each_map_is_evaluated_once_for_all_steps(method: str) -> None:
    """The last step too: its graph takes the results that the map gave with the others."""
    case = firing_case()
    with _Maps() as maps:
        train(METHODS[method], case, traced=True, chunk=case.timesteps)
    first, *others = maps.rows  # the image is the same at every step
    assert first == len(case.x)
    assert others
    assert set(others) == {case.timesteps * len(case.x)}
