"""Whether the arithmetic of a LIF network on a grid is exact, whatever its input.

`bounds` is the argument of `docs/proof.md` in numbers: how far any partial sum of a layer can go,
in units of the finest fraction that it can have. Up to 2^24 units float32 does not round, so SAF
and LIF, in any order of summation, give the same spikes. `run_saf` is the SAF form of a LIF
network, to compare with.

Shapes: `N` samples, `…` the shape of a population.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from saf.kernels.saf_scan import Constant
from saf.lif.fixed_point import Grid, fraction_bits, pixel_values
from saf.lif.header import weight_names, weighted
from saf.lif.network import LIFNetwork, LIFStep
from saf.model import operations
from saf.model.saf_forward import Neurons
from saf.networks.architecture import INPUT, Connection, Conv, Linear, Population, Scale
from saf.neurons.dynamics import accumulated_one, saf_step

SIGNIFICANT_BITS = 24  # of a float32: integers up to 2^24 are exact


@dataclass(frozen=True, kw_only=True)
class LayerBound:
    """The worst case of a layer over all inputs with pixels in [0, 1]."""

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
class _Reach:
    """Between what any partial sum can lie, for each neuron (1 …, float64); low ≤ 0 ≤ high."""

    low: Tensor
    high: Tensor
    fraction_bits: int
    exponent: float = 0.0
    """The largest so far."""

    @property
    def magnitude(self) -> float:
        return max(float(self.high.max()), -float(self.low.min()))

    def checked(self) -> _Reach:
        """The same, with what it needs itself counted."""
        own = self.fraction_bits + log2(max(self.magnitude, 2.0**-1000))
        return _Reach(self.low, self.high, self.fraction_bits, max(self.exponent, own))

    def times(self, factor: float, halvings: int = 0) -> _Reach:
        """All of it `factor` ≥ 0 times, a number with `halvings` fractional bits."""
        return _Reach(
            factor * self.low, factor * self.high, self.fraction_bits + halvings, self.exponent
        ).checked()

    def __add__(self, other: _Reach) -> _Reach:
        return _Reach(
            self.low + other.low,
            self.high + other.high,
            max(self.fraction_bits, other.fraction_bits),
            max(self.exponent, other.exponent),
        ).checked()


def input_bounds(network: LIFNetwork) -> list[LayerBound]:
    """Of every layer that hears the input: the sum W x + b before it is rounded to the grid."""
    exact = _exact(network)
    architecture = exact.description.architecture
    return [
        _bound(population, _current_of_input(exact, population))
        for population in (*architecture.populations, architecture.readout)
        if population.hears_input
    ]


def bounds(network: LIFNetwork) -> list[LayerBound]:
    """Of every population in order, and then of the readout.

    A neuron's bound covers Û and u with their resets, in the SAF and the LIF recursion, and, where
    it hears the input, W x + b before the rounding; that of a relay covers what it sends. That of
    the readout covers its sum over time; the division by c[T] that ends a `final` readout is one
    correctly rounded operation. The computation is in float64, exact itself up to 53 bits. Raises
    ValueError for a network that is on no grid.
    """
    exact = _exact(network)
    of = exact.description
    steps = of.timesteps
    largest, halvings = accumulated_one(steps, of.decay), steps - 1
    found = []
    relays: dict[str, _Reach] = {}
    for population in of.architecture.populations:
        potential = _potential(exact, population, largest, halvings, relays)
        if population.relay:
            relays[population.name] = potential
            found.append(_bound(population, potential))
            continue
        reset = torch.full_like(potential.low, -of.threshold * largest)
        found.append(
            _bound(population, potential + _Reach(reset, torch.zeros_like(reset), halvings))
        )
    readout = of.architecture.readout
    if of.readout == "final":
        scores = _potential(exact, readout, largest, halvings, relays)
    else:
        at_one_step: dict[str, _Reach] = {}
        for population in of.architecture.populations:
            if population.relay:
                reach = _potential(exact, population, 1.0, 0, at_one_step)
                at_one_step[population.name] = reach
        scores = _potential(exact, readout, 1.0, 0, at_one_step).times(steps)
    return [*found, _bound(readout, scores)]


def _potential(
    network: LIFNetwork,
    population: Population,
    largest: float,
    halvings: int,
    relays: Mapping[str, _Reach],
) -> _Reach:
    """Of Û = Σ W â_in + c (W x + b), for â and c between 0 and `largest`, and what `relays` send
    then."""
    of, grid = network.description, _grid(network)
    current = _current_of_input(network, population)
    if population.hears_input:
        half = 0.5 * 2.0**-grid.bits
        current = _Reach(current.low - half, current.high + half, grid.bits, current.exponent)
    total = current.times(largest, halvings)
    for connection, weights in _connections(network, population):
        if connection.source in relays:
            total = total + _through(connection, weights, relays[connection.source], grid.bits)
        elif connection.source != INPUT:
            shape = of.architecture.shapes()[connection.source]
            high = torch.full((1, *shape), largest, dtype=torch.float64)
            spikes = _Reach(torch.zeros_like(high), high, halvings)
            total = total + _through(connection, weights, spikes, grid.bits)
    return total


def _current_of_input(network: LIFNetwork, population: Population) -> _Reach:
    """Of W x + b before it is rounded; of b where the input is not heard."""
    of, grid = network.description, _grid(network)
    sides = len(of.architecture.shapes()[population.name]) - 1
    bias = network.tensors[f"{population.name}.bias"].view(1, -1, *(1,) * sides)
    total = _Reach(bias.clamp(max=0), bias.clamp(min=0), grid.bits).checked()
    for connection, weights in _connections(network, population):
        if connection.source == INPUT:
            shape = of.architecture.input_shape
            values = pixel_values(of.mean, of.std, grid.input_bits)
            per_channel = (1, -1, *(1,) * (len(shape) - 1))
            pixels = _Reach(
                values.amin(1).clamp(max=0).view(per_channel).expand(1, *shape),
                values.amax(1).clamp(min=0).view(per_channel).expand(1, *shape),
                grid.input_bits,
            )
            total = total + _through(connection, weights, pixels, grid.bits)
    return total


def _through(connection: Connection, weights: list[Tensor], reach: _Reach, bits: int) -> _Reach:
    """What `connection` makes of `reach`, with every stage on the way counted."""
    left = iter(weights)
    for operation in connection.operations:
        match operation:
            case Conv() | Linear():
                reach = _multiplied(operation, next(left), reach, bits)
            case Scale(factor=factor):
                ends = (reach.low, reach.high) if factor >= 0 else (-reach.high, -reach.low)
                reach = _Reach(*ends, reach.fraction_bits, reach.exponent)
                reach = reach.times(abs(factor), fraction_bits(factor))
            case _:
                low, high = (operations.apply([operation], [], x) for x in (reach.low, reach.high))
                reach = _Reach(low, high, reach.fraction_bits, reach.exponent).checked()
    return reach


def _multiplied(operation: Conv | Linear, weight: Tensor, reach: _Reach, bits: int) -> _Reach:
    """Positive weights keep the ends, negative ones change them; partial sums lie between the sum
    of all negative and that of all positive products."""
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)

    def products(weights: Tensor, x: Tensor) -> Tensor:
        return operations.apply([operation], [weights], x)

    return _Reach(
        products(positive, reach.low) + products(negative, reach.high),
        products(positive, reach.high) + products(negative, reach.low),
        reach.fraction_bits + bits,
        reach.exponent,
    ).checked()


def _bound(population: Population, reach: _Reach) -> LayerBound:
    return LayerBound(
        name=population.name,
        magnitude=reach.magnitude,
        fraction_bits=reach.fraction_bits,
        exponent=reach.exponent,
    )


def _connections(
    network: LIFNetwork, population: Population
) -> Iterator[tuple[Connection, list[Tensor]]]:
    names = iter(weight_names(population))
    for connection in population.connections:
        yield connection, [network.tensors[next(names)] for _ in weighted(connection)]


def _exact(network: LIFNetwork) -> LIFNetwork:
    _grid(network)
    return network.to("cpu", torch.float64)


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
    this step. With `neurons`, which runs the populations as in `saf.model.saf_forward.advance`,
    there are no potentials, and spikes of those alone that the readout listens to.
    """
    of = network.description
    frames = x.transpose(0, 1) if of.frames else None
    arriving = network.currents_of_input(x if frames is None else frames[0])
    sums: dict[str, Tensor] = {}
    shapes = of.architecture.shapes()
    # Before a population is computed, those that hear it as feedback get â[t−1].
    accumulated = {
        population.name: operations.channels_last(
            torch.zeros(
                len(x), *shapes[population.name], dtype=network.dtype, device=network.device
            )
        )
        for population in of.architecture.spiking
    }
    readout = of.architecture.readout
    heard = {connection.source for connection in readout.connections}
    total = torch.zeros((), dtype=network.dtype, device=network.device)
    for t in range(1, of.timesteps + 1):
        c = accumulated_one(t, of.decay)
        if frames is None:
            sums = {name: c * current for name, current in arriving.items()}
        else:
            arriving = network.currents_of_input(frames[t - 1])
            sums = {n: of.decay * sums.get(n, 0.0) + current for n, current in arriving.items()}
        spikes: dict[str, Tensor] = {}
        potentials: dict[str, Tensor] = {}
        relayed: dict[str, Tensor] = {}
        for population in of.architecture.populations:
            name = population.name
            potential = network.current(population, accumulated, sums[name])
            if population.relay:
                relayed[name] = potential - of.decay * accumulated.get(name, 0.0)
                accumulated[name] = potential
                continue
            before = accumulated[name]
            if neurons is not None:
                if potential is sums[name]:  # others look at it again
                    potential = potential.expand_as(before).clone()
                accumulated[name], _ = neurons(name, potential, _nothing(potential), before)
                if name in heard and of.readout == "sum":
                    spikes[name] = accumulated[name] - of.decay * before
                continue
            spikes[name], accumulated[name] = saf_step(potential, before, of.decay, of.threshold)
            potentials[name] = potential - of.threshold * (of.decay * before)
        if of.readout == "sum":
            sent = spikes | relayed
            total = scores = total + network.current(readout, sent, arriving[readout.name])
        else:
            scores = network.current(readout, accumulated, sums[readout.name]) / c
        yield LIFStep(potentials=potentials, spikes=spikes, scores=scores)
