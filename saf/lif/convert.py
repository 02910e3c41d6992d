"""Conversion of a trained network to the same network with plain weights and LIF neurons.

Weight standardisation, gains (of channels and of residual branches), the scale after every spike
and the factor 1 / k² of an average pooling are linear, so they are folded into one weight per
connection; an average pooling becomes a sum pooling. The neurons are replaced; the spikes stay the
same (mathematics: sections 1 and 2).

The plain weights can be rounded to a grid on which the arithmetic is exact, see `docs/proof.md`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from math import frexp, prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from saf.config import MOST_GRID_BITS, JobSpecification
from saf.config.methods import AT_THE_END
from saf.lif.grid.advice import advice_of, remedies
from saf.lif.grid.exactness import bounds, input_bounds
from saf.lif.grid.fixed_point import LEAST_INPUT_BITS, LEVELS, MOST_INPUT_BITS, Grid, rounded
from saf.lif.header import LIFDescription, weight_names
from saf.lif.network import LIFNetwork
from saf.lif.verdict import tolerated_of
from saf.model.inputs import floats
from saf.model.layers import without_gains
from saf.model.network import SpikingNetwork
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    AveragePool1d,
    Connection,
    Conv,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    SumPool,
    SumPool1d,
    weighted,
)
from saf.neurons.lif import LIF
from saf.powers import SIGNIFICANT_BITS, nearest_power

MOST_COST = 0.3  # points of accuracy that the rounding to a grid of `auto` may cost
GRIDS_TRIED = 3
AT_ONCE = 128  # samples
FACTOR_BITS = 4  # significant ones, of a factor that no weight takes in


def convert(
    network: SpikingNetwork,
    specification: JobSpecification,
    *,
    class_names: Sequence[str],
    frames: bool,
    dtype: torch.dtype = torch.float32,
) -> LIFNetwork:
    """Convert `network` to the LIF network, on the CPU, that has the same spikes.

    Folding is done in float64 and rounded once, to `dtype`. `frames` says that a sample is a
    sequence of T frames and not one image. T is that of the specification; where it is "auto"
    there, that of the network. The readout is that of the specification's method. Raises ValueError
    where `network` was made with another (`readout_kind`), and for neurons that the format cannot
    hold.
    """
    readout, own = specification.method.readout, network.readout_kind
    if own is not None and own != readout:
        raise ValueError(
            f"the network was made with the readout {own}, and the method of the specification "
            f"({specification.method.name}) reads scores out as {readout}: convert it with a "
            f'specification whose method has "readout": "{own}"'
        )
    neuron, neurons = network.neuron, folded_neurons(network)
    steps = specification.timesteps
    encoding = None if network.encoding.is_plain else network.encoding.model_dump()
    architecture, folded = fold(network.architecture, effective_weights(network))
    at_the_end = readout in AT_THE_END
    image = network.image
    is_new = bool(architecture.delays or encoding or image or at_the_end)
    return LIFNetwork(
        LIFDescription(
            format="saf-lif/3" if is_new else "saf-lif/2",
            encoding=encoding,
            architecture=architecture,
            decay=neuron.decay,
            threshold=neuron.threshold,
            timesteps=network.timesteps if steps == "auto" else steps,
            readout=readout,
            neurons=neurons,
            frames=frames or image is not None,
            image=image,
            mean=tuple(network.mean.flatten().tolist()),
            std=tuple(network.std.flatten().tolist()),
            class_names=tuple(class_names),
            specification=specification.model_dump(mode="json"),
        ),
        {name: tensor.to(dtype) for name, tensor in folded.items()},
    )


def folded_neurons(network: SpikingNetwork) -> dict[str, dict[str, Any]]:
    """Constants of the neurons of layers that have others than LIF neurons with the decay and the
    threshold of the network, by layer."""
    plain = LIF(network.neuron.decay, network.neuron.threshold).fold().constants()
    found = {
        layer.name: layer.neuron.fold().constants()
        for layer in network.layers
        if layer.neuron is not None
    }
    return {name: constants for name, constants in found.items() if constants != plain}


def decays_of(network: LIFNetwork) -> dict[str, float]:
    """λ of each spiking layer."""
    return {layer.name: layer.decay for layer in network.layers if layer.neuron is not None}


def with_nearest_decays(network: LIFNetwork) -> LIFNetwork:
    """`network` with the nearest power of two, 2^−n, for each λ of its LIF neurons; those that are
    one stay."""
    of = network.description
    plain = LIF(of.decay, of.threshold).fold().constants()
    neurons = {}
    for layer in of.architecture.spiking:
        constants = dict(of.neurons.get(layer.name, plain))
        constants["decay"] = nearest_power(constants["decay"])
        if constants != plain:
            neurons[layer.name] = constants
    description = of.model_copy(update={"neurons": neurons})
    return LIFNetwork(description, network.tensors)


def in_precision(network: SpikingNetwork, dtype: torch.dtype) -> SpikingNetwork:
    """A copy of `network` that holds its parameters and computes in `dtype`."""
    copy = deepcopy(network).to(dtype)
    copy.compute_dtype = None
    return copy


@torch.no_grad()
def effective_weights(network: SpikingNetwork) -> dict[str, Tensor]:
    """Effective weights and biases, in float64 on the CPU, named as in `lif.safetensors`."""
    exact = in_precision(network, torch.float64).cpu()
    effective = exact.effective()
    named: dict[str, Tensor] = {}
    architecture = exact.architecture.at_each_tap()
    for layer in (*architecture.layers, architecture.readout):
        weights = [w.detach() for wire in effective[layer.name].wires for w in wire.weights]
        named |= dict(zip(weight_names(layer), weights, strict=True))
        named[f"{layer.name}.bias"] = exact.get_parameter(f"{layer.name}.bias").detach()
    return named


def fold(
    architecture: Architecture, weights: Mapping[str, Tensor]
) -> tuple[Architecture, dict[str, Tensor]]:
    """Fold `architecture` into plain convolutions, linear maps, sum pooling and flatten.

    `weights` are the effective ones (after standardisation and gain) and the biases, named as in
    `lif.safetensors`; so are those that are returned. A `Scale` remains only on a connection
    without weights, and learned delays become a connection for each tap.
    """
    architecture, folded = architecture.at_each_tap(), dict(weights)

    def plain(layer: LayerDescription) -> LayerDescription:
        names = iter(weight_names(layer))
        connections = []
        for connection in layer.connections:
            own = [next(names) for _ in weighted(connection)]
            operations, factor = _without_factors(connection)
            if own:
                folded[own[-1]] = folded[own[-1]] * factor
            elif factor != 1.0:
                operations.append(Scale(factor=factor))
            changed = {"operations": tuple(operations)}
            connections.append(connection.model_copy(update=changed))
        return layer.model_copy(update={"connections": tuple(connections)})

    return (
        Architecture(
            input_shape=architecture.input_shape,
            layers=tuple(plain(layer) for layer in architecture.layers),
            readout=plain(architecture.readout),
        ),
        folded,
    )


def _without_factors(connection: Connection) -> tuple[list[Operation], float]:
    """The operations of `connection` without any constant, and the product of the constants."""
    operations: list[Operation] = []
    factor = 1.0
    for operation in connection.operations:
        match operation:
            case Scale():
                factor *= operation.factor
            case AveragePool(kernel=kernel):
                factor /= prod(operation.window)
                in_a_row = isinstance(operation, AveragePool1d)
                operations.append((SumPool1d if in_a_row else SumPool)(kernel=kernel))
            case Conv() | Linear():
                operations.append(without_gains(operation))
            case _:
                operations.append(operation)
    return operations, factor


class Rounding(NamedTuple):
    """A LIF network rounded to a grid, or unchanged with the reason."""

    network: LIFNetwork
    refused: str | None


def round_to_grid(
    network: LIFNetwork,
    bits: int | Literal["auto"],
    x: Tensor,
    y: Tensor,
    lengths: Tensor | None = None,
    *,
    round_decays: bool = False,
) -> Iterator[Rounding | None]:
    """Round `network` to a grid of 2^−bits, or to the finest for which the proof and the accuracy
    hold. Yields None after each batch that was evaluated, and then the network.

    `auto` takes the largest k for which float32 is exact in every layer (and in the readout) and
    whose accuracy on the samples `x`, `y` (as for `saf.certify`) is at most 0.3 points below that
    of `network`, or one sample of 20 or more where that is more; of a network of float64 for which
    there is none, the largest k for which float64 is exact. Where the finest exact grids lose more,
    and so would coarser ones, the network is returned unchanged. With `round_decays` each λ becomes
    the nearest power of two. Raises ValueError for a network that cannot be on a grid.
    """
    to_round = with_nearest_decays(network) if round_decays else network
    if bits != "auto":
        yield Rounding(on_grid(to_round, bits), None)
        return
    if unseen := _unseen(network, x):
        yield Rounding(network, unseen)
        return
    before, costs = None, {}
    for candidate in islice(_exact_grids(to_round), GRIDS_TRIED):
        assert candidate.description.grid is not None
        if before is None:
            before = yield from _correct(network, x, y, lengths)
        lost = before - (yield from _correct(candidate, x, y, lengths))
        if lost <= tolerated_of(len(x), MOST_COST / 100):
            yield Rounding(candidate, None)
            return
        costs[candidate.description.grid.bits] = 100.0 * lost / len(x)
    listed = ", ".join(f"k = {k} costs {cost:.2f}" for k, cost in costs.items())
    yield Rounding(
        network,
        f"the finest exact grids cost more than {MOST_COST} points of accuracy: {listed}"
        if costs
        else _too_few_bits(to_round),
    )


def _correct(
    network: LIFNetwork, x: Tensor, y: Tensor, lengths: Tensor | None
) -> Generator[None, None, int]:
    correct = 0
    for rows in torch.arange(len(x)).split(AT_ONCE):
        own = None if lengths is None else lengths[rows]
        correct += count_correct(network, x[rows], y[rows], own)
        yield
    return correct


def _exact_grids(network: LIFNetwork) -> Iterator[LIFNetwork]:
    """Yields `network` on the grids for which float32 is exact in every layer, the finest first; of
    a network of float64 for which there is none, on those for which float64 is."""
    found, in_float64 = False, []
    for bits in range(MOST_GRID_BITS, 0, -1):
        candidate = on_grid(network, bits)
        of_candidate = bounds(candidate)
        if all(bound.exact_in(SIGNIFICANT_BITS["float32"]) for bound in of_candidate):
            found = True
            yield candidate
        elif all(bound.within for bound in of_candidate):
            in_float64.append(candidate)
    if not found:
        yield from in_float64


def _unseen(network: LIFNetwork, x: Tensor) -> str:
    """Why no grid is tried, where what is to be learnt of a channel lies between two levels of
    samples that are no bytes; else empty."""
    narrow = [j for j, s in enumerate(network.description.std) if s * (LEVELS - 1) < 1.0]
    if not narrow or x.dtype == torch.uint8:
        return ""
    levels = x.double() * (LEVELS - 1)
    if bool((levels - levels.round()).abs().max() < 1e-3):  # bytes as floats
        return ""
    others = len(narrow) - 1
    which = f"channel {narrow[0]} of the samples deviates"
    if others:
        which = f"channel {narrow[0]} of the samples and {others} more deviate"
    return (
        f"on a grid an input is one of {LEVELS} levels, and {which} from the mean by less than one "
        "level; values of one scale, as sklearn.preprocessing.StandardScaler makes them before the "
        "upload, can be proven"
    )


def _too_few_bits(network: LIFNetwork) -> str:
    """Why no grid is exact, and what to change."""
    coarsest = on_grid(network, 1)
    worst = max(bounds(coarsest), key=lambda bound: bound.bits_needed)
    advised = advice_of(remedies(coarsest))
    return (
        f"no grid is exact: with a single bit {worst.name} (λ = {worst.filters[-1]:g}, T = "
        f"{network.timesteps}) needs {worst.bits_needed} of {worst.bits_available} bits"
        + (f"; {advised}" if advised else "; its weights are too large")
    )


def on_grid(network: LIFNetwork, bits: int) -> LIFNetwork:
    """Round the weights, biases and factors of `network` to multiples of 2^−bits.

    The normalised pixels get 8 to 10 fractional bits, as many as keep the sum of the first layer
    exact; with fewer they would lose more than the weights do. Raises ValueError for a network that
    cannot be on a grid.
    """
    architecture = _factors_on_grid(network.description.architecture, bits)
    tensors = {
        name: rounded(tensor.double(), bits).to(tensor.dtype)
        for name, tensor in network.tensors.items()
    }

    def with_input(input_bits: int) -> LIFNetwork:
        changes = {
            "architecture": architecture,
            "grid": Grid(bits=bits, input_bits=input_bits),
        }
        description = dict(network.description) | changes
        return LIFNetwork(LIFDescription.model_validate(description), tensors)

    for input_bits in range(MOST_INPUT_BITS, LEAST_INPUT_BITS - 1, -1):
        candidate = with_input(input_bits)
        if all(b.exact_in(SIGNIFICANT_BITS["float32"]) for b in input_bounds(candidate)):
            return candidate
    return with_input(MOST_INPUT_BITS)


@torch.no_grad()
def count_correct(network: LIFNetwork, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> int:
    """Number of samples of a batch `x` (bytes, or floats in [0, 1]) that `network` assigns to
    their class `y`; `lengths` are those of padded ones."""
    predicted = network.predict(floats(x.to(network.device), network.dtype), lengths)
    return int((predicted == y.to(network.device)).sum())


def _factors_on_grid(architecture: Architecture, bits: int) -> Architecture:
    """Round the factors of connections without weights in `architecture` to the grid.

    Only 4 significant bits of a factor are kept: each further one would be taken from the weights
    of every layer that reads it.
    """

    def on_it(operation: Operation) -> Operation:
        if not isinstance(operation, Scale) or operation.factor == 0.0:
            return operation
        finest = min(bits, FACTOR_BITS - frexp(operation.factor)[1])
        return Scale(factor=round(operation.factor * 2.0**finest) / 2.0**finest)

    def plain(layer: LayerDescription) -> LayerDescription:
        connections = tuple(
            c.model_copy(update={"operations": tuple(map(on_it, c.operations))})
            for c in layer.connections
        )
        return layer.model_copy(update={"connections": connections})

    return Architecture(
        input_shape=architecture.input_shape,
        layers=tuple(map(plain, architecture.layers)),
        readout=plain(architecture.readout),
    )
