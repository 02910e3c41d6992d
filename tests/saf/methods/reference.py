"""The methods once more, slow and obvious: loops over time and layers, no autograd.

Every derivative here is written out by hand, and convolutions are sums over unfolded windows, so
that the library and this file share neither code nor an engine. LIF neurons throughout, as in
mathematics: u[t] = λ (u[t−1] − V s[t−1]) + W s_in[t] + b.

Shapes: `B` samples, `T` steps, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saf.model.forward.presentation import NO_DROPOUT, Masks
from saf.model.network import SpikingNetwork
from saf.networks.architecture import INPUT, Conv, LayerDescription, Linear
from tests.saf.methods.reference_maps import (
    Gradients,
    Map,
    Wire,
    add,
    at_each_tap,
    send,
    send_back,
    standardised,
)


@dataclass
class Layer:
    """A layer or the readout."""

    name: str
    wires: list[Wire]
    bias: Tensor
    relay: bool


@dataclass
class Run:
    """What happened at one step, by layer; `input` among what is sent and its traces."""

    sent: dict[str, Tensor]  # s[t] times the mask, or what a relay sends
    traces: dict[str, Tensor]  # of what is sent: λ trace[t−1] + sent[t]
    potentials: dict[str, Tensor] = field(default_factory=dict)  # u[t]
    before: dict[str, Tensor] = field(default_factory=dict)  # traces[t−1]
    spikes: dict[str, Tensor] = field(default_factory=dict)  # s[t]
    accumulated_before: dict[str, Tensor] = field(default_factory=dict)  # â[t−1]
    runs: list[Run] = field(default_factory=list)  # all steps so far

    def at(self, t: int, delay: int) -> Run:
        """What happened `delay` steps before t = 1 … T; nothing before the first."""
        if t > delay:
            return self.runs[t - 1 - delay]
        sent = {name: 0 * x for name, x in self.sent.items()}
        return Run(sent, {name: 0 * x for name, x in self.traces.items()})


def layers_of(network: SpikingNetwork) -> list[Layer]:
    """Layers in order, the readout last, with copies of their parameters."""
    values = {name: p.detach().clone() for name, p in network.named_parameters()}

    def layer(description: LayerDescription) -> Layer:
        count = 0
        wires = []
        for connection in description.connections:
            wires.append(Wire(connection.source, maps := [], connection.delay))
            for operation in connection.operations:
                maps.append(Map(operation))
                if isinstance(operation, Conv | Linear):
                    name = f"{description.name}.{count}"
                    raw, gain = values[f"{name}.weight"], values.get(f"{name}.gain")
                    plain = raw if gain is None else standardised(raw, gain)
                    of_branch = values.get(f"{name}.residual_gain")
                    weight = plain if of_branch is None else of_branch * plain
                    maps[-1] = Map(operation, name, raw, gain, of_branch, plain, weight)
                    count += 1
            if connection.learned_delay is not None:
                wires[-1:] = at_each_tap(wires[-1], connection.learned_delay, values)
        bias = values[f"{description.name}.bias"]
        return Layer(description.name, wires, bias, description.relay)

    architecture = network.architecture
    return [layer(p) for p in (*architecture.layers, architecture.readout)]


def shaped(bias: Tensor, like: Tensor) -> Tensor:
    return bias.reshape(1, -1, *(1,) * (like.dim() - 2))


def of_bias(grad: Tensor) -> Tensor:
    return grad.transpose(0, 1).flatten(1).sum(1)


def c_of(t: int, decay: float) -> float:
    return sum(decay**k for k in range(t))


def lif_run(
    network: SpikingNetwork, x: Tensor, timesteps: int, masks: Masks = NO_DROPOUT
) -> list[Run]:
    """All T steps with LIF neurons."""
    layers = layers_of(network)[:-1]
    decay, V = network.neuron.decay, network.neuron.threshold
    shapes = network.architecture.shapes()
    zero = {layer.name: x.new_zeros(len(x), *shapes[layer.name]) for layer in layers}
    runs: list[Run] = []
    u, s, a, sent, traces = dict(zero), dict(zero), dict(zero), dict(zero), dict(zero)
    traces[INPUT] = torch.zeros(len(x), *shapes[INPUT], dtype=x.dtype)
    for t in range(timesteps):
        frame = x[:, t] if x.dim() == len(shapes[INPUT]) + 2 else x
        sent[INPUT] = (frame - network.mean) / network.std
        before, accumulated_before = dict(traces), dict(a)
        traces[INPUT] = decay * traces[INPUT] + sent[INPUT]
        for layer in layers:
            n = layer.name
            current = shaped(layer.bias, zero[n])
            for wire in layer.wires:
                # A feedback wire of a later layer still brings what was sent at the last step.
                arriving = sent[wire.source]
                if wire.delay:
                    late = t - wire.delay
                    arriving = runs[late].sent[wire.source] if late >= 0 else 0 * arriving
                current = current + send(wire, arriving)
            if layer.relay:
                sent[n] = current.expand_as(zero[n])
            else:
                u[n] = decay * (u[n] - V * s[n]) + current
                s[n] = torch.where(u[n] >= V, 1.0, 0.0).to(x.dtype)
                a[n] = decay * a[n] + s[n]
                sent[n] = masks[n] * s[n] if n in masks else s[n]
            traces[n] = decay * traces[n] + sent[n]
        step = (dict(sent), dict(traces), dict(u), before, dict(s), accumulated_before, runs)
        runs.append(Run(*step))
    return runs


def cross_entropy(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy, and its gradient."""
    below = scores - scores.amax(1, keepdim=True)  # exp() of large scores would overflow
    logs = below - below.exp().sum(1, keepdim=True).log()
    p = logs.exp()
    hit = torch.zeros_like(p)
    hit[torch.arange(len(y)), y] = 1.0
    return -(hit * logs).sum() / len(y), (p - hit) / len(y)


