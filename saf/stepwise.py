"""The forward pass with LIF neurons, step by step, as OTTT and BPTT take it.

Shapes: `B` samples, `…` the shape of a population. λ, V, u, s, â are those of `saf.neuron`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saf.architecture import INPUT, Connection, Operation
from saf.forward import gradient_factors
from saf.network import Presentation, SpikingNetwork, Stimulus
from saf.neuron import LIFState, lif_step, saf_step_of_current
from saf.scan import count_spikes
from saf.surrogates import derivative, fire
from saf.synapse import apply, scale_over_time

NeuronStep = Callable[
    [Tensor, LIFState, Tensor, float, float, Callable[[Tensor], Tensor]], tuple[Tensor, LIFState]
]
"""(current, state, â[t−1], λ, V, fire) → s[t] and the state after the step."""
Synapse = Callable[[Sequence[Operation], Sequence[Tensor], Tensor, Tensor], Tensor]
"""(operations, weights, spikes, trace) → current: `saf.synapse.apply_traced`, or one like it."""


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
    traces: dict[str, Tensor]  # B …: â of every population; x̂ too where frames come in

    def detached(self) -> LIFNetworkState:
        """The same state as a constant: the past has no gradient."""
        neurons = {n: LIFState(z.u.detach(), z.s.detach()) for n, z in self.neurons.items()}
        return LIFNetworkState(self.step, neurons, self.traces)

    def fired(self) -> Tensor:
        """How many spikes there were in this step, of every population."""
        return torch.stack([count_spikes(neuron.s) for neuron in self.neurons.values()])


def lif_rest(network: SpikingNetwork, stimulus: Stimulus) -> LIFNetworkState:
    """The state before the first step: u = 0, s = 0, â = 0."""
    shapes = network.architecture.shapes()
    names = [population.name for population in network.architecture.populations]
    zeros = {name: stimulus.zeros(shapes[name]) for name in names}
    traces = dict(zeros)
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
) -> tuple[Tensor, LIFNetworkState]:
    """One time step: the readout o[t] = W s_N[t] + b (B classes) and the state after it.

        u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b        s[t] = H(u[t] − V)

    `neuron_step` may be `saf`, which fires alike by accumulations. Without `track` the traces stay
    as they are: an evaluation needs none.
    Gradients pass a spike as σ'(u − V) and a connection as `synapse` has it; the reset is a
    constant.
    """
    network, stimulus, effective, constant = shown
    decay, threshold = network.neuron.decay, network.neuron.threshold
    sigma = derivative(network.neuron.surrogate)
    factors = gradient_factors([state.step + 1], decay, trace_bias_and_input)
    spikes, traces = {name: neuron.s for name, neuron in state.neurons.items()}, dict(state.traces)
    neurons = {}
    if stimulus.frames is not None:
        spikes[INPUT] = stimulus.frames[state.step]
        traces[INPUT] = decay * traces[INPUT] + spikes[INPUT]

    def current(name: str, connections: Sequence[Connection]) -> Tensor:
        total = scale_over_time(constant[name], [1.0], factors)[0]
        for connection, operations, weights in zip(
            connections, effective[name].operations, effective[name].weights, strict=True
        ):
            source = connection.source
            if source != INPUT or (stimulus.frames is not None and trace_bias_and_input):
                arriving = synapse(operations, weights, spikes[source], traces[source])
            elif stimulus.frames is not None:
                arriving = apply(operations, weights, spikes[INPUT])
            else:
                continue  # an image is part of the constant
            total = total + arriving
        return total

    for population in network.architecture.populations:
        name = population.name
        before = state.neurons[name]
        spikes[name], neurons[name] = neuron_step(
            current(name, population.connections),
            LIFState(before.u, before.s.detach()),
            traces[name],
            decay,
            threshold,
            lambda x: fire(x, sigma),
        )
        if track:
            traces[name] = decay * traces[name] + spikes[name].detach()
    readout = network.architecture.readout
    scores = current(readout.name, readout.connections).expand(shown.samples, -1)
    return scores.to(network.parameter_dtype), LIFNetworkState(state.step + 1, neurons, traces)
