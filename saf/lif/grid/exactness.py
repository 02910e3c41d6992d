"""Bounds that show whether the arithmetic of a LIF network on a grid is exact for every input.

`bounds` is the argument of `docs/proof.md` in numbers: interval bounds of all partial sums of a
layer, in units of the finest fraction that they can have. Up to 2^24 units float32 does not round,
and up to 2^53 float64 does not, so SAF and LIF, in any order of summation, give the same spikes.

Shapes: `N` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import frexp

import torch
from torch import Tensor

from saf.config.neurons import accumulated
from saf.lif.grid.fixed_point import Grid, fewest_bits, fraction_bits, pixel_values, rounded
from saf.lif.network import LIFNetwork
from saf.lif.sequence import wires
from saf.model import operations
from saf.model.layers import Layer, Wire, input_current, run_layers
from saf.networks.architecture import (
    INPUT,
    AveragePool,
    Conv,
    Flatten,
    InARow,
    Linear,
    Scale,
    SumPool,
    Upsample,
)
from saf.neurons.base import Filters, Neuron
from saf.neurons.extended import ExtendedLIF
from saf.neurons.lif import LIF
from saf.powers import SIGNIFICANT_BITS, halvings

MOST_FRACTION_BITS = 100
"""Beyond which the smallest numbers of float32 come near, whatever the magnitudes are."""
NEVER = 10_000
"""Bits that no arithmetic has."""


@dataclass(frozen=True, kw_only=True)
class LayerBound:
    """Worst case of a layer over all inputs with pixels in [0, 1]."""

    name: str
    filters: Filters
    """The decays by which it accumulates its input; the last one is λ."""
    magnitude: float
    """No partial sum of the potential is larger, in units of the potential (V = 1)."""
    fraction_bits: int
    """Every number that occurs is a multiple of 2^−fraction_bits."""
    bits_needed: int
    """The smallest n for which no number, in any stage of the layer, is more than 2^n of these."""
    bits_available: int
    """Significant bits of the type of the network's weights: 24 of float32, 53 of float64."""

    @property
    def within(self) -> bool:
        """Whether the arithmetic of the network's type is exact in this layer."""
        return self.exact_in(self.bits_available)

    def exact_in(self, significant_bits: int) -> bool:
        """Whether arithmetic with so many significant bits is exact in this layer."""
        return self.bits_needed <= significant_bits


@dataclass(frozen=True)
class _Interval:
    """Interval bound of all partial sums of each neuron (1 …, float64); low ≤ 0 ≤ high. The ends
    are multiples of 2^−fraction_bits themselves, so that float64 holds them exactly below 2^53 of
    these units; an end that it has rounded is one of 2^53 units or more, and counted as such."""

    low: Tensor
    high: Tensor
    fraction_bits: int
    bits_needed: int = 0
    """The largest number of bits so far."""

    @property
    def magnitude(self) -> float:
        return max(float(self.high.max()), -float(self.low.min()))

    def checked(self) -> _Interval:
        """The same interval, with its bits counted in `bits_needed`."""
        own = _bits(self.magnitude, self.fraction_bits)
        return _Interval(self.low, self.high, self.fraction_bits, max(self.bits_needed, own))

    def times(self, factor: float, halvings: int = 0) -> _Interval:
        """The bound times `factor` ≥ 0, a number with `halvings` fractional bits."""
        return _Interval(
            factor * self.low, factor * self.high, self.fraction_bits + halvings, self.bits_needed
        ).checked()

    def __neg__(self) -> _Interval:
        return _Interval(-self.high, -self.low, self.fraction_bits, self.bits_needed)

    def __add__(self, other: _Interval) -> _Interval:
        return _Interval(
            self.low + other.low,
            self.high + other.high,
            max(self.fraction_bits, other.fraction_bits),
            max(self.bits_needed, other.bits_needed),
        ).checked()


def _bits(magnitude: float, fraction: int) -> int:
    """The smallest n with `magnitude` ≤ 2^(n − fraction), by whole numbers, not by a logarithm. For
    2^53 units and more, where float64 may have rounded the magnitude down, one more at a power of
    two."""
    if magnitude == 0.0:
        return 0
    if not magnitude < float("inf") or fraction > MOST_FRACTION_BITS:
        return NEVER
    mantissa, exponent = frexp(magnitude)
    n = exponent + fraction
    return max(0, n - 1 if mantissa == 0.5 and n <= SIGNIFICANT_BITS["float64"] else n)


