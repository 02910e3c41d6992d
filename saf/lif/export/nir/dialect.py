"""How one reader understands a graph of NIR, and what it cannot be told, weights apart.

NIR says which numbers a neuron has, and not how a reader makes time steps of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saf.config.targets import Obstacle
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Conv1d,
    InARow,
    Operation,
    Shape,
    SumPool,
    Upsample,
)

if TYPE_CHECKING:
    from saf.networks.outline import Outline


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one reader understands a graph."""

    neuron: Callable[[Any, float, float, Shape], Any]
    """The node of a layer: given the module `nir`, λ, V and the shape of the layer."""
    sums: bool
    """Whether it reads SumPool2d; else AvgPool2d."""
    at_threshold: bool
    """Whether a neuron fires at u = V as ours do; else above it alone."""
    integrates: bool = False
    """Whether it has neurons without a leak, λ = 1, that reset by subtraction."""
    branches: bool = True
    """Whether edges may meet; else the network is a chain."""
    channels_last: bool = False
    """Whether it flattens maps as H W C, so that the matrices behind have their columns so."""
    vectors: bool = False
    """Whether it knows linear maps alone, of samples that are flat already."""
    step: float | None = None
    """Seconds of a time step, for the node Delay; None: it is not told how to read one."""


def heard_shape(architecture: Architecture) -> Shape:
    """The shape of what the graph gets: that of the input, or as the rows that all who hear it
    begin with."""
    begun = {_first(connection) for _, connection in _of_input(architecture)}
    if len(begun) == 1 and isinstance(rows := begun.pop(), InARow):
        return rows.output_shape(architecture.input_shape)
    return architecture.input_shape


def _of_input(architecture: Architecture) -> Iterator[tuple[str, Connection]]:
    """The connections from the input, each with its layer."""
    for layer in (*architecture.layers, architecture.readout):
        for connection in layer.connections:
            if connection.source == INPUT:
                yield layer.name, connection


def _first(connection: Connection) -> Operation | None:
    return connection.operations[0] if connection.operations else None


def neuron_of(layer: str) -> str:
    """The name of the node that holds the neurons of a layer."""
    return f"lif_{layer}"


def unfit(dialect: Dialect, of: Outline) -> Iterator[Obstacle]:
    """What of a network cannot be said in NIR for this reader, weights apart."""
    architecture = of.architecture
    known = {INPUT}
    in_rows = len({_first(connection) for _, connection in _of_input(architecture)}) == 1
    for layer in (*architecture.layers, architecture.readout):
        for connection in layer.connections:
            if connection.source not in known:
                yield Obstacle(
                    layer.name,
                    f"it hears {connection.source} with feedback, which readers of NIR begin in "
                    "ways of their own",
                    "take the target onnx, torch-export or python",
                )
            for operation in connection.operations:
                if dialect.vectors and isinstance(operation, Conv | SumPool | AveragePool):
                    yield Obstacle(
                        layer.name,
                        "it has a convolution or a pooling, and the reader knows linear maps alone",
                        "train an mlp, or take another target",
                    )
                    break
                begins = connection.source == INPUT and operation is _first(connection)
                if isinstance(operation, InARow) and not (begins and in_rows):
                    yield Obstacle(
                        layer.name,
                        "it makes rows of what it hears, which NIR has no node for",
                        "take the target onnx, torch-export or python",
                    )
                if isinstance(operation, Conv1d) and operation.kernel % 2 == 0:
                    yield Obstacle(
                        layer.name,
                        f"it has a convolution of one dimension with the even kernel "
                        f"{operation.kernel}, which has no middle in a square one",
                        "train it with an odd kernel, or take the target onnx or python",
                    )
                if isinstance(operation, Upsample):
                    yield Obstacle(
                        layer.name,
                        "it repeats pixels (upsampling), which NIR has no node for",
                        "take the target onnx, torch-export or python",
                    )
        known.add(layer.name)
        if not dialect.branches and (len(layer.connections) > 1 or layer.relay):
            yield Obstacle(
                layer.name,
                "it adds up several connections, and the reader knows chains of layers alone",
                "train a network without skip connections",
            )
    decays = (own.get("decay", of.decay) for own in (*of.neurons.values(), {}))
    if max(decays) >= 1 and not dialect.integrates:
        yield Obstacle(
            "",
            "its neurons have no leak (λ = 1), and the reader has none such that subtract V",
            "train it with neuron.decay below 1, or take the target nir-sinabs",
        )
    if any(len(shape) not in (1, 3) for shape in architecture.shapes().values()):
        yield Obstacle(
            "", "its samples are neither images nor features", "take the target onnx or python"
        )
