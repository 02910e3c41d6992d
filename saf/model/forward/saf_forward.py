"""The forward pass by spike accumulation, which SAF trains with and inference uses.

Shapes: `T` time steps, `K` time steps of a chunk, `B` samples, `…` the shape of a layer; `K · B` is
time steps and samples merged. λ, V, â, Û, u, s, c[t] are those of `saf.neurons.lif`; x̂ is the
accumulation of input frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from saf.estimate.chunking import steps_at_once
from saf.kernels.saf_scan import Constant, Gate, count_of_each
from saf.model.forward.accumulation import accumulate, difference, with_gradient_of
from saf.model.forward.delays import DelayLine
from saf.model.forward.presentation import Presentation
from saf.model.forward.replay import Replay
from saf.model.layers import Layer, Wire, input_current, run_layers
from saf.model.lengths import Lengths
from saf.model.operations import apply, apply_traced, scale_over_time
from saf.networks.architecture import INPUT
from saf.neurons.base import Accumulated, Filters, Neuron


class NetworkState(NamedTuple):
    """Recurrent state of a network of SAF neurons: pass it in, get the next one back."""

    step: int
    accumulations: dict[str, Tensor]
    """â of every spiking layer, B …, and of relays that the readout reads, and x̂ of frames; empty
    before the first time step, when all are zero."""
    filtered: Mapping[tuple[str, Filters], tuple[Tensor, ...]] = MappingProxyType({})
    """Accumulations of a source by other filters than its own: one tensor after each filter."""
    carried: Mapping[str, tuple[Tensor, ...]] = MappingProxyType({})
    """Further state of the neurons, by layer."""
    lines: Mapping[tuple[str, Filters], DelayLine] = MappingProxyType({})
    """Accumulations of a source by filters, with dropout, for connections with delays."""


class Chunk(NamedTuple):
    """Results of K time steps."""

    steps: int  # K
    accumulations: dict[str, Tensor]  # K · B …: â[t] of the layers in `keep`, without dropout
    before: dict[str, Tensor]  # B …: theirs before the first time step, where it is not zero
    received: dict[str, Tensor]  # K · B …: theirs by the filters of the readout
    potentials: dict[str, Tensor]  # K · B …: u[t] before the reset, if recorded
    fired: Tensor  # number of spikes of each layer, summed over K and B
    decays: dict[str, float]  # λ of each

    def spikes(self, name: str) -> Tensor:
        """s[t] = â[t] − λ â[t−1], K · B …; its gradient is that of â[t], since the past is
        detached."""
        return self._difference(name, spiking=True)

    def relayed(self, name: str) -> Tensor:
        """Output of a relay at each time step, K · B …, with the gradient of its accumulation."""
        return self._difference(name, spiking=False)

    def _difference(self, name: str, *, spiking: bool) -> Tensor:
        return difference(
            self.accumulations[name],
            self.before.get(name),
            self.steps,
            self.decays[name],
            spiking=spiking,
        )


class Past(NamedTuple):
    """What layers that feed back sent at the time step before each of K, K · B …."""

    accumulations: Mapping[str, Tensor]
    """â[t−1] of each, without dropout."""
    filtered: Mapping[tuple[str, Filters], Tensor]
    """The same by other filters."""


REST = NetworkState(0, {})
Gates = Callable[[Neuron], Gate]
"""Returns the surrogate gradient ∂â/∂Û of neurons."""
Neurons = Callable[[str, Tensor | None, Constant, Tensor | None, tuple[Tensor, ...]], Accumulated]
"""Runs the neurons of a layer over a chunk: (name, input current K · B …, which may be overwritten,
constant, â before B …, further state before) as `saf.neurons.base.Neuron.accumulate`."""


def surrogate_gates(neuron: Neuron) -> Gate:
    """Surrogate gradient σ'(u − V) of SAF-E, SAF-F and OTTT."""
    return neuron.surrogate_gate()


