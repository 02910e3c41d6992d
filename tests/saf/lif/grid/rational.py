"""LIF networks of linear maps in rational numbers, written from the formulas of `docs/proof.md` and
sharing no arithmetic with the library."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from saf.lif.grid.fixed_point import pixel_values
from saf.lif.network import LIFNetwork

Vector = list[Fraction]
ZERO = Fraction(0)


class Ran(NamedTuple):
    """What happened in each time step, by layer, and the scores at the end."""

    spikes: list[dict[str, list[int]]]
    potentials: list[dict[str, Vector]]
    """u before the reset …"""
    margins: list[dict[str, Vector]]
    """… and beyond the threshold of this time step."""
    scores: Vector


def run(network: LIFNetwork, frames: Sequence[Sequence[int]]) -> Ran:
    """`network` on bytes for each of T time steps; its connections are linear maps, factors and
    nothing."""
    of, tensors = network.description, network.tensors
    assert of.grid is not None
    table = pixel_values(of.mean, of.std, of.grid.input_bits)
    layers = (*of.architecture.layers, of.architecture.readout)
    plain: dict[str, Any] = {"name": "lif", "decay": of.decay, "threshold": of.threshold}
    neurons = {layer.name: of.neurons.get(layer.name, plain) for layer in of.architecture.spiking}
    size = {layer.name: len(tensors[f"{layer.name}.bias"]) for layer in layers}
    state = {name: [(ZERO, 0, ZERO, ZERO)] * size[name] for name in neurons}
    history: list[dict[str, Vector]] = []
    spikes: list[dict[str, list[int]]] = []
    potentials: list[dict[str, Vector]] = []
    margins: list[dict[str, Vector]] = []
    total, c = [ZERO] * of.architecture.classes, ZERO
    for levels in frames:
        sent: dict[str, Vector] = {
            "input": [Fraction(float(table[n, level])) for n, level in enumerate(levels)]
        }
        history.append(sent)
        spikes.append({})
        potentials.append({})
        margins.append({})
        for layer in layers:
            bias = [Fraction(b) for b in tensors[f"{layer.name}.bias"].tolist()]
            number, of_input, current = 0, bias, [ZERO] * len(bias)
            for connection in layer.connections:
                x = _heard(history, connection.source, connection.delay, size)
                for operation in connection.operations:
                    if operation.kind == "linear":
                        rows = tensors[f"{layer.name}.{number}.weight"].tolist()
                        x = [_product(row, x) for row in rows]
                        number += 1
                    elif operation.kind == "scale":
                        x = [Fraction(operation.factor) * value for value in x]
                if connection.source == "input":
                    of_input = [a + b for a, b in zip(of_input, x, strict=True)]
                else:
                    current = [a + b for a, b in zip(current, x, strict=True)]
            unit = Fraction(1, 2**of.grid.bits)
            arrived = [unit * round(x / unit) for x in of_input]  # halves to the even one
            current = [a + b for a, b in zip(arrived, current, strict=True)]
            if layer is layers[-1]:
                weighted = of.readout == "weighted"
                kept = Fraction(of.decay) if weighted else Fraction(1)
                total = [kept * a + b for a, b in zip(total, current, strict=True)]
                c = kept * c + 1 if weighted else Fraction(1)
            elif layer.relay:
                sent[layer.name] = current
            else:
                after = [
                    _step(neurons[layer.name], now, before)
                    for now, before in zip(current, state[layer.name], strict=True)
                ]
                state[layer.name] = after
                sent[layer.name] = [Fraction(s) for _, s, _, _ in after]
                spikes[-1][layer.name] = [s for _, s, _, _ in after]
                potentials[-1][layer.name] = [u for u, _, _, _ in after]
                margins[-1][layer.name] = [_margin(neurons[layer.name], each) for each in after]
    return Ran(spikes, potentials, margins, [score / c for score in total])


def _heard(
    history: list[dict[str, Vector]], source: str, delay: int, size: dict[str, int]
) -> Vector:
    """What a source sent `delay` steps ago; of one that is computed later, in the step before."""
    at = len(history) - 1 - delay
    if at >= 0 and source not in history[at]:
        at -= 1
    if at < 0:
        return [ZERO] * (size.get(source) or len(history[0]["input"]))
    return history[at][source]


def _product(row: Sequence[float], x: Vector) -> Fraction:
    return sum((Fraction(w) * value for w, value in zip(row, x, strict=True)), ZERO)


State = tuple[Fraction, int, Fraction, Fraction]
"""u, s, the synaptic current, and what raises the threshold."""


def _step(neuron: dict[str, Any], arriving: Fraction, before: State) -> State:
    u, s, current, adaptation = before
    current = Fraction(neuron.get("synaptic_decay", 0)) * current + arriving
    adaptation = Fraction(neuron.get("adaptation_decay", 0)) * adaptation + s
    u = Fraction(neuron["decay"]) * (u - Fraction(neuron["threshold"]) * s) + current
    fires = _margin(neuron, (u, 0, current, adaptation)) >= 0
    return u, int(fires), current, adaptation


def _margin(neuron: dict[str, Any], after: State) -> Fraction:
    u, _, _, adaptation = after
    return u - Fraction(neuron["threshold"]) - Fraction(neuron.get("adaptation", 0)) * adaptation
