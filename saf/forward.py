"""The forward pass by spike accumulation: what SAF trains with and every network is run with.

Shapes: `T` time steps, `K` steps of a chunk, `B` samples, `…` the shape of a population; `K · B`
is steps and samples merged. λ, V, â, Û, u, s, c[t] are those of `saf.neuron`; x̂ is the input
accumulated, where it comes as frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.architecture import INPUT, Flatten
from saf.forecast import steps_at_once
from saf.network import Presentation, SpikingNetwork
from saf.neuron import accumulated_one
from saf.scan import Constant, Gate, scan, spike_scan
from saf.synapse import apply, apply_traced, scale_over_time


class NetworkState(NamedTuple):
    """A network of SAF neurons after some steps: passed in and returned, kept by nobody."""

    step: int
    accumulations: dict[str, Tensor]
    """â of every population, B …, and x̂ where frames come in; none before the first step, when
    all are zero."""


class Chunk(NamedTuple):
    """What happened in K steps."""

    steps: int  # K
    accumulations: dict[str, Tensor]  # K · B …: â[t] of those that were to be kept
    before: dict[str, Tensor]  # B …: theirs before the first of the steps, where it is not zero
    potentials: dict[str, Tensor]  # K · B …: u[t] before the reset, of all where asked for
    fired: Tensor  # spikes of every population, added up over K and B
    decay: float

    def spikes(self, name: str) -> Tensor:
        """s[t] = â[t] − λ â[t−1], K · B …; its gradient is that of â[t], the past a constant."""
        spikes: Tensor = _Spikes.apply(  # type: ignore[no-untyped-call]
            self.accumulations[name], self.before.get(name), self.steps, self.decay
        )
        return spikes


REST = NetworkState(0, {})


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
    keep: Collection[str] | None = None,
    potentials: bool = False,
) -> tuple[Chunk, NetworkState]:
    """Run K = `steps` time steps by spike accumulation, layer by layer; SAF, arXiv 2310.02772.

        u[t] = Σ W â_in[t] + c[t] (W x + b) − V λ â[t−1]        (frames: W x̂[t] + c[t] b)
        s[t] = H(u[t] − V),                  â[t] = λ â[t−1] + s[t]

    Feedback brings â[t−1] of the step before, as a constant, and asks for K = 1.
    `gate` is ∂â/∂Û; without it no gradient passes a population. The chunk holds â of those that
    the readout listens to, or of `keep`; others go when nobody listens to them any more. With
    `potentials`, which is for recordings without a gradient, it holds u of all populations.
    """
    network, stimulus, effective, constant = shown
    architecture = network.architecture
    assert steps == 1 or not architecture.has_feedback
    decay, threshold = network.neuron.decay, network.neuron.threshold
    times = range(state.step + 1, state.step + steps + 1)
    c = [accumulated_one(t, decay) for t in times]
    of_gradient = gradient_factors(times, decay, trace_bias_and_input)
    if keep is None:
        keep = {connection.source for connection in architecture.readout.connections}
    listening = Counter(
        connection.source
        for population in architecture.populations
        for connection in population.connections
    )
    carried: dict[str, Tensor] = {}
    sent: dict[str, Tensor] = {}
    frames = None
    if stimulus.frames is not None:
        frames = stimulus.frames[state.step : state.step + steps].flatten(0, 1)
        sent[INPUT] = _accumulate(frames, state.accumulations.get(INPUT), steps, decay)
        carried[INPUT] = _last(sent[INPUT], steps)
    fired, recorded = [], {}
    for population in architecture.populations:
        name, own = population.name, effective[population.name]
        current = arriving = x = None
        for connection, operations, weights in zip(
            population.connections, own.operations, own.weights, strict=True
        ):
            source = connection.source
            x = sent[source] if source in sent else state.accumulations.get(source)
            if x is None:
                continue  # an image, which is part of the constant, or the past of the first step
            if source == INPUT and frames is not None and not trace_bias_and_input:
                arriving = apply_traced(operations, weights, x, frames)
            else:
                arriving = apply(operations, weights, x)
            if current is not None:
                current = current + arriving
            elif all(isinstance(operation, Flatten) for operation in operations):
                current = arriving.clone()  # what was sent itself, and the scan overwrites
            else:
                current = arriving
        value = constant[name]
        if current is None:
            value = value.expand(shown.samples, *value.shape[1:])
        carry, arriving_always = state.accumulations.get(name), Constant(value, c, of_gradient)
        if potentials:
            scanned = scan(current, arriving_always, carry, decay, threshold, lambda u, _: u)
            accumulation, count = scanned.accumulation, scanned.fired
            assert scanned.derivative is not None
            recorded[name] = scanned.derivative
        else:
            accumulation, count = spike_scan(
                current, arriving_always, carry, decay, threshold, gate
            )
        del current, arriving, x
        fired.append(count)
        sent[name] = accumulation
        carried[name] = _last(accumulation, steps)
        listening.subtract(connection.source for connection in population.connections)
        for heard in [s for s in sent if listening[s] == 0 and s not in keep]:
            del sent[heard]
    kept = {name: sent[name] for name in keep if name in sent}
    before = {name: state.accumulations[name] for name in kept if name in state.accumulations}
    chunk = Chunk(steps, kept, before, recorded, torch.stack(fired), decay)
    return chunk, NetworkState(state.step + steps, carried)


def _last(accumulation: Tensor, steps: int) -> Tensor:
    """â of the last step, B …, without the memory of the others."""
    last = accumulation.detach()[-(len(accumulation) // steps) :]
    return last if steps == 1 else last.clone()


def _accumulate(frames: Tensor, carry: Tensor | None, steps: int, decay: float) -> Tensor:
    """x̂[t] = λ x̂[t−1] + x[t] of K frames, K · B C H W."""
    accumulated = frames.clone()
    for now in accumulated.chunk(steps):
        if carry is not None:
            now.add_(carry, alpha=decay)
        carry = now
    return accumulated


class _Spikes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, accumulation: Tensor, before: Tensor | None, steps: int, decay: float
    ) -> Tensor:
        spikes = accumulation.clone()
        past = accumulation.chunk(steps)[:-1]
        for now, last in zip(spikes.chunk(steps), (before, *past), strict=True):
            if last is not None:
                now.sub_(last, alpha=decay)
        return spikes.ge_(0.5)  # 0 and 1 but for rounding

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return grads[0], None, None, None


def chunks(network: SpikingNetwork, samples: int, timesteps: int, chunk: int | None) -> list[int]:
    """Lengths of the chunks that `timesteps` fall into: `chunk` each, 1 where there is feedback.

    None leaves the number to `steps_at_once`.
    """
    if chunk is None:
        chunk = steps_at_once(samples, timesteps)
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
    network, stimulus, effective, constant = shown
    own, name = effective[network.architecture.readout.name], network.architecture.readout.name
    factors = gradient_factors(times, network.neuron.decay, trace_bias_and_input)
    scores = scale_over_time(constant[name], [1.0] * len(times), factors)
    for connection, operations, weights in zip(
        network.architecture.readout.connections, own.operations, own.weights, strict=True
    ):
        source = connection.source
        if source == INPUT:
            if stimulus.frames is None:
                continue
            spikes = stimulus.frames[times[0] - 1 : times[-1]].flatten(0, 1)
            trace = done.accumulations[INPUT] if trace_bias_and_input else spikes
        else:
            spikes, trace = done.spikes(source), done.accumulations[source]
        current = apply_traced(operations, weights, spikes, trace)
        scores = scores + current.view(len(times), -1, *current.shape[1:])
    return scores.expand(-1, shown.samples, -1).to(network.parameter_dtype)


def readout_of_rates(
    shown: Presentation,
    done: Chunk,
    timesteps: int,
) -> Tensor:
    """o = W (â_N[T] / c[T]) + b at the last step of a chunk, B classes."""
    network, _, effective, constant = shown
    own, name = effective[network.architecture.readout.name], network.architecture.readout.name
    c = accumulated_one(timesteps, network.neuron.decay)
    scores = constant[name]
    for connection, operations, weights in zip(
        network.architecture.readout.connections, own.operations, own.weights, strict=True
    ):
        if connection.source in done.accumulations:
            last = done.accumulations[connection.source][-shown.samples :]
            scores = scores + apply(operations, weights, last / c)
    return scores.expand(shown.samples, -1).to(network.parameter_dtype)
