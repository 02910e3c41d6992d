"""OTTT at the cost of the code published with it: the honest baseline of the benchmarks.

Source: what github.com/pkuxmq/OTTT-SNN computes, written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saf.model.batch import Batch
from saf.model.each_step import learn_at_one_step
from saf.model.forward.lif_forward import lif_advance, lif_rest
from saf.model.forward.presentation import (
    Constants,
    Effective,
    Presentation,
    Synapse,
    plain,
)
from saf.model.layers import Wire
from saf.model.network import SpikingNetwork
from saf.model.operations import apply
from saf.model.outcome import Outcome, Tally


def ottt_as_published(network: SpikingNetwork, batch: Batch, *, traced: bool = False) -> Outcome:
    """`ottt_a` at the cost of the published code, for benchmarks: the same gradients.

    Each map after a spiking layer is evaluated twice per step, on spikes without a graph and on
    traces with one; each evaluation standardises its weights anew, and so does the first layer.
    """
    stimulus = network.stimulus(batch.x, batch.timesteps)
    state, tally = lif_rest(network, stimulus), Tally(network, len(batch.x), batch.timesteps)
    for t in range(1, batch.timesteps + 1):
        effective = network.effective()
        constant = Constants(network, stimulus, effective)
        shown = Presentation(network, stimulus, effective, constant, batch.masks)
        with torch.no_grad():
            of_spikes = network.effective()
        scores, state = lif_advance(
            shown,
            state.detached(),
            synapse=twice(shown.effective, of_spikes),
            trace_bias_and_input=traced,
        )
        learn_at_one_step(scores, batch, t, state, tally)
    batch.update()
    return tally.outcome()


@torch.no_grad()
def evaluate_as_published(network: SpikingNetwork, x: Tensor, timesteps: int) -> Tensor:
    """Scores, B classes, at the cost of an evaluation by the published code, for benchmarks.

    Each map is evaluated once per step and standardises its weights anew; so does the first layer.
    """
    stimulus = network.stimulus(x, timesteps)
    state = lif_rest(network, stimulus)
    total = torch.zeros((), dtype=network.parameter_dtype, device=network.device)
    for _ in range(timesteps):
        effective = network.effective()
        scores, state = lif_advance(
            Presentation(network, stimulus, effective, Constants(network, stimulus, effective)),
            state,
            synapse=plain,
            trace_bias_and_input=False,
            track=False,
        )
        total = total + scores
    return total


def twice(effective: Mapping[str, Effective], of_spikes: Mapping[str, Effective]) -> Synapse:
    """A synapse at the cost of the published code: the map is evaluated on the spikes with the
    weights of `of_spikes`, without a graph, and on the trace with those of `effective`, with one.
    The value is the first, the gradient is that of the second."""
    without_graph = {
        id(own): other
        for name in effective
        for wire, with_spikes in zip(effective[name].wires, of_spikes[name].wires, strict=True)
        for own, other in zip(wire.weights, with_spikes.weights, strict=True)
    }

    def synapse(wire: Wire, x: Tensor, trace: Tensor) -> Tensor:
        with torch.no_grad():
            value = apply(wire.operations, [without_graph[id(w)] for w in wire.weights], x)
        of_trace = apply(wire.operations, wire.weights, _with_value(x, trace))
        return _with_value(of_trace, value)

    return synapse


class _WithValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def _with_value(x: Tensor, value: Tensor) -> Tensor:
    """The value of `value`, the gradient of `x`."""
    result: Tensor = _WithValue.apply(x, value)  # type: ignore[no-untyped-call]
    return result