def surrogate(x: Tensor, slope: float, name: str = "sigmoid") -> Tensor:
    """Of unit area, k = slope: see the table of `saf.neurons.surrogates`."""
    match name:
        case "sigmoid":
            s = 1.0 / (1.0 + (-slope * x).exp())
            return slope * s * (1.0 - s)
        case "triangle":
            return torch.where(x.abs() < 1.0 / slope, slope - slope**2 * x.abs(), 0.0)
        case "rectangle":
            return torch.where(x.abs() < 1.0 / (2.0 * slope), slope * torch.ones_like(x), 0.0)
        case "arctan":
            return slope / (2.0 + 0.5 * (torch.pi * slope * x) ** 2)
    raise AssertionError(name)


@dataclass
class Result:
    """Loss, scores and the gradient of every parameter."""

    loss: Tensor
    scores: Tensor
    gradients: Gradients


def ottt_step(
    network: SpikingNetwork,
    layers: list[Layer],
    run: Run,
    y: Tensor,
    t: int,
    timesteps: int,
    traced: bool,
    into: Gradients,
    masks: Masks = NO_DROPOUT,
    past: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss and readout of step t = 1 … T, and its gradients: ∇W = g_u[t] â_in[t]ᵀ.

    With `past`, Σ λ^(t−1−τ) o[τ] of the steps before, the readout is the weighted mean so far.
    """
    decay, V = network.neuron.decay, network.neuron.threshold
    readout = layers[-1]
    o = shaped(readout.bias, run.sent[INPUT].new_zeros(len(y), 1))
    for wire in readout.wires:
        o = o + send(wire, run.sent[wire.source])
    o = o.expand(len(y), -1)
    c = c_of(t, decay)
    if past is not None:
        o = (decay * past + o) / c
    loss, g = cross_entropy(o, y)
    grads = {readout.name: g / timesteps if past is None else g / timesteps / c}
    order = {layer.name: number for number, layer in enumerate(layers)}
    for layer in reversed(layers):
        if layer.name not in grads:
            continue  # nothing that the loss sees listens to it
        g_u = grads[layer.name]
        consistent = traced or (layer is readout and past is not None)
        if layer is not readout and not layer.relay:
            g_u = g_u * masks.get(layer.name, 1.0)
            chosen = network.neuron.surrogate
            g_u = g_u * surrogate(run.potentials[layer.name] - V, chosen.slope, chosen.name)
        add(into, f"{layer.name}.bias", of_bias(g_u) * (c if consistent else 1.0))
        for wire in layer.wires:
            then = run.at(t, wire.delay) if wire.delay else run
            if wire.source == INPUT:
                send_back(wire, then.traces[INPUT] if consistent else then.sent[INPUT], g_u, into)
            elif wire.delay:
                send_back(wire, then.traces[wire.source], g_u, into)
            elif order[wire.source] >= order[layer.name]:
                send_back(wire, run.before[wire.source], g_u, into)
            else:
                to_source = send_back(wire, run.traces[wire.source], g_u, into)
                add(grads, wire.source, to_source)
    return loss / timesteps, o


def ottt_a(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    timesteps: int,
    traced: bool,
    masks: Masks = NO_DROPOUT,
    weighted: bool = False,
) -> Result:
    """Gradients of all steps added up."""
    layers = layers_of(network)
    gradients: Gradients = {}
    loss, scores = torch.zeros((), dtype=x.dtype), torch.zeros(len(y), 1, dtype=x.dtype)
    past = torch.zeros_like(scores) if weighted else None
    for t, run in enumerate(lif_run(network, x, timesteps, masks), start=1):
        more, o = ottt_step(network, layers, run, y, t, timesteps, traced, gradients, masks, past)
        loss = loss + more
        scores = o if weighted else scores + o
        past = o * c_of(t, network.neuron.decay) if weighted else None
    return Result(loss, scores, gradients)


RateGate = Callable[[Tensor, Tensor], Tensor]
"""∂a/∂(m/V) of m and u − V."""


def clamp_gate(V: float) -> RateGate:
    """That of clamp(m / V, 0, 1)."""
    return lambda m, _: ((m > 0) & (m < V)).to(m.dtype)


def spike_representation(
    network: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    timesteps: int,
    gate: RateGate,
    masks: Masks = NO_DROPOUT,
) -> Result:
    """Back-propagation through the rates a[l] = clamp(m[l] / V, 0, 1), m[l] = W a[l−1] + b, with
    the a and m that the spiking network has at step T, and `gate` for the clamp's derivative."""
    layers = layers_of(network)
    gradients: Gradients = {}
    decay, V = network.neuron.decay, network.neuron.threshold
    last = lif_run(network, x, timesteps, masks)[-1]
    c = c_of(timesteps, decay)
    rates = {name: trace / c for name, trace in last.traces.items()}
    readout = layers[-1]
    o = shaped(readout.bias, x.new_zeros(len(y), 1))
    for wire in readout.wires:
        o = o + send(wire, rates[wire.source])
    loss, g = cross_entropy(o, y)
    grads = {readout.name: g}
    order = {layer.name: number for number, layer in enumerate(layers)}
    for layer in reversed(layers):
        if layer.name not in grads:
            continue
        g_m = grads[layer.name]
        if layer is not readout and not layer.relay:
            u = last.potentials[layer.name]
            m = (u + V * decay * last.accumulated_before[layer.name]) / c
            g_m = g_m * masks.get(layer.name, 1.0) * gate(m, u - V) / V
        add(gradients, f"{layer.name}.bias", of_bias(g_m))
        for wire in layer.wires:
            feedback = wire.source != INPUT and order[wire.source] >= order[layer.name]
            value = last.before[wire.source] / c if feedback else rates[wire.source]
            if wire.delay:
                value = last.at(timesteps, wire.delay).traces[wire.source] / c
            to_source = send_back(wire, value, g_m, gradients)
            if wire.source != INPUT and not feedback and not wire.delay:
                add(grads, wire.source, to_source)
    return Result(loss, o, gradients)
