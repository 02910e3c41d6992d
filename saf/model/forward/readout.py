"""Readouts of a network of SAF neurons: scores at each time step, or of firing rates.

Shapes: `K` time steps of a chunk, `B` samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from saf.config.methods import Readout
from saf.kernels.transfer import constants
from saf.model.forward.presentation import Presentation, plain, traced
from saf.model.forward.saf_forward import (
    REST,
    Chunk,
    advance,
    chunks,
    gradient_factors,
    surrogate_gates,
)
from saf.model.layers import Layer, Wire, input_current
from saf.model.operations import scale_over_time
from saf.networks.architecture import INPUT


def readout_at_each_step(
    shown: Presentation,
    done: Chunk,
    times: Sequence[int],
    trace_bias_and_input: bool,
) -> Tensor:
    """o[t] = W s_N[t] + b at the K time steps of a chunk, K B classes; weight gradients use
    â_N[t]."""

    def step(layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        constant = shown.constant[layer.name].value
        factors = gradient_factors(layer, times, trace_bias_and_input)
        total = scale_over_time(constant, [1.0] * len(times), factors)
        for wire in shown.effective[layer.name].wires:
            source = wire.source
            if source not in inputs:
                continue  # an image, which is part of the constant
            if source == INPUT:
                assert shown.stimulus.frames is not None
                spikes = shown.stimulus.frames.between(times[0] - 1, times[-1]).flatten(0, 1)
                trace = inputs[INPUT] if trace_bias_and_input else spikes
            elif source not in shown.spiking:
                spikes, trace = done.relayed(source), inputs[source]
            else:
                spikes = shown.masked(source, done.spikes(source))
                trace = shown.masked(source, inputs[source])
            current = traced(wire, spikes, trace)
            total = total + current.view(len(times), -1, *current.shape[1:])
        return total.expand(-1, shown.samples, -1)

    scores: Tensor = shown.network.readout_layer(done.received, step)
    return scores.to(shown.network.parameter_dtype)


def readout_of_rates(shown: Presentation, done: Chunk, times: Sequence[int]) -> Tensor:
    """o[t] = W (â_N[t] / c[t]) + b at the given last time steps of a chunk, K B classes: the
    mean of W s_N + b so far, with the weights λ^(t−τ)."""

    def step(layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        def carry(wire: Wire, accumulation: Tensor) -> Tensor:
            last = shown.masked(wire.source, accumulation[-len(times) * shown.samples :])
            current = plain(wire, last, last)
            current = current.view(len(times), -1, *current.shape[1:])
            ones = tuple(layer.accumulated_one(t) for t in times)
            c = constants(ones, current.dtype, current.device)
            return current / c.view(-1, 1, 1)

        start = shown.constant[layer.name].value[None]
        total = input_current(shown.effective[layer.name].wires, inputs, start, carry)
        assert total is not None
        return total.expand(len(times), shown.samples, -1)

    scores: Tensor = shown.network.readout_layer(done.received, step)
    return scores.to(shown.network.parameter_dtype)


def scores_of(shown: Presentation, timesteps: int, readout: Readout) -> Tensor:
    """Scores, B classes, of T time steps, with a graph where gradients are enabled: Σ_t (W s[t]
    + b), or with the readout `weighted` W (â[T] / c[T]) + b, with `last` W s[T] + b, with `max` the
    largest W s[t] + b of each class."""
    gate = surrogate_gates if torch.is_grad_enabled() else None
    state, total = REST, None
    for steps in chunks(shown, timesteps, None):
        done, state = advance(shown, state, steps, gate=gate)
        times = range(state.step - steps + 1, state.step + 1)
        if readout == "mean":
            scores = readout_at_each_step(shown, done, times, True).sum(0)
            total = scores if total is None else total + scores
        elif readout == "max":
            scores = readout_at_each_step(shown, done, times, True).max(0).values
            total = scores if total is None else total.maximum(scores)
        elif readout == "last":
            total = readout_at_each_step(shown, done, times, True)[-1]
        elif state.step == timesteps:
            (total,) = readout_of_rates(shown, done, times[-1:])
    assert total is not None
    return total