def gradient_factors(layer: Layer, steps: Sequence[int], traced: bool) -> list[float]:
    """Factor of the gradient of a constant of `layer` at each time step: c[t] with the trace,
    else 1."""
    return [layer.accumulated_one(t) if traced else 1.0 for t in steps]


def advance(
    shown: Presentation,
    state: NetworkState,
    steps: int,
    *,
    gate: Gates | None = None,
    trace_bias_and_input: bool = True,
    keep: Collection[str] | None = None,
    potentials: bool = False,
    replay: Replay | None = None,
    neurons: Neurons | None = None,
    lengths: Lengths | None = None,
    past: Past | None = None,
) -> tuple[Chunk, NetworkState]:
    """Run K = `steps` time steps by spike accumulation, layer by layer; SAF, arXiv 2310.02772.

        u[t] = Σ W â_in[t] + c[t] (W x + b) − V λ â[t−1]        (frames: W x̂[t] + c[t] b)
        s[t] = H(u[t] − V),                  â[t] = λ â[t−1] + s[t]

    The output of a relay is Σ W â_in[t] + c[t] (W x + b). Feedback is â[t−1], detached, and needs
    K = 1, or the `past` of each step (`saf.model.forward.feedback`). Without `gate`, the surrogate
    gradient, no gradient is recorded. The chunk holds â of the layers that the readout reads, or of
    `keep`; others are freed once the last layer that reads them has run. With `potentials`, which
    excludes gradients, it holds u of all layers. `neurons` replaces the neurons of all layers,
    without gradients. While `replay` stores the results of maps, the state that is returned is that
    before the time steps that run again with them. With the `lengths` of padded samples those
    spikes are counted that are a sample's own.
    """
    readout = shown.network.readout_layer
    if keep is None:
        keep = shown.heard
    step = _Step(
        *(shown, state, steps, gate, trace_bias_and_input, potentials),
        *(replay, neurons, lengths, past),
    )
    carried: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    received: dict[str, Tensor] = {}
    sent: dict[str, Tensor] = {}

    def note(name: str, accumulation: Tensor, decay: float) -> None:
        """Keep the accumulation of a source for the next chunk, and for the readout."""
        step.receive(name, accumulation, decay)
        step.delay(name, accumulation)
        if name in keep or step.remembers(name):
            carried[name] = step.after(accumulation)
        if name in keep:
            kept[name] = accumulation
            received[name] = step.as_received(name, accumulation, readout.filters)

    if step.frames is not None:
        decay = readout.decay
        sent[INPUT] = accumulate(step.frames, state.accumulations.get(INPUT), steps, decay)
        note(INPUT, sent[INPUT], decay)
    if shown.feedback:
        fed_back = state.accumulations if past is None else past.accumulations
        sent = {**{name: shown.masked(name, a) for name, a in fed_back.items()}, **sent}
    for layer, accumulation in run_layers(shown.layers, sent, step, keep=()):
        note(layer.name, accumulation, layer.decay)
        sent[layer.name] = shown.masked(layer.name, accumulation)
        del accumulation
    before = {name: state.accumulations[name] for name in kept if name in state.accumulations}
    chunk = Chunk(
        steps, kept, before, received, step.recorded, torch.stack(step.fired), shown.decays
    )
    ended = state.step + step.ended
    return chunk, NetworkState(ended, carried, step.filtered, step.carried, step.lines)


