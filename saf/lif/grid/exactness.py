"""Bounds that show whether the arithmetic of a LIF network on a grid is exact for every input.

`bounds` is the argument of `docs/proof.md` in numbers: interval bounds of all partial sums of a
layer, in units of the finest fraction that they can have. Up to 2^24 units float32 does not round,
so SAF and LIF, in any order of summation, give the same spikes. `run_saf` is the SAF form of a LIF
network, to compare with.

Shapes: `N` samples, `…` the shape of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from saf.kernels.saf_scan import Constant
from saf.lif.grid.fixed_point import Grid, fewest_bits, fraction_bits, pixel_values
from saf.lif.network import LIFNetwork
from saf.lif.sequence import LIFStep, wires
from saf.model import operations
from saf.model.forward.delays import DelayLine
from saf.model.forward.delays import lines as empty_lines
from saf.model.forward.saf_forward import Neurons
from saf.model.inputs import with_pixels
from saf.model.layers import Layer, Wire, input_current, run_layers
from saf.model.operations import channels_last
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
from saf.neurons.dynamics import accumulated_one, saf_step
from saf.neurons.lif import LIF

SIGNIFICANT_BITS = 24  # of a float32: integers up to 2^24 are exact


@dataclass(frozen=True, kw_only=True)
class LayerBound:
    """Worst case of a layer over all inputs with pixels in [0, 1]."""

    name: str
    magnitude: float
    """No partial sum of the potential is larger, in units of the potential (V = 1)."""
    fraction_bits: int
    """Every number that occurs is a multiple of 2^−fraction_bits."""
    exponent: float
    """log2 of the largest number of such units, in any stage of the layer: exact up to 24."""

    @property
    def within(self) -> bool:
        """Whether float32 is exact in this layer."""
        return self.exponent <= SIGNIFICANT_BITS


@dataclass(frozen=True)
class _Interval:
    """Interval bound of all partial sums of each neuron (1 …, float64); low ≤ 0 ≤ high."""

    low: Tensor
    high: Tensor
    fraction_bits: int
    exponent: float = 0.0
    """log2 of the largest number of units so far."""

    @property
    def magnitude(self) -> float:
        return max(float(self.high.max()), -float(self.low.min()))

    def checked(self) -> _Interval:
        """The same interval, with its number of units counted in `exponent`."""
        own = self.fraction_bits + log2(max(self.magnitude, 2.0**-1000))
        return _Interval(self.low, self.high, self.fraction_bits, max(self.exponent, own))

    def times(self, factor: float, halvings: int = 0) -> _Interval:
        """The bound times `factor` ≥ 0, a number with `halvings` fractional bits."""
        return _Interval(
            factor * self.low, factor * self.high, self.fraction_bits + halvings, self.exponent
        ).checked()

    def __add__(self, other: _Interval) -> _Interval:
        return _Interval(
            self.low + other.low,
            self.high + other.high,
            max(self.fraction_bits, other.fraction_bits),
            max(self.exponent, other.exponent),
        ).checked()


def input_bounds(network: LIFNetwork) -> list[LayerBound]:
    """Bounds of layers that read the input: of the sum W x + b before it is rounded to the grid."""
    exact = _exact(network)
    return [
        _bound(layer, _current_of_input(exact, layer))
        for layer in (*exact.layers, exact.readout_layer)
        if layer.description.reads_input
    ]


def bounds(network: LIFNetwork) -> list[LayerBound]:
    """Bounds of every layer in order, and then of the readout.

    A neuron's bound covers Û and u with their resets, in the SAF and the LIF recursion, and, where
    it reads the input, W x + b before the rounding; that of a relay covers its output. That of the
    readout covers its sum over time; the division by c[T] at the end of a `weighted` readout is one
    correctly rounded operation. The computation is in float64, exact itself up to 53 bits. Raises
    ValueError for a network that is on no grid, and for operations and neurons without a known
    bound.
    """
    exact = _exact(network)
    of, readout = exact.description, exact.readout_layer
    steps = of.timesteps
    everyone = [layer.name for layer in exact.layers]
    over_time = _Bounds(exact, accumulated_one(steps, of.decay), steps - 1)
    sent = over_time.spikes()
    for _ in run_layers(exact.layers, sent, over_time, keep=everyone):
        pass
    if of.readout == "weighted":
        scores = readout(sent, over_time)
    else:
        at_one_step = _Bounds(exact, 1.0, 0)
        sent = at_one_step.spikes()
        relays = [layer for layer in exact.layers if layer.neuron is None]
        for _ in run_layers(relays, sent, at_one_step, keep=everyone):
            pass
        scores = readout(sent, at_one_step).times(steps)
    return [*over_time.found, _bound(readout, scores)]


class _Bounds:
    """Bounds of the input of a layer, for accumulations of spikes between 0 and `largest`."""

    def __init__(self, network: LIFNetwork, largest: float, halvings: int) -> None:
        self._network, self._largest, self._halvings = network, largest, halvings
        self.found: list[LayerBound] = []

    def spikes(self) -> dict[str, _Interval]:
        """Bounds of the output of every layer with neurons."""
        found = {}
        for layer in self._network.layers:
            if layer.neuron is not None:
                high = torch.full((1, *layer.shape), self._largest, dtype=torch.float64)
                found[layer.name] = _Interval(torch.zeros_like(high), high, self._halvings)
        return found

    def __call__(self, layer: Layer, inputs: Mapping[str, _Interval]) -> _Interval:
        potential = self._potential(layer, inputs)
        if layer is self._network.readout_layer:
            return potential
        if layer.neuron is None:
            self.found.append(_bound(layer, potential))
            return potential
        if not isinstance(layer.neuron, LIF):
            raise ValueError(
                f"no bound is known for the neurons of {layer.name} ({type(layer.neuron).__name__})"
                ", so float32 cannot be proven to be exact in it: leave conversion.grid_bits out"
            )
        reset = torch.full_like(potential.low, -layer.neuron.threshold * self._largest)
        reach = _Interval(reset, torch.zeros_like(reset), self._halvings)
        self.found.append(_bound(layer, potential + reach))
        high = torch.full_like(potential.high, self._largest)
        return _Interval(torch.zeros_like(high), high, self._halvings)

    def _potential(self, layer: Layer, inputs: Mapping[str, _Interval]) -> _Interval:
        """Bound of Û = Σ W â_in + c (W x + b)."""
        grid = _grid(self._network)
        current = _current_of_input(self._network, layer)
        if layer.description.reads_input:
            half = 0.5 * 2.0**-grid.bits
            current = _Interval(
                current.low - half, current.high + half, grid.bits, current.exponent
            )
        total = input_current(
            wires(layer),
            inputs,
            current.times(self._largest, self._halvings),
            lambda wire, reach: _through(wire, reach, grid.bits),
        )
        assert total is not None
        return total


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
                reach = _Interval(*ends, reach.fraction_bits, reach.exponent)
                reach = reach.times(abs(factor), fraction_bits(factor))
            case (
                AveragePool() | SumPool() | Upsample() | Flatten() | InARow()
            ):  # which keep an order
                low, high = (operations.apply([operation], [], x) for x in (reach.low, reach.high))
                reach = _Interval(low, high, reach.fraction_bits, reach.exponent).checked()
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
        reach.exponent,
    ).checked()


def _bound(layer: Layer, reach: _Interval) -> LayerBound:
    return LayerBound(
        name=layer.name,
        magnitude=reach.magnitude,
        fraction_bits=reach.fraction_bits,
        exponent=reach.exponent,
    )


def _exact(network: LIFNetwork) -> LIFNetwork:
    _grid(network)
    return network.copied("cpu", torch.float64)


def _grid(network: LIFNetwork) -> Grid:
    grid = network.description.grid
    if grid is None:
        raise ValueError("the network is on no grid, so its arithmetic is rounded")
    return grid


def _nothing(potential: Tensor) -> Constant:
    """No current beside `potential`."""
    shape = (1, potential.shape[1], *(1,) * (potential.dim() - 2))
    return Constant(potential.new_zeros(shape), True, [0.0], [0.0])


@torch.no_grad()
def run_saf(network: LIFNetwork, x: Tensor, neurons: Neurons | None = None) -> Iterator[LIFStep]:
    """The T steps of `network` on images `x` (`N C H W`) or event frames (`N T C H W`) by spike
    accumulation, as in SAF.

        Û[t] = Σ W â_in[t] + Î[t]                Î[t] = λ Î[t−1] + (W x[t] + b)
        s[t] = H(Û[t] − V (λ â[t−1] + 1))        â[t] = λ â[t−1] + s[t]

    Scores are those of the readout of this step: Σ (W s[t] + b), or Û[t] / c[t] of the readout.
    The potentials are Û[t] − V λ â[t−1]. A relay sends its Û on, and has sent Û[t] − λ Û[t−1] in
    this step. With `neurons`, which runs the layers as in `saf.model.forward.saf_forward.advance`,
    there are no potentials, and spikes of those alone that the readout listens to.
    """
    of = network.description
    x = x if of.image is None else of.image.sequence(x)
    x = with_pixels(x, of.architecture.input_shape, len(of.architecture.input_shape) + 2)
    frames = x.transpose(0, 1) if of.frames else None
    lines = empty_lines(of.architecture.delays)
    arriving_now, _ = network.currents_of_input(x if frames is None else frames[0])
    sums: dict[str, Tensor] = {}
    # Before a layer is computed, those that hear it as feedback get â[t−1].
    sent = {
        layer.name: channels_last(
            torch.zeros(len(x), *layer.shape, dtype=network.dtype, device=network.device)
        )
        for layer in network.layers
        if layer.neuron is not None
    }
    readout = network.readout_layer
    everyone = [layer.name for layer in network.layers]
    read = {connection.source for connection in readout.description.connections}
    total = torch.zeros((), dtype=network.dtype, device=network.device)
    for t in range(1, of.timesteps + 1):
        if frames is None:
            c = accumulated_one(t, of.decay)
            sums = {name: c * current for name, current in arriving_now.items()}
        else:
            arriving_now, arrived = network.currents_of_input(frames[t - 1], lines)
            if INPUT in lines:
                lines[INPUT] = lines[INPUT].after(arrived, 1)
            sums = {n: of.decay * sums.get(n, 0.0) + now for n, now in arriving_now.items()}
        step = _Step(network, dict(sent), sums, neurons, lines)
        for layer, accumulation in run_layers(network.layers, sent, step, keep=everyone):
            if layer.name in read and of.readout == "mean":
                step.note(layer, accumulation)
        for name in lines.keys() - {INPUT}:
            lines[name] = lines[name].after(sent[name], 1)
        if of.readout == "mean":
            total = scores = total + network.current(readout, step.sent, arriving_now[readout.name])
        else:
            scores = network.current(readout, sent, sums[readout.name])
            scores = scores / readout.accumulated_one(t)
        yield LIFStep(potentials=step.potentials, spikes=step.spikes, scores=scores)


class _Step:
    """Computes the accumulation of a layer in one time step from those of its sources."""

    def __init__(
        self,
        network: LIFNetwork,
        before: Mapping[str, Tensor],
        sums: Mapping[str, Tensor],
        neurons: Neurons | None,
        lines: Mapping[str, DelayLine],
    ) -> None:
        """`before` are the accumulations before the time step, `sums` the accumulated currents
        of the input, `lines` earlier accumulations, for connections with delays."""
        self._network, self._before, self._sums, self._neurons = network, before, sums, neurons
        self._lines = dict(lines)
        self.spikes: dict[str, Tensor] = {}
        self.sent: dict[str, Tensor] = {}
        """In this step alone, of those that were noted."""
        self.potentials: dict[str, Tensor] = {}

    def __call__(self, layer: Layer, inputs: Mapping[str, Tensor]) -> Tensor:
        name, start = layer.name, self._sums[layer.name]
        potential = self._network.current(layer, inputs, start, self._lines)
        if layer.neuron is None:
            return potential
        before, decay, threshold = self._before[name], layer.neuron.decay, layer.neuron.threshold
        if self._neurons is not None:
            if potential is start:  # others look at it again
                potential = potential.expand_as(before).clone()
            return self._neurons(name, potential, _nothing(potential), before, ()).accumulation
        self.spikes[name], accumulation = saf_step(potential, before, decay, threshold)
        self.potentials[name] = potential - threshold * (decay * before)
        return accumulation

    def note(self, layer: Layer, accumulation: Tensor) -> None:
        """Keep the output of the layer at this time step alone."""
        sent = self.spikes.get(layer.name)
        if sent is None:
            sent = accumulation - layer.decay * self._before.get(layer.name, 0.0)
            if layer.neuron is not None:
                self.spikes[layer.name] = sent
        self.sent[layer.name] = sent
