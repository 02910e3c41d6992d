"""The forward pass by the recursive form of neurons, one time step after another, for OTTT and
BPTT.

Shapes: `B` samples, `…` the shape of a layer. λ, V, u, s, â are those of `saf.neurons.lif`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from saf.config.methods import Readout
from saf.kernels.saf_scan import count_of_each, count_spikes
from saf.model.forward.delays import DelayLine, lines
from saf.model.forward.presentation import Layered, Presentation, Synapse, plain
from saf.model.forward.saf_forward import gradient_factors
from saf.model.inputs import Stimulus
from saf.model.layers import Layer, run_layers
from saf.model.lengths import Lengths
from saf.model.operations import scale_over_time
from saf.networks.architecture import INPUT, Conv, Linear
from saf.neurons.base import Filters, Fire, Neuron, State
from saf.neurons.fire import fire

NeuronStep = Callable[[Neuron, Tensor, Any, Tensor, Fire], tuple[Tensor, State]]
"""(neurons, current, state, â[t−1], fire) → s[t] and the next state."""
Traces = dict[tuple[str, Filters], tuple[Tensor, ...]]
"""Accumulations, B …, of the output of a source by (its name, filters): a tensor after each."""


def lif(
    neuron: Neuron, current: Tensor, state: Any, _trace: Tensor, fire: Fire
) -> tuple[Tensor, State]:
    """One time step of the recursive form, which needs no trace."""
    return neuron.step(current, state, fire=fire)


def saf(
    neuron: Neuron, current: Tensor, state: Any, trace: Tensor, fire: Fire
) -> tuple[Tensor, State]:
    """One time step of the accumulated form with a recurrence for its potential, for weights
    that change after every time step."""
    return neuron.accumulated_step(current, state, trace, fire=fire)


class LIFNetworkState(NamedTuple):
    """Recurrent state of a network of LIF neurons: pass it in, get the next one back."""

    step: int
    neurons: dict[str, State]
    traces: Traces
    """â of every spiking layer and of relays that a weight reads, and x̂ of frames: by their own
    λ, and by the filters of layers that read them with others."""
    readout: Tensor | None = None  # B classes: Σ λ^(t−τ) o[τ], where the readout is weighted
    sent: Mapping[str, DelayLine] = MappingProxyType({})
    """Output of a source, with dropout, for connections with delays …"""
    traced: Mapping[tuple[str, Filters], DelayLine] = MappingProxyType({})
    """… and its traces."""

    def detached(self) -> LIFNetworkState:
        """The same state, detached: no gradient reaches the past."""
        neurons = {name: state.detached() for name, state in self.neurons.items()}
        readout = None if self.readout is None else self.readout.detach()
        sent = {name: line.detached() for name, line in self.sent.items()}
        return LIFNetworkState(self.step, neurons, self.traces, readout, sent, self.traced)

    def read_by(
        self, before: Mapping[tuple[str, str], Filters], now: Mapping[tuple[str, str], Filters]
    ) -> LIFNetworkState:
        """The same state for layers whose λ an update has changed: each goes on from its traces.
        `before` and `now` are `filters_of` the network."""
        if before == now:
            return self
        traces, traced = {}, {}
        for (source, reader), filters in now.items():
            old, new = (source, before[source, reader]), (source, filters)
            if old in self.traces:
                traces[new] = self.traces[old]
            if old in self.traced:
                traced[new] = self.traced[old]
        return self._replace(traces=traces, traced=traced)

    def fired(self, lengths: Lengths | None = None) -> Tensor:
        """Number of spikes of each layer in this time step; with the `lengths` of padded samples,
        of those that have not ended."""
        if lengths is None:
            return torch.stack([count_spikes(state.s) for state in self.neurons.values()])
        counts = [count_of_each(state.s) for state in self.neurons.values()]
        (going,) = lengths.going([self.step], counts[0])
        return torch.stack([(count * going).sum() for count in counts])


def filters_of(network: Layered) -> dict[tuple[str, str], Filters]:
    """By what the output of a source is accumulated, by its name and that of the layer that reads
    it; without a reader's name, by its own λ."""
    found: dict[tuple[str, str], Filters] = {}
    for layer in (*network.layers, network.readout_layer):
        for connection in layer.description.connections:
            found[connection.source, layer.name] = layer.filters
    for layer in network.layers:
        if layer.neuron is not None:
            found[layer.name, ""] = (layer.decay,)
    return found


def lif_rest(network: Layered, stimulus: Stimulus) -> LIFNetworkState:
    """State before the first time step: u = 0, s = 0, â = 0."""
    shapes = network.architecture.shapes()
    zeros = {
        layer.name: stimulus.zeros(layer.shape)
        for layer in network.layers
        if layer.neuron is not None
    }
    traced: dict[tuple[str, Filters], DelayLine] = {}
    traces: Traces = {
        (layer.name, (layer.decay,)): (zeros[layer.name],)
        for layer in network.layers
        if layer.neuron is not None
    }
    relays = {layer.name for layer in network.layers if layer.neuron is None}
    for layer in (*network.layers, network.readout_layer):
        for connection in layer.description.connections:
            source = connection.source
            if source == INPUT and stimulus.frames is None:
                continue
            has_weights = any(isinstance(o, Conv | Linear) for o in connection.operations)
            if source == INPUT or source not in relays or has_weights:
                if source not in zeros:
                    zeros[source] = stimulus.zeros(shapes[source])
                traces[source, layer.filters] = (zeros[source],) * len(layer.filters)
            if longest := connection.taps[-1]:
                key = (source, layer.filters)
                depth = max(longest, traced[key].depth if key in traced else 0)
                traced[key] = DelayLine(depth)
    neurons = {
        layer.name: layer.neuron.init_state(zeros[layer.name])
        for layer in network.layers
        if layer.neuron is not None
    }
    return LIFNetworkState(
        0, neurons, traces, sent=lines(network.architecture.delays), traced=traced
    )


