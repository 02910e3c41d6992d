"""The forward pass by spike accumulation: what SAF trains with and every network is run with.

Shapes: `T` time steps, `K` steps of a chunk, `B` samples, `…` the shape of a population; `K · B`
is steps and samples merged. λ, V, â, Û, u, s, c[t] are those of `saf.neurons.dynamics`; x̂ is the
input accumulated, where it comes as frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.estimate.chunking import steps_at_once
from saf.kernels.saf_scan import Constant, scan, spike_scan
from saf.kernels.transfer import constants
from saf.model.network import Presentation, SpikingNetwork
from saf.model.operations import apply, apply_traced, scale_over_time
from saf.model.replay import Replay
from saf.networks.architecture import INPUT, Flatten, Population
from saf.neurons.dynamics import accumulated_one
from saf.neurons.gates import Gate


class NetworkState(NamedTuple):
    """A network of SAF neurons after some steps: passed in and returned, kept by nobody."""

    step: int
    accumulations: dict[str, Tensor]
    """â of every population, B …, what the readout hears of relays, and x̂ where frames come in;
    none before the first step, when all are zero."""


class Chunk(NamedTuple):
    """What happened in K steps."""

    steps: int  # K
    accumulations: dict[str, Tensor]  # K · B …: â[t] of those that were to be kept, no mask on it
    before: dict[str, Tensor]  # B …: theirs before the first of the steps, where it is not zero
    potentials: dict[str, Tensor]  # K · B …: u[t] before the reset, of all where asked for
    fired: Tensor  # spikes of every population, added up over K and B
    decay: float

    def spikes(self, name: str) -> Tensor:
        """s[t] = â[t] − λ â[t−1], K · B …; its gradient is that of â[t], the past a constant."""
        return self._difference(name, spiking=True)

    def relayed(self, name: str) -> Tensor:
        """What a relay sent at each step, K · B …, with the gradient of what it accumulates to."""
        return self._difference(name, spiking=False)

    def _difference(self, name: str, *, spiking: bool) -> Tensor:
        sent: Tensor = _Sent.apply(  # type: ignore[no-untyped-call]
            self.accumulations[name], self.before.get(name), self.steps, self.decay, spiking
        )
        return sent


REST = NetworkState(0, {})
Neurons = Callable[[str, Tensor | None, Constant, Tensor | None], tuple[Tensor, Tensor]]
"""Runs the neurons of a population over a chunk, by its name, what arrives at each step (K · B …,
to be overwritten) and at every step alike, and â before (B …): â (K · B …), and how many spikes."""


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
    replay: Replay | None = None,
    neurons: Neurons | None = None,
) -> tuple[Chunk, NetworkState]:
    """Run K = `steps` time steps by spike accumulation, layer by layer; SAF, arXiv 2310.02772.

        u[t] = Σ W â_in[t] + c[t] (W x + b) − V λ â[t−1]        (frames: W x̂[t] + c[t] b)
        s[t] = H(u[t] − V),                  â[t] = λ â[t−1] + s[t]

    A relay sends Σ W â_in[t] + c[t] (W x + b) on. Feedback brings â[t−1] of the step before, as a
    constant, and asks for K = 1. `gate` is ∂â/∂Û; without it no gradient passes a population. The
    chunk holds â of those that the readout listens to, or of `keep`; others go when nobody listens
    to them any more. With `potentials`, which is for recordings without a gradient, it holds u of
    all populations. `neurons` runs populations in place of `spike_scan`, without a gradient. While
    `replay` keeps the results of maps, the state that is returned is that before the last of the
    steps, which is to run again with them.
    """
    network, stimulus, effective, constant, _ = shown
    architecture = network.architecture
    assert steps == 1 or not architecture.has_feedback
    decay, threshold = network.neuron.decay, network.neuron.threshold
    times = range(state.step + 1, state.step + steps + 1)
    ended = steps - 1 if replay is not None and not replay.again else steps
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
    kept: dict[str, Tensor] = {}
    sent: dict[str, Tensor] = {}
    frames = None
    if stimulus.frames is not None:
        frames = stimulus.frames[state.step : state.step + steps].flatten(0, 1)
        sent[INPUT] = _accumulate(frames, state.accumulations.get(INPUT), steps, decay)
        carried[INPUT] = _after(sent[INPUT], ended, steps)
        if INPUT in keep:
            kept[INPUT] = sent[INPUT]

    def current_of(population: Population) -> Tensor | None:
        own = effective[population.name]
        total = None
        for connection, operations, weights in zip(
            population.connections, own.operations, own.weights, strict=True
        ):
            source = connection.source
            if source in sent:
                x = sent[source]
            elif source in state.accumulations:
                x = shown.masked(source, state.accumulations[source])
            else:
                continue  # an image, which is part of the constant, or the past of the first step
            if source == INPUT and frames is not None and not trace_bias_and_input:
                arriving = apply_traced(operations, weights, x, frames, replay)
            else:
                arriving = apply(operations, weights, x, replay)
            if total is not None:
                total = total + arriving
            elif all(isinstance(o, Flatten) for o in operations) and not population.relay:
                total = arriving.clone()  # what was sent itself, and the scan overwrites
            else:
                total = arriving
        return total

    fired, recorded = [], {}
    for population in architecture.populations:
        name, current = population.name, current_of(population)
        listening.subtract(connection.source for connection in population.connections)
        steady = constant[name]
        if population.relay:
            always = scale_over_time(steady.value, c, of_gradient)
            sent[name] = _relayed(current, always, shown.samples)
            if name in keep:
                kept[name] = sent[name]
                carried[name] = _after(sent[name], ended, steps)
            del current, always
            _forget(sent, listening)
            continue
        carry, arriving_always = state.accumulations.get(name), Constant(*steady, c, of_gradient)
        if neurons is not None:
            accumulation, count = neurons(name, current, arriving_always, carry)
        elif potentials:
            scanned = scan(current, arriving_always, carry, decay, threshold, lambda u, _: u)
            accumulation, count = scanned.accumulation, scanned.fired
            assert scanned.derivative is not None
            recorded[name] = scanned.derivative
        else:
            accumulation, count = spike_scan(
                current, arriving_always, carry, decay, threshold, gate
            )
        del current
        fired.append(count)
        sent[name] = shown.masked(name, accumulation)
        carried[name] = _after(accumulation, ended, steps)
        if name in keep:
            kept[name] = accumulation
        del accumulation
        _forget(sent, listening)
    before = {name: state.accumulations[name] for name in kept if name in state.accumulations}
    chunk = Chunk(steps, kept, before, recorded, torch.stack(fired), decay)
    return chunk, NetworkState(state.step + ended, carried)


def _relayed(current: Tensor | None, always: Tensor, samples: int) -> Tensor:
    """What arrives at a relay, K · B …, and what does at every step alike, K 1 … or K B …."""
    if current is None:
        return always.flatten(0, 1)  # an image, which no sample shares
    return (torch.unflatten(current, 0, (len(always), samples)) + always).flatten(0, 1)


def _forget(sent: dict[str, Tensor], listening: Counter[str]) -> None:
    """Let go of what nobody listens to any more."""
    for heard in [name for name in sent if listening[name] == 0]:
        del sent[heard]


def _after(accumulation: Tensor, ended: int, steps: int) -> Tensor:
    """â after the first `ended` of `steps`, B …, without the memory of the others."""
    samples = len(accumulation) // steps
    last = accumulation.detach()[(ended - 1) * samples : ended * samples]
    return last if steps == 1 else last.clone()


def _accumulate(frames: Tensor, carry: Tensor | None, steps: int, decay: float) -> Tensor:
    """x̂[t] = λ x̂[t−1] + x[t] of K frames, K · B C H W."""
    accumulated = frames.clone()
    for now in accumulated.chunk(steps):
        if carry is not None:
            now.add_(carry, alpha=decay)
        carry = now
    return accumulated


class _Sent(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        accumulation: Tensor,
        before: Tensor | None,
        steps: int,
        decay: float,
        spiking: bool,
    ) -> Tensor:
        sent = accumulation.clone()
        past = accumulation.chunk(steps)[:-1]
        for now, last in zip(sent.chunk(steps), (before, *past), strict=True):
            if last is not None:
                now.sub_(last, alpha=decay)
        return sent.ge_(0.5) if spiking else sent  # 0 and 1 but for rounding

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        return grads[0], None, None, None, None


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
    network, stimulus, effective, constant, _ = shown
    readout = network.architecture.readout
    own, name = effective[readout.name], readout.name
    relays = {p.name for p in network.architecture.populations if p.relay}
    factors = gradient_factors(times, network.neuron.decay, trace_bias_and_input)
    scores = scale_over_time(constant[name].value, [1.0] * len(times), factors)
    for connection, operations, weights in zip(
        readout.connections, own.operations, own.weights, strict=True
    ):
        source = connection.source
        if source == INPUT:
            if stimulus.frames is None:
                continue
            spikes = stimulus.frames[times[0] - 1 : times[-1]].flatten(0, 1)
            trace = done.accumulations[INPUT] if trace_bias_and_input else spikes
        elif source in relays:
            spikes, trace = done.relayed(source), done.accumulations[source]
        else:
            spikes = shown.masked(source, done.spikes(source))
            trace = shown.masked(source, done.accumulations[source])
        current = apply_traced(operations, weights, spikes, trace)
        scores = scores + current.view(len(times), -1, *current.shape[1:])
    return scores.expand(-1, shown.samples, -1).to(network.parameter_dtype)


def readout_of_rates(shown: Presentation, done: Chunk, times: Sequence[int]) -> Tensor:
    """o[t] = W (â_N[t] / c[t]) + b at these last steps of a chunk, K B classes: the mean of
    W s_N + b over the steps so far, with the weights λ^(t−τ)."""
    network, _, effective, constant, _ = shown
    readout = network.architecture.readout
    own = effective[readout.name]
    scores = constant[readout.name].value[None]
    for connection, operations, weights in zip(
        readout.connections, own.operations, own.weights, strict=True
    ):
        source = connection.source
        if source in done.accumulations:
            last = done.accumulations[source][-len(times) * shown.samples :]
            current = apply(operations, weights, shown.masked(source, last))
            current = current.view(len(times), -1, *current.shape[1:])
            ones = tuple(accumulated_one(t, network.neuron.decay) for t in times)
            c = constants(ones, current.dtype, current.device)
            scores = scores + current / c.view(-1, 1, 1)
    return scores.expand(len(times), shown.samples, -1).to(network.parameter_dtype)