class _Step:
    """Computes the accumulation of a layer in K time steps from those of its sources."""

    def __init__(
        self,
        shown: Presentation,
        state: NetworkState,
        steps: int,
        gate: Gates | None,
        trace_bias_and_input: bool,
        potentials: bool,
        replay: Replay | None,
        neurons: Neurons | None,
        lengths: Lengths | None,
        past: Past | None,
    ) -> None:
        self._shown, self._state, self._steps, self._lengths = shown, state, steps, lengths
        self._gate, self._traced, self._potentials = gate, trace_bias_and_input, potentials
        self._replay, self._neurons = replay, neurons
        self._times = range(state.step + 1, state.step + steps + 1)
        assert steps == 1 or past is not None or not shown.feedback
        self.ended = steps if replay is None or replay.again else steps - replay.withheld
        """Number of time steps after which the returned state is."""
        self.frames: Tensor | None = None
        if shown.stimulus.frames is not None:
            frames = shown.stimulus.frames.between(state.step, state.step + steps)
            self.frames = frames.flatten(0, 1)
        self.filtered: dict[tuple[str, Filters], tuple[Tensor, ...]] = {}
        self._received: dict[tuple[str, Filters], Tensor] = {}
        if past is not None:
            self._received.update(past.filtered)
        elif shown.feedback:
            self._received.update({key: stages[-1] for key, stages in state.filtered.items()})
        self._fed_back = set() if past is None else set(past.accumulations)
        self.fired: list[Tensor] = []
        self.recorded: dict[str, Tensor] = {}
        self.carried: dict[str, tuple[Tensor, ...]] = {}
        self.lines = dict(state.lines) or {k: DelayLine(d) for k, d in shown.delays.items()}

    def __call__(self, layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        shown, name = self._shown, layer.name
        own, steady = shown.effective[name], shown.constant[name]
        clones = layer.neuron is not None

        def carry(wire: Wire, x: Tensor) -> Tensor:
            nonlocal clones
            if (wire.source, layer.filters) in self._received:
                x = self._received[wire.source, layer.filters]
                x = shown.masked(wire.source, x)
            if wire.delay:
                line = self._state.lines.get((wire.source, layer.filters), DelayLine(wire.delay))
                if wire.source in self._fed_back:  # x is of the time steps before these
                    x = torch.cat([x[shown.samples :], x[-shown.samples :]])
                x = line.read(wire.delay, x, self._steps)
            given = (wire.operations, wire.weights, x)
            if wire.source == INPUT and self.frames is not None and not self._traced:
                frames = self._frames_before(wire.delay)
                current = apply_traced(*given, frames, self._replay, wire.maps)
            else:
                current = apply(*given, self._replay, wire.maps)
            if clones and _share_memory(current, x):
                current = current.clone()  # the neurons overwrite it, and it is the source's output
            clones = False
            return current

        current = input_current(own.wires, inputs, None, carry)
        c = [layer.accumulated_one(t) for t in self._times]
        of_gradient = gradient_factors(layer, self._times, self._traced)
        if layer.neuron is None:
            always = scale_over_time(steady.value, c, of_gradient)
            return _relayed(current, always, shown.samples)
        found = self._accumulated(layer, current, Constant(*steady, c, of_gradient))
        self.fired.append(self._fired(layer, found))
        if found.potentials is not None:
            self.recorded[name] = found.potentials
        if found.carried:
            self.carried[name] = tuple(map(self.after, found.carried))
        return found.accumulation

    def _accumulated(self, layer: Layer, current: Tensor | None, constant: Constant) -> Accumulated:
        before = self._state.accumulations.get(layer.name)
        carried = self._state.carried.get(layer.name, ())
        if self._neurons is not None:
            return self._neurons(layer.name, current, constant, before, carried)
        return layer.neurons.accumulate(
            current,
            constant,
            before,
            None if self._gate is None else self._gate(layer.neurons),
            carried=carried,
            potentials=self._potentials,
        )

    def _fired(self, layer: Layer, found: Accumulated) -> Tensor:
        """Number of spikes, of padded samples until their end."""
        if self._lengths is None:
            return found.fired
        before = self._state.accumulations.get(layer.name)
        own = found.accumulation.detach()
        sent = difference(own, before, self._steps, layer.decay, spiking=True)
        of_each = count_of_each(sent).view(self._steps, -1)
        going = self._lengths.going(self._times, of_each)
        return torch.where(going, of_each, 0.0).sum()

    def after(self, accumulation: Tensor) -> Tensor:
        """State after the last time step, B …, of `accumulation`, K · B …, without the memory of
        the others."""
        samples = len(accumulation) // self._steps
        last = accumulation.detach()[(self.ended - 1) * samples : self.ended * samples]
        return last if self._steps == 1 else last.clone()

    def remembers(self, source: str) -> bool:
        """Whether the accumulation of `source` is part of the state."""
        shown = self._shown
        return source == INPUT or source in shown.spiking or source in shown.other_filters

    def as_received(self, source: str, accumulation: Tensor, filters: Filters) -> Tensor:
        """`accumulation` of `source` by other `filters` than its own; no dropout is applied."""
        return self._received.get((source, filters), accumulation)

    def _frames_before(self, delay: int) -> Tensor:
        """The input frames of the time steps, K · B …, or those `delay` time steps before."""
        assert self.frames is not None
        frames, first = self._shown.stimulus.frames, self._times[0] - 1 - delay
        if not delay:
            return self.frames
        assert frames is not None
        shifted = frames.between(max(0, first), max(0, first + self._steps))
        missing = shifted.new_zeros((self._steps - len(shifted), *shifted.shape[1:]))
        return torch.cat([missing, shifted]).flatten(0, 1)

    def delay(self, source: str, accumulation: Tensor) -> None:
        """Keep the accumulation of `source` for connections that read it later."""
        for key, line in self.lines.items():
            if key[0] == source:
                x = self.as_received(source, accumulation, key[1]).detach()
                kept = x[: self.ended * self._shown.samples]
                self.lines[key] = line.after(self._shown.masked(source, kept), self.ended)

    def receive(self, source: str, accumulation: Tensor, decay: float) -> None:
        """Accumulate the output of `source` by each of the other filters that layers read it
        with."""
        self._fed_back.discard(source)
        others = self._shown.other_filters.get(source)
        if not others:
            return
        before = self._state.accumulations.get(source)
        sent = difference(
            accumulation, before, self._steps, decay, spiking=source in self._shown.spiking
        )
        for filters in others:
            stages = self._state.filtered.get((source, filters), ())
            found, x = [], sent.detach()
            for number, factor in enumerate(filters):
                carry = stages[number] if stages else None
                x = accumulate(x, carry, self._steps, factor)
                found.append(self.after(x))
            self.filtered[source, filters] = tuple(found)
            self._received[source, filters] = with_gradient_of(accumulation, x)


def _relayed(current: Tensor | None, always: Tensor, samples: int) -> Tensor:
    """Output of a relay: its input current, K · B …, plus the part that is the same at every
    time step, K 1 … or K B …."""
    if current is None:
        return always.flatten(0, 1)  # an image, which no sample shares
    return (torch.unflatten(current, 0, (len(always), samples)) + always).flatten(0, 1)


def chunks(
    shown: Presentation, timesteps: int, chunk: int | None, *, learns: bool = False
) -> list[int]:
    """Lengths of the chunks of `timesteps`: `chunk` each, or 1 where there is feedback.

    With None, `steps_at_once` chooses the length. For a method that `learns` from each chunk
    (`saf.model.forward.feedback`), those after the first time step are as long with feedback.
    """
    architecture = shown.network.architecture
    if chunk is None:
        in_time = shown.stimulus.frames is not None
        chunk = steps_at_once(shown.samples, timesteps, architecture, in_time=in_time)
    if chunk < 1:
        raise ValueError(f"a chunk has at least 1 time step, not {chunk}")
    size, done = chunk, 0
    if architecture.has_feedback:
        size, done = (chunk, 1) if learns else (1, 0)
    return [1] * done + [min(size, timesteps - start) for start in range(done, timesteps, size)]


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether one is a view of the other; on the device "meta", where nothing has a place, True."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