def input_bounds(network: LIFNetwork) -> list[LayerBound]:
    """Bounds of layers that read the input: of the sum W x + b before it is rounded to the grid."""
    exact = _exact(network)
    return [
        _bound(network, layer, _current_of_input(exact, layer))
        for layer in (*exact.layers, exact.readout_layer)
        if layer.description.reads_input
    ]


def bounds(network: LIFNetwork) -> list[LayerBound]:
    """Bounds of every layer in order, and then of the readout.

    A neuron's bound covers Û and u with their resets, in the SAF and the LIF recursion, and, where
    it reads the input, W x + b before the rounding; that of a relay covers its output. That of the
    readout covers its sum over time; the division by c[T] at the end of a `weighted` readout is one
    correctly rounded operation. Each layer accumulates by its own filters. Raises ValueError for a
    network that is on no grid, and for operations and neurons without a known bound.
    """
    exact = _exact(network)
    of, readout = exact.description, exact.readout_layer
    everyone = [layer.name for layer in exact.layers]
    for layer in exact.layers:
        if layer.neuron is not None and type(layer.neuron) not in (LIF, ExtendedLIF):
            raise ValueError(
                f"no bound is known for the neurons of {layer.name} "
                f"({type(layer.neuron).__name__}), so float32 cannot be proven to be exact in it: "
                "leave conversion.grid_bits out"
            )
    found: dict[str, _Interval] = {}
    scores = None
    for filters in dict.fromkeys(layer.filters for layer in (*exact.layers, readout)):
        over_time = _Bounds(exact, filters, of.timesteps)
        sent = over_time.spikes()
        for _ in run_layers(exact.layers, sent, over_time, keep=everyone):
            pass
        found |= over_time.found
        if filters == readout.filters and of.readout == "weighted":
            scores = readout(sent, over_time)
    if scores is None:
        at_one_step = _Bounds(exact, readout.filters, 1)
        sent = at_one_step.spikes()
        relays = [layer for layer in exact.layers if layer.neuron is None]
        for _ in run_layers(relays, sent, at_one_step, keep=everyone):
            pass
        scores = readout(sent, at_one_step).times(of.timesteps)
    rows = [_bound(network, layer, found[layer.name]) for layer in exact.layers]
    return [*rows, _bound(network, readout, scores)]


class _Bounds:
    """Bounds of the layers that accumulate their input by `filters`, after T time steps."""

    def __init__(self, network: LIFNetwork, filters: Filters, timesteps: int) -> None:
        self._network, self._filters, self._timesteps = network, filters, timesteps
        self._largest = accumulated(timesteps, *filters)
        self._halvings = _halvings(network, filters) * (timesteps - 1)
        self.found: dict[str, _Interval] = {}

    def spikes(self) -> dict[str, _Interval]:
        """Bounds of the output of every layer with neurons, accumulated."""
        return {
            layer.name: self._sent(layer)
            for layer in self._network.layers
            if layer.neuron is not None
        }

    def _sent(self, layer: Layer) -> _Interval:
        return _reach(layer, self._largest, self._halvings)

    def __call__(self, layer: Layer, inputs: Mapping[str, _Interval]) -> _Interval:
        if layer.neuron is not None and layer.filters != self._filters:
            return self._sent(layer)
        potential = self._potential(layer, inputs)
        if layer is self._network.readout_layer:
            return potential
        if layer.neuron is None:
            if layer.filters == self._filters:
                self.found[layer.name] = potential
            return potential
        self.found[layer.name] = potential + self._reset(layer, layer.neuron)
        return self._sent(layer)

    def _reset(self, layer: Layer, neuron: Neuron) -> _Interval:
        """Bound of −V (λ â + 1), and of the adaptive threshold."""
        steps = self._timesteps - 1
        own = _halvings(self._network, (neuron.decay,)) * steps
        total = -_reach(layer, accumulated(self._timesteps, neuron.decay), own)
        total = total.times(neuron.threshold, fraction_bits(neuron.threshold))
        if isinstance(neuron, ExtendedLIF) and neuron.adaptation:
            beta, rho = neuron.adaptation, neuron.adaptation_decay
            rise = _reach(
                layer,
                accumulated(self._timesteps, rho),
                _halvings(self._network, (rho,)) * steps,
            )
            total = total + -rise.times(beta, fraction_bits(beta))
        return total

    def _potential(self, layer: Layer, inputs: Mapping[str, _Interval]) -> _Interval:
        """Bound of Û = Σ W â_in + c (W x + b)."""
        grid = _grid(self._network)
        current = _current_of_input(self._network, layer)
        if layer.description.reads_input:  # which is rounded, and rounding keeps an order
            current = _Interval(
                rounded(current.low, grid.bits),
                rounded(current.high, grid.bits),
                grid.bits,
                current.bits_needed,
            ).checked()
        total = input_current(
            wires(layer),
            inputs,
            current.times(self._largest, self._halvings),
            lambda wire, reach: _through(wire, reach, grid.bits),
        )
        assert total is not None
        return total


