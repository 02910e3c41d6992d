"""What to change about a network on a grid whose arithmetic is not proven to be exact.

Each remedy is tried on the network itself: the bounds hold with it, for these weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from saf.lif.grid.exactness import LayerBound, bounds
from saf.lif.network import LIFNetwork
from saf.neurons.lif import LIF
from saf.powers import SIGNIFICANT_BITS


class Remedies(NamedTuple):
    """Changes of one setting each with which the bounds of every layer hold; None: there is no
    such value."""

    bits_lacking: int
    """That the worst layer needs beyond those of the network's type."""
    grid_bits: int | None
    """k: at most so many."""
    timesteps: int | None
    """T: at most so many."""
    decay: float | None
    """λ of all layers that have a smaller one: ½ or 1."""
    float64: bool
    """Whether float64 is exact where the weights have a type with fewer bits."""


def remedies(
    network: LIFNetwork, rounded_to: Callable[[int], LIFNetwork] | None = None
) -> Remedies:
    """Remedies for `network`, which is on a grid of k bits; `rounded_to` rounds what was trained to
    a grid of fewer (None: there are none)."""
    found = _of_layers(network)
    lacking = max(bound.bits_needed - bound.bits_available for bound in found)
    grid, of = network.description.grid, network.description
    assert grid is not None
    bits = None
    if rounded_to is not None:
        bits = _most(grid.bits - 1, lambda k: _is_exact(rounded_to(k)))
    steps = _most(of.timesteps - 1, lambda t: _is_exact(_changed(network, timesteps=t)))
    decays = {layer.decay for layer in network.layers if layer.neuron is not None}
    decay = None
    if all(isinstance(layer.neuron, LIF) for layer in network.layers if layer.neuron):
        larger = (x for x in (0.5, 1.0) if x > min(decays))
        decay = next((x for x in larger if _is_exact(with_decays_from(network, x))), None)
    available = min(bound.bits_available for bound in found)
    double = SIGNIFICANT_BITS["float64"]
    in_float64 = available < double and all(bound.exact_in(double) for bound in found)
    return Remedies(max(0, lacking), bits, steps, decay, in_float64)


def advice_of(found: Remedies) -> str:
    """The remedies in words; empty where there is none."""
    parts = []
    if found.grid_bits is not None:
        parts.append(f"grid_bits of at most {found.grid_bits}")
    if found.timesteps is not None:
        parts.append(f"timesteps of at most {found.timesteps}")
    if found.decay is not None:
        parts.append(f"λ of at least {found.decay:g} in every layer")
    if found.float64:
        parts.append("precision float64")
    if not parts:
        return ""
    named = ", or ".join(parts)
    return f"with these weights it would be proven with {named}"


def with_decays_from(network: LIFNetwork, least: float) -> LIFNetwork:
    """`network`, of LIF neurons, with λ = `least` in all layers that have a smaller one."""
    of = network.description
    neurons = {
        name: {**constants, "decay": max(constants["decay"], least)}
        for name, constants in of.neurons.items()
    }
    return _changed(network, decay=max(of.decay, least), neurons=neurons)


def _changed(network: LIFNetwork, **changes: object) -> LIFNetwork:
    return LIFNetwork(network.description.model_copy(update=changes), network.tensors)


def _of_layers(network: LIFNetwork) -> list[LayerBound]:
    *layers, _readout = bounds(network)
    return layers


def _is_exact(network: LIFNetwork) -> bool:
    return all(bound.within for bound in _of_layers(network))


def _most(most: int, holds: Callable[[int], bool]) -> int | None:
    """The largest number from 1 to `most` that bisection finds for which `holds` is true: more bits
    or time steps need more. None where 1 is too many."""
    if most < 1 or not holds(1):
        return None
    least = 1
    while least < most:
        middle = (least + most + 1) // 2
        if holds(middle):
            least = middle
        else:
            most = middle - 1
    return least
