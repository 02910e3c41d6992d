"""The forward pass by spike accumulation: what SAF trains with and every network is run with.

Shapes: `T` time steps, `K` steps of a chunk, `B` samples, `…` the shape of a population. λ, V, â,
Û, s, c[t] are those of `saf.neuron`; x̂ is the input accumulated, where it comes as frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saf.architecture import INPUT
from saf.network import Presentation, SpikingNetwork
from saf.neuron import accumulated_one
from saf.scan import Gate, spike_scan
from saf.synapse import apply, apply_traced, scale_over_time


class NetworkState(NamedTuple):
    """A network of SAF neurons after some steps: passed in and returned, kept by nobody."""

    step: int
    accumulations: dict[str, Tensor]  # B …: â of every population; x̂ too where frames come in


class Chunk(NamedTuple):
    """What the populations did in K steps, by name; with `input`, x̂ and x, where frames come in."""

    accumulations: dict[str, Tensor]  # K B …: â[t]
    spikes: dict[str, Tensor]  # K B …: s[t]
    potentials: dict[str, Tensor]  # K B …: Û[t]


def rest(shown: Presentation) -> NetworkState:
    """The state before the first step: nothing has accumulated."""
    like, architecture = shown.stimulus.one, shown.network.architecture
    shapes = architecture.shapes()
    names = [population.name for population in architecture.populations]
    accumulations = {name: like.new_zeros(len(like), *shapes[name]) for name in names}
    if shown.stimulus.frames is not None:
        accumulations[INPUT] = torch.zeros_like(like)
    return NetworkState(0, accumulations)


def gradient_factors(steps: Sequence[int], decay: float, traced: bool) -> list[float]:
    """By how much a constant counts in the gradient of each step: c[t] with the trace, else 1."""
    return [accumulated_one(t, decay) if traced else 1.0 for t in steps]


def advance(
    shown: Presentation,
    state: NetworkState,
    steps: int,
    *,
    gate: Gate | None = None,
    trace_bias_and_input: bool = True,
) -> tuple[Chunk, NetworkState]:
    """Run K = `steps` time steps by spike accumulation, layer by layer; SAF, arXiv 2310.02772.

        Û[t] = Σ W â_in[t] + c[t] (W x + b)          (frames: W x̂[t] + c[t] b)
        s[t] = H(Û[t] − V (λ â[t−1] + 1)),           â[t] = λ â[t−1] + s[t]

    Feedback brings â[t−1] of the step before, as a constant, and asks for K = 1.
    `gate` is ∂â/∂Û; without it no gradient passes a population.
    """
    network, stimulus, effective, constant = shown
    assert steps == 1 or not network.architecture.has_feedback
    decay, threshold = network.neuron.decay, network.neuron.threshold
    times = range(state.step + 1, state.step + steps + 1)
    c = [accumulated_one(t, decay) for t in times]
    of_gradient = gradient_factors(times, decay, trace_bias_and_input)
    carried = dict(state.accumulations)
    sent: dict[str, Tensor] = {}
    frames = None
    if stimulus.frames is not None:
        frames = stimulus.frames[state.step : state.step + steps]
        sent[INPUT] = _accumulate(frames, carried[INPUT], decay)
    chunk = Chunk({}, {}, {})
    if frames is not None:
        chunk.accumulations[INPUT], chunk.spikes[INPUT] = sent[INPUT], frames
    for population in network.architecture.populations:
        name = population.name
        potential = scale_over_time(constant[name], c, of_gradient)
        weights = effective[name].weights
        for connection, own in zip(population.connections, weights, strict=True):
            if connection.source == INPUT and frames is None:
                continue
            if connection.source in sent:
                source = sent[connection.source]
            else:
                source = state.accumulations[connection.source][None]
            x = source.flatten(0, 1)
            if connection.source == INPUT and frames is not None and not trace_bias_and_input:
                current = apply_traced(connection.operations, own, x, frames.flatten(0, 1))
            else:
                current = apply(connection.operations, own, x)
            potential = potential + current.view(steps, -1, *current.shape[1:])
        potential = potential.expand(steps, len(carried[name]), *potential.shape[2:])
        accumulation, spikes, carry = spike_scan(potential, carried[name], decay, threshold, gate)
        sent[name] = accumulation
        carried[name] = carry
        chunk.accumulations[name] = accumulation
        chunk.spikes[name] = spikes
        chunk.potentials[name] = potential.detach()
    if frames is not None:
        carried[INPUT] = sent[INPUT][-1]
    return chunk, NetworkState(state.step + steps, carried)


def _accumulate(frames: Tensor, carry: Tensor, decay: float) -> Tensor:
    """x̂[t] = λ x̂[t−1] + x[t] for K frames, K B C H W."""
    accumulated = torch.empty_like(frames)
    for k in range(len(frames)):
        carry = decay * carry + frames[k]
        accumulated[k] = carry
    return accumulated


def chunks(network: SpikingNetwork, timesteps: int, chunk: int) -> list[int]:
    """Lengths of the chunks that `timesteps` fall into: `chunk` each, 1 where there is feedback."""
    if chunk < 1:
        raise ValueError(f"a chunk has at least 1 time step, not {chunk}")
    size = 1 if network.architecture.has_feedback else chunk
    return [min(size, timesteps - start) for start in range(0, timesteps, size)]


def readout_at_each_step(
    shown: Presentation,
    done: Chunk,
    times: Sequence[int],
    trace_bias_and_input: bool,
) -> Tensor:
    """o[t] = W s_N[t] + b at the K steps of a chunk, K B classes; weight gradients use â_N[t]."""
    network, _, effective, constant = shown
    population = network.architecture.readout
    factors = gradient_factors(times, network.neuron.decay, trace_bias_and_input)
    scores = scale_over_time(constant[population.name], [1.0] * len(times), factors)
    weights = effective[population.name].weights
    for connection, own in zip(population.connections, weights, strict=True):
        if connection.source in done.spikes:
            spikes = done.spikes[connection.source]
            traced = connection.source != INPUT or trace_bias_and_input
            trace = done.accumulations[connection.source] if traced else spikes
            current = apply_traced(
                connection.operations, own, spikes.flatten(0, 1), trace.flatten(0, 1)
            )
            scores = scores + current.view(len(times), -1, *current.shape[1:])
    return scores.expand(-1, shown.samples, -1).to(network.parameter_dtype)


def readout_of_rates(
    shown: Presentation,
    done: Chunk,
    timesteps: int,
) -> Tensor:
    """o = W (â_N[T] / c[T]) + b at the last step of a chunk, B classes."""
    network, _, effective, constant = shown
    population = network.architecture.readout
    c = accumulated_one(timesteps, network.neuron.decay)
    scores = constant[population.name]
    weights = effective[population.name].weights
    for connection, own in zip(population.connections, weights, strict=True):
        if connection.source in done.accumulations:
            rate = done.accumulations[connection.source][-1] / c
            scores = scores + apply(connection.operations, own, rate)
    return scores.expand(shown.samples, -1).to(network.parameter_dtype)