def lif_advance(
    shown: Presentation,
    state: LIFNetworkState,
    *,
    synapse: Synapse,
    trace_bias_and_input: bool,
    track: bool = True,
    neuron_step: NeuronStep = lif,
    readout: Readout = "mean",
) -> tuple[Tensor, LIFNetworkState]:
    """One time step: the readout o[t] = W s_N[t] + b (B classes) and the state after it.

        u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b        s[t] = H(u[t] − V)

    The output of a relay is W s_in[t] + b. `neuron_step` may be `saf`, which gives the same spikes
    by accumulations. Without `track` traces are not updated: inference needs none. With the
    readout `weighted` the output is the mean of o so far with the weights λ^(t−τ),
    W (â_N[t] / c[t]) + b. The surrogate gradient of a spike is σ'(u − V), and that of a connection
    is defined by `synapse`; the reset is detached.
    """
    last = shown.network.readout_layer
    # In the weighted mean the past of a constant counts: by the trace, unless there is a graph.
    past = readout == "weighted" and not (state.readout is not None and state.readout.requires_grad)
    step = _Step(shown, state, synapse, trace_bias_and_input, track, neuron_step)
    sent: dict[str, Tensor] = {}
    if shown.feedback:
        sent = {n: shown.masked(n, neuron.s) for n, neuron in state.neurons.items()}
    if shown.stimulus.frames is not None:
        sent[INPUT] = shown.stimulus.frames[state.step]
        step.receive(INPUT, sent[INPUT])
    keep = shown.heard
    for layer, spikes in run_layers(shown.layers, sent, step, keep=keep):
        step.receive(layer.name, spikes)
        sent[layer.name] = shown.masked(layer.name, spikes)
    step.traced |= past
    scores = last({name: sent[name] for name in keep if name in sent}, step)
    scores = scores.expand(shown.samples, -1).to(shown.network.parameter_dtype)
    accumulated = None
    if readout == "weighted":
        before = state.readout
        accumulated = scores if before is None else last.decay * before + scores
        scores = accumulated / last.accumulated_one(state.step + 1)
    after = (step.neurons, step.traces, accumulated, step.sent, step.late)
    return scores, LIFNetworkState(state.step + 1, *after)


class _Step:
    """Computes the spikes of a layer in one time step from those of its sources."""

    def __init__(
        self,
        shown: Presentation,
        state: LIFNetworkState,
        synapse: Synapse,
        traced: bool,
        track: bool,
        neuron_step: NeuronStep,
    ) -> None:
        self._shown, self._state, self._synapse = shown, state, synapse
        self._track, self._neuron_step = track, neuron_step
        self.traced = traced
        """Whether bias and input count in the gradient with their trace."""
        self.traces = dict(state.traces)
        self.sent, self.late = dict(state.sent), dict(state.traced)
        self._filters: dict[str, list[Filters]] = {}
        for source, filters in state.traces:
            self._filters.setdefault(source, []).append(filters)
        self.neurons: dict[str, State] = {}

    def __call__(self, layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        shown, name = self._shown, layer.name
        factors = gradient_factors(layer, [self._state.step + 1], self.traced)
        total = scale_over_time(shown.constant[name].value, [1.0], factors)[0]
        for wire in shown.effective[name].wires:
            if wire.source not in inputs:
                continue  # an image, which is part of the constant
            spikes, key = inputs[wire.source], (wire.source, layer.filters)
            if wire.delay:
                spikes = self._state.sent[wire.source].read(wire.delay, spikes, 1)
            if wire.source == INPUT and not self.traced:
                total = total + plain(wire, spikes, spikes)
                continue
            trace = spikes  # without a weight there is nothing to take a trace for
            if wire.delay and self._track:
                trace = self._state.traced[key].read(wire.delay, spikes, 1)
            elif key in self.traces:
                trace = shown.masked(wire.source, self.traces[key][-1])
            total = total + self._synapse(wire, spikes, trace)
        if layer.neuron is None:
            return total
        (own,) = self.traces[name, (layer.decay,)]
        derivative = layer.neuron.derivative
        fired, self.neurons[name] = self._neuron_step(
            layer.neuron, total, self._state.neurons[name], own, lambda x: fire(x, derivative)
        )
        return fired

    def receive(self, source: str, sent: Tensor) -> None:
        """Keep the output of `source`, and accumulate it."""
        if source in self.neurons:
            self.neurons[source] = self.neurons[source].with_spikes(sent)
        if source in self.sent:
            self.sent[source] = self.sent[source].after(self._shown.masked(source, sent), 1)
        if not (self._track or source == INPUT):
            return
        for filters in self._filters.get(source, ()):
            x, stages = sent.detach(), []
            for factor, before in zip(filters, self.traces[source, filters], strict=True):
                x = factor * before + x
                stages.append(x)
            self.traces[source, filters] = tuple(stages)
            if line := self.late.get((source, filters)):
                late = self._shown.masked(source, stages[-1])
                self.late[source, filters] = line.after(late, 1)
