"""The forward pass with LIF neurons, step by step, as OTTT and BPTT take it.

Shapes: `B` samples, `…` the shape of a population. λ, V, u, s, â are those of
`saf.neurons.dynamics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saf.kernels.saf_scan import count_spikes
from saf.model.inputs import Stimulus
from saf.model.network import Presentation, SpikingNetwork
from saf.model.operations import apply, scale_over_time
from saf.model.outcome import Readout
from saf.model.saf_forward import gradient_factors
from saf.networks.architecture import INPUT, Architecture, Connection, Conv, Linear, Operation
from saf.neurons.dynamics import LIFState, accumulated_one, lif_step, saf_step_of_current
from saf.neurons.surrogates import derivative, fire

NeuronStep = Callable[
    [Tensor, LIFState, Tensor, float, float, Callable[[Tensor], Tensor]], tuple[Tensor, LIFState]
]
"""(current, state, â[t−1], λ, V, fire) → s[t] and the state after the step."""
Synapse = Callable[[Sequence[Operation], Sequence[Tensor], Tensor, Tensor], Tensor]
"""(operations, weights, spikes, trace) → current: as `saf.model.operations.apply_traced`."""


def lif(
    current: Tensor,
    state: LIFState,
    _trace: Tensor,
    decay: float,
    threshold: float,
    fire: Callable[[Tensor], Tensor],
) -> tuple[Tensor, LIFState]:
    """LIF neurons, which need no trace."""
    return lif_step(current, state, decay, threshold, fire=fire)


def saf(
    current: Tensor,
    state: LIFState,
    trace: Tensor,
    decay: float,
    threshold: float,
    fire: Callable[[Tensor], Tensor],
) -> tuple[Tensor, LIFState]:
    """SAF neurons with the recurrence of the potential, for weights that change at every step."""
    return saf_step_of_current(current, state, trace, decay, threshold, fire=fire)


class LIFNetworkState(NamedTuple):
    """A network of LIF neurons after some steps: passed in and returned, kept by nobody."""

    step: int
    neurons: dict[str, LIFState]  # B …
    traces: dict[str, Tensor]
    """B …: â of every population, of relays where a weight hears them, x̂ where frames come in."""
    readout: Tensor | None = None  # B classes: Σ λ^(t−τ) o[τ], where the readout is weighted

    def detached(self) -> LIFNetworkState:
        """The same state as a constant: the past has no gradient."""
        neurons = {n: LIFState(z.u.detach(), z.s.detach()) for n, z in self.neurons.items()}
        readout = None if self.readout is None else self.readout.detach()
        return LIFNetworkState(self.step, neurons, self.traces, readout)

    def fired(self) -> Tensor:
        """How many spikes there were in this step, of every population."""
        return torch.stack([count_spikes(neuron.s) for neuron in self.neurons.values()])


def lif_rest(network: SpikingNetwork, stimulus: Stimulus) -> LIFNetworkState:
    """The state before the first step: u = 0, s = 0, â = 0."""
    shapes = network.architecture.shapes()
    zeros = {p.name: stimulus.zeros(shapes[p.name]) for p in network.architecture.spiking}
    traces = dict(zeros)
    traces |= {name: stimulus.zeros(shapes[name]) for name in _traced_relays(network.architecture)}
    if stimulus.frames is not None:
        traces[INPUT] = stimulus.zeros(network.architecture.input_shape)
    return LIFNetworkState(0, {name: LIFState(z, z) for name, z in zeros.items()}, traces)


def lif_advance(
    shown: Presentation,
    state: LIFNetworkState,
    *,
    synapse: Synapse,
    trace_bias_and_input: bool,
    track: bool = True,
    neuron_step: NeuronStep = lif,
    readout: Readout = "sum",
) -> tuple[Tensor, LIFNetworkState]:
    """One time step: the readout o[t] = W s_N[t] + b (B classes) and the state after it.

        u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b        s[t] = H(u[t] − V)

    A relay sends W s_in[t] + b. `neuron_step` may be `saf`, which fires alike by accumulations.
    Without `track` the traces stay as they are: an evaluation needs none. With the readout `final`
    what comes back is the mean of o so far with the weights λ^(t−τ), W (â_N[t] / c[t]) + b.
    Gradients pass a spike as σ'(u − V) and a connection as `synapse` has it; the reset is a
    constant.
    """
    network, stimulus, effective, constant, _ = shown
    decay, threshold = network.neuron.decay, network.neuron.threshold
    sigma = derivative(network.neuron.surrogate)
    own_traces, neurons = dict(state.traces), {}
    spikes, traces = {}, {}  # as they arrive
    if network.architecture.has_feedback:
        for name, neuron in state.neurons.items():
            spikes[name] = shown.masked(name, neuron.s)
            traces[name] = shown.masked(name, own_traces[name])
    if stimulus.frames is not None:
        spikes[INPUT] = stimulus.frames[state.step]
        traces[INPUT] = own_traces[INPUT] = decay * own_traces[INPUT] + spikes[INPUT]

    def current(name: str, connections: Sequence[Connection], traced: bool) -> Tensor:
        factors = gradient_factors([state.step + 1], decay, traced)
        total = scale_over_time(constant[name].value, [1.0], factors)[0]
        for connection, operations, weights in zip(
            connections, effective[name].operations, effective[name].weights, strict=True
        ):
            source = connection.source
            if source != INPUT or (stimulus.frames is not None and traced):
                # Without a weight there is nothing to take a trace for.
                trace = traces.get(source, spikes[source])
                arriving = synapse(operations, weights, spikes[source], trace)
            elif stimulus.frames is not None:
                arriving = apply(operations, weights, spikes[INPUT])
            else:
                continue  # an image is part of the constant
            total = total + arriving
        return total

    for population in network.architecture.populations:
        name = population.name
        arriving = current(name, population.connections, trace_bias_and_input)
        if population.relay:
            spikes[name] = arriving
        else:
            before = state.neurons[name]
            fired, neurons[name] = neuron_step(
                arriving,
                LIFState(before.u, before.s.detach()),
                own_traces[name],
                decay,
                threshold,
                lambda x: fire(x, sigma),
            )
            spikes[name] = shown.masked(name, fired)
        if name in own_traces:
            if track:
                sent = spikes[name] if population.relay else neurons[name].s
                own_traces[name] = decay * own_traces[name] + sent.detach()
            traces[name] = shown.masked(name, own_traces[name])
    last = network.architecture.readout
    # In the weighted mean the past of a constant counts: by the trace, unless there is a graph.
    past = readout == "final" and not (state.readout is not None and state.readout.requires_grad)
    scores = current(last.name, last.connections, trace_bias_and_input or past)
    scores = scores.expand(shown.samples, -1).to(network.parameter_dtype)
    accumulated = None
    if readout == "final":
        accumulated = scores if state.readout is None else decay * state.readout + scores
        scores = accumulated / accumulated_one(state.step + 1, decay)
    return scores, LIFNetworkState(state.step + 1, neurons, own_traces, accumulated)


def _traced_relays(architecture: Architecture) -> list[str]:
    """The relays that a convolution or a linear map listens to."""
    heard = {
        connection.source
        for population in (*architecture.populations, architecture.readout)
        for connection in population.connections
        if any(isinstance(operation, Conv | Linear) for operation in connection.operations)
    }
    return [p.name for p in architecture.populations if p.relay and p.name in heard]
