"""A LIF network as a graph of NIR, written for one reader.

NIR says which numbers a neuron has, and not how a reader makes time steps of them; so a `Dialect`
says how that one reader pools and compares, and which node of NIR becomes the neuron of
the network there. Where edges meet, readers add. What NIR has no node for is written with what it
has: a constant factor and the sum of several maps as a 1×1 convolution; the rounding of the
input's current on a grid (docs/proof.md) as two of them, x + M and x − M, where M is so large that
float32 keeps no finer number beside it.

Shapes: `C H W` channels, height, width; `F` features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saf.config.targets import Obstacle
from saf.lif.export.nir.dialect import Dialect, heard_shape, neuron_of
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    InARow,
    LayerDescription,
    Linear,
    Scale,
    Shape,
    Sides,
    SumPool,
)

if TYPE_CHECKING:
    from saf.lif.network import LIFNetwork

MOST_IDENTITY = 4096  # features of a square matrix that adds up or rounds
MANTISSA = 23
Array = NDArray[np.float32]


def obstacles(dialect: Dialect, network: LIFNetwork) -> Iterator[Obstacle]:
    """What the weights of a network add to what `unfit` says of it."""
    try:
        _Graph(None, dialect, network).build()
    except _CannotError as error:
        yield error.obstacle


def write(dialect: Dialect, network: LIFNetwork, path: str) -> None:
    """Write the graph to the file `path`."""
    import nir

    graph = _Graph(nir, dialect, network)
    graph.build()
    nir.write(path, nir.NIRGraph(graph.nodes, graph.edges))


class _CannotError(Exception):
    def __init__(self, layer: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.obstacle = Obstacle(layer, reason, remedy)


class _Graph:
    """Nodes and edges under construction; without the module `nir` only what it would meet."""

    def __init__(self, nir: Any, dialect: Dialect, network: LIFNetwork) -> None:
        self._nir, self._dialect, self._network = nir, dialect, network
        self._architecture: Architecture = network.description.architecture
        self._shapes = self._architecture.shapes()
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def build(self) -> None:
        """Add every node and edge, in the order in which they are computed."""
        of = self._network.description
        given = heard_shape(self._architecture)
        if self._dialect.vectors:
            given = (prod(given),)
        self._add("input", lambda nir: nir.Input({"input": np.array(given)}), ())
        sent: dict[str, tuple[str, ...]] = {INPUT: ("input",)}
        for layer in self._architecture.layers:
            terms = self._arriving(layer, sent)
            if layer.relay:
                sent[layer.name] = terms
                continue
            shape, name = self._shapes[layer.name], neuron_of(layer.name)
            own = of.neurons.get(layer.name, {"decay": of.decay, "threshold": of.threshold})
            threshold = np.float32(own["threshold"])
            if not self._dialect.at_threshold:  # above the next smaller number is at or above V
                threshold = np.nextafter(threshold, np.float32(-np.inf))
            self._add(name, self._neuron(own["decay"], float(threshold), shape), terms)
            sent[layer.name] = (name,)
        readout = self._architecture.readout
        terms = self._arriving(readout, sent)
        if len(terms) > 1:
            terms = (self._identity(readout.name, "sum", self._shapes[readout.name], terms),)
        shape = self._shapes[readout.name]
        self._add("output", lambda nir: nir.Output({"output": np.array(shape)}), terms)

    def _arriving(
        self, layer: LayerDescription, sent: dict[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The nodes whose outputs, added up, are the current of a layer."""
        from saf.lif.header import weight_names

        grid = self._network.description.grid
        weights = (self._network.tensors[name].numpy() for name in weight_names(layer))
        bias: Array | None = self._network.tensors[f"{layer.name}.bias"].numpy()
        from_input: list[str] = []
        others: list[str] = []
        chains = []
        for number, connection in enumerate(layer.connections):
            own = [next(weights) for each in connection.operations if _has_weights(each)]
            chains.append((number, connection, own))
        # Those of the input first: on a grid the bias is rounded with them.
        chains.sort(key=lambda chain: chain[1].source != INPUT)
        for number, connection, own in chains:
            before, bias = self._chain(layer, number, connection, own, sent, bias)
            (from_input if connection.source == INPUT else others).extend(before)
        if bias is not None and np.any(bias):  # no map with weights has taken it
            carriers = from_input or others
            shape = self._shapes[layer.name]
            carriers[:] = [self._identity(layer.name, "bias", shape, tuple(carriers), shift=bias)]
        if from_input and grid is not None:
            from_input = [self._rounded(layer.name, tuple(from_input), grid.bits)]
        terms = (*from_input, *others)
        if len(set(terms)) < len(terms):
            raise _CannotError(
                layer.name,
                "it hears one source twice without a map in between",
                "take the target onnx, torch-export or python",
            )
        return terms

    def _chain(
        self,
        layer: LayerDescription,
        number: int,
        connection: Connection,
        weights: list[Array],
        sent: dict[str, tuple[str, ...]],
        bias: Array | None,
    ) -> tuple[tuple[str, ...], Array | None]:
        """Add the maps of a connection; its ends, and the bias where none of them took it."""
        terms = sent[connection.source]
        if connection.delay:
            terms = (self._delayed(connection.source, connection.delay, terms),)
        factor = 1.0  # of averages that are to be sums
        maps: Shape = ()  # that were flattened
        last = max(
            (i for i, each in enumerate(connection.operations) if _has_weights(each)), default=-1
        )
        for place, (operation, before) in enumerate(
            connection.shapes(self._shapes[connection.source])
        ):
            name = f"map_{layer.name}_{number}_{place}"
            match operation:
                case Conv() | Linear():
                    weight = weights.pop(0) * np.float32(factor)
                    factor = 1.0
                    channels = len(weight)
                    own = np.zeros(channels, np.float32)
                    if place == last and bias is not None:
                        own, bias = bias, None
                    if isinstance(operation, Conv):
                        weight = _dense(weight, operation.groups)
                        node = self._conv(weight, own, operation, before)
                    else:
                        if self._dialect.channels_last and maps:
                            weight = _of_channels_last(weight, maps)
                        maps = ()
                        node = self._affine(weight, own)
                case SumPool():
                    factor *= 1.0 if self._dialect.sums else float(prod(operation.window))
                    node = self._pool(operation.window)
                case AveragePool():
                    factor /= float(prod(operation.window)) if self._dialect.sums else 1.0
                    node = self._pool(operation.window)
                case Flatten():
                    if len(before) == 1 or self._dialect.vectors:
                        continue
                    maps = before
                    node = self._flatten(before)
                case Scale():
                    factor *= operation.factor
                    continue
                case InARow():  # the program has done it
                    continue
                case _:
                    raise AssertionError(operation)
            terms = (self._add(name, node, terms),)
        if maps and self._dialect.channels_last:
            raise _CannotError(
                layer.name,
                "it flattens maps without a matrix behind, and the reader flattens them in another "
                "order",
                "take another target",
            )
        if factor != 1.0:
            shape = connection.output_shape(self._shapes[connection.source])
            terms = (self._identity(layer.name, f"{number}_factor", shape, terms, factor=factor),)
        return terms, bias

    def _delayed(self, source: str, delay: int, terms: tuple[str, ...]) -> str:
        """The node that brings what `source` sent so many time steps ago, once for all who hear
        it."""
        name = f"delay_{source}_{delay}"
        if name in self.nodes:
            return name
        shape = heard_shape(self._architecture) if source == INPUT else self._shapes[source]
        assert self._dialect.step is not None
        seconds = np.full(shape, delay * self._dialect.step)
        return self._add(name, lambda nir: nir.Delay(delay=seconds), terms)

    def _rounded(self, layer: str, terms: tuple[str, ...], bits: int) -> str:
        """Nodes that round to multiples of 2^−bits, halves to the even one."""
        shape, large = self._shapes[layer], 1.5 * 2.0 ** (MANTISSA - bits)
        up = self._identity(layer, "round", shape, terms, shift=large)
        return self._identity(layer, "rounded", shape, (up,), shift=-large)

    def _identity(
        self,
        layer: str,
        what: str,
        shape: Shape,
        terms: tuple[str, ...],
        *,
        factor: float = 1.0,
        shift: float | Array = 0.0,
    ) -> str:
        """A map that multiplies every number of `shape` by a factor and adds another, or one for
        each channel."""
        channels = shape[0]
        if channels > MOST_IDENTITY:
            raise _CannotError(
                layer,
                f"its {channels} channels would need a matrix of as many rows and columns for "
                "what NIR has no node for",
                "take the target onnx, torch-export or python",
            )
        matrix = np.eye(channels, dtype=np.float32) * np.float32(factor)
        bias = np.broadcast_to(np.float32(shift), channels).copy()
        name = f"map_{layer}_{what}"
        if len(shape) == 1:
            return self._add(name, self._affine(matrix, bias), terms)
        one = Conv(out_channels=channels, kernel=1, padding=0, standardised=False)
        return self._add(name, self._conv(matrix[:, :, None, None], bias, one, shape), terms)

    def _neuron(self, decay: float, threshold: float, shape: Shape) -> Callable[[Any], Any]:
        return lambda nir: self._dialect.neuron(nir, decay, threshold, shape)

    def _conv(
        self, weight: Array, bias: Array, operation: Conv, shape: Shape
    ) -> Callable[[Any], Any]:
        """`nir` finds shapes of square kernels alone, so a row lies in the middle of a square."""
        high, wide = operation.window
        if high != wide:
            square = np.zeros((*weight.shape[:2], wide, wide), np.float32)
            square[:, :, wide // 2] = weight[:, :, 0]
            weight = square
        paddings = (wide // 2 if high != wide else operation.padding, operation.padding)
        return lambda nir: nir.Conv2d(
            input_shape=tuple(shape[1:]),
            weight=weight,
            stride=operation.stride,
            padding=paddings,
            dilation=1,
            groups=1,
            bias=bias,
        )

    def _affine(self, weight: Array, bias: Array) -> Callable[[Any], Any]:
        return lambda nir: nir.Affine(weight=weight, bias=bias)

    def _pool(self, window: Sides) -> Callable[[Any], Any]:
        sides, none = np.array(window), np.array([0, 0])

        def node(nir: Any) -> Any:
            kind = nir.SumPool2d if self._dialect.sums else nir.AvgPool2d
            return kind(kernel_size=sides, stride=sides, padding=none)

        return node

    def _flatten(self, shape: Shape) -> Callable[[Any], Any]:
        return lambda nir: nir.Flatten({"input": np.array(shape)}, 0, -1)

    def _add(self, name: str, node: Callable[[Any], Any], terms: tuple[str, ...]) -> str:
        self.nodes[name] = None if self._nir is None else node(self._nir)
        self.edges += [(term, name) for term in terms]
        return name


def _has_weights(operation: object) -> bool:
    return isinstance(operation, Conv | Linear)


def _of_channels_last(weight: Array, maps: Shape) -> Array:
    """A matrix for maps that were flattened as C H W, for those that are flattened as H W C."""
    return weight.reshape(-1, *maps).transpose(0, 2, 3, 1).reshape(len(weight), -1)


def _dense(weight: Array, groups: int) -> Array:
    """The weights of a convolution in groups as those of one without: zeros in between."""
    if groups == 1:
        return weight
    out, into, *kernel = weight.shape
    dense = np.zeros((out, into * groups, *kernel), np.float32)
    each = out // groups
    for group in range(groups):
        rows, columns = (
            slice(group * each, (group + 1) * each),
            slice(group * into, (group + 1) * into),
        )
        dense[rows, columns] = weight[rows]
    return dense