def _reach(layer: Layer, largest: float, fraction: int) -> _Interval:
    """From 0 to `largest`, in the shape of `layer`."""
    high = torch.full((1, *layer.shape), largest, dtype=torch.float64)
    return _Interval(torch.zeros_like(high), high, fraction).checked()


def _halvings(network: LIFNetwork, decays: Iterable[float]) -> int:
    """Fractional bits that a time step adds to accumulations by these `decays`."""
    found = [halvings(decay) for decay in decays]
    if None in found:
        raise ValueError(
            f"λ = {', '.join(f'{decay:g}' for decay in decays)} is no power of two, so that a "
            f"multiplication by it is rounded: {network!r} cannot be on a grid"
        )
    return max(n for n in found if n is not None)


def _current_of_input(network: LIFNetwork, layer: Layer) -> _Interval:
    """Bound of W x + b before it is rounded; of b where the layer does not read the input."""
    of, grid = network.description, _grid(network)
    bias = layer.shaped_bias()[None]
    shape = of.architecture.input_shape
    values = pixel_values(of.mean, of.std, grid.input_bits)
    per_channel = (1, -1, *(1,) * (len(shape) - 1))
    pixels = _Interval(
        values.amin(1).clamp(max=0).view(per_channel).expand(1, *shape),
        values.amax(1).clamp(min=0).view(per_channel).expand(1, *shape),
        grid.input_bits,
    )
    total = input_current(
        wires(layer),
        {INPUT: pixels},
        _Interval(bias.clamp(max=0), bias.clamp(min=0), grid.bits).checked(),
        lambda wire, reach: _through(wire, reach, grid.bits),
    )
    assert total is not None
    return total


def _through(wire: Wire, reach: _Interval, bits: int) -> _Interval:
    """Bound after a connection from `reach`, with every stage of it counted."""
    left = iter(wire.weights)
    for operation in wire.operations:
        match operation:
            case Conv() | Linear():
                reach = _multiplied(operation, next(left), reach, bits)
            case Scale(factor=factor):
                ends = (reach.low, reach.high) if factor >= 0 else (-reach.high, -reach.low)
                reach = _Interval(*ends, reach.fraction_bits, reach.bits_needed)
                reach = reach.times(abs(factor), fraction_bits(factor))
            case (
                AveragePool() | SumPool() | Upsample() | Flatten() | InARow()
            ):  # which keep an order
                low, high = (operations.apply([operation], [], x) for x in (reach.low, reach.high))
                reach = _Interval(low, high, reach.fraction_bits, reach.bits_needed).checked()
            case _:
                raise ValueError(
                    f"no bound is known for the operation {operation.kind!r} of a connection from "
                    f"{wire.source}, so float32 cannot be proven to be exact behind it: leave "
                    "conversion.grid_bits out"
                )
    return reach


def _multiplied(operation: Conv | Linear, weight: Tensor, reach: _Interval, bits: int) -> _Interval:
    """Bound of a map: positive weights keep the ends of an interval, negative ones swap them.
    Partial sums lie between the sum of all negative products and that of all positive ones."""
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)

    def products(weights: Tensor, x: Tensor) -> Tensor:
        return operations.apply([operation], [weights], x)

    return _Interval(
        products(positive, reach.low) + products(negative, reach.high),
        products(positive, reach.high) + products(negative, reach.low),
        reach.fraction_bits + fewest_bits(weight, bits),
        reach.bits_needed,
    ).checked()


def _bound(network: LIFNetwork, layer: Layer, reach: _Interval) -> LayerBound:
    is_double = network.dtype == torch.float64
    return LayerBound(
        name=layer.name,
        filters=layer.filters,
        magnitude=reach.magnitude,
        fraction_bits=reach.fraction_bits,
        bits_needed=reach.bits_needed,
        bits_available=SIGNIFICANT_BITS["float64" if is_double else "float32"],
    )


def _exact(network: LIFNetwork) -> LIFNetwork:
    _grid(network)
    return network.copied("cpu", torch.float64)


def _grid(network: LIFNetwork) -> Grid:
    grid = network.description.grid
    if grid is None:
        raise ValueError("the network is on no grid, so its arithmetic is rounded")
    return grid
