"""What a network is made of, without its weights: populations of neurons and linear maps.

A population is a layer of spiking neurons. Its potential is the sum of its connections plus a
bias; a connection is a chain of linear operations applied to what another population (or the
input) sends. A relay is a population without neurons: it sends that sum on as it is, so that a
residual stream is added up once and not once for each of its listeners. The readout does not spike
either. A connection from an earlier population is a forward or a skip connection; from the same or
a later one it is feedback and carries the accumulation of the step before.

This module loads no torch: the API checks shapes, counts parameters and forecasts memory with it,
`saf.model.network` gives the same description its weights, and the header of `lif.safetensors`
holds it.

Shapes: `C H W` channels, height, width; `F` features.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Shape = tuple[int, ...]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
INPUT = "input"
MOST_OPERATIONS, MOST_CONNECTIONS = 64, 512  # of a connection, and of a population
MOST_NUMBERS = 2**30  # that a map gives for one sample, and that all populations send at a step


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Weighted(_Description):
    initial_gain: float = 1.0
    """What the gains of the output channels start at, where the weights are standardised."""
    residual_gain: float | None = None
    """A learnable factor on all that the map gives, and the value that it starts at: the gain that
    ends a residual branch in SkipInit (De & Smith, arXiv 2002.10444), which starts at 0. null:
    none."""


class Conv(_Weighted):
    """Convolution with a square kernel; weights `out_channels, C // groups, kernel, kernel`."""

    kind: Literal["conv"] = "conv"
    out_channels: Size
    kernel: Annotated[int, Field(ge=1, le=64)] = 3
    stride: Annotated[int, Field(ge=1, le=64)] = 1
    padding: Annotated[int, Field(ge=0, le=64)] = 1
    groups: Size = 1
    standardised: bool = True
    """Scaled weight standardisation with a gain per output channel."""

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sides = _image(shape, "a convolution")
        if channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {channels} channels")
        _check_standardised(self.standardised, self.weight_shape(shape))
        sides = [(n + 2 * self.padding - self.kernel) // self.stride + 1 for n in sides]
        if min(sides) < 1:
            raise ValueError(f"a {self.kernel} × {self.kernel} kernel does not fit into {shape}")
        return (self.out_channels, *sides)

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, shape[0] // self.groups, self.kernel, self.kernel)


class Linear(_Weighted):
    """Fully connected map; weights `out_features, F`."""

    kind: Literal["linear"] = "linear"
    out_features: Size
    standardised: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"a linear layer needs a flat input, not {shape}")
        _check_standardised(self.standardised, self.weight_shape(shape))
        return (self.out_features,)

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.out_features, shape[0])


class _Pool(_Description):
    kernel: Annotated[int, Field(ge=1, le=512)] = 2

    def output_shape(self, shape: Shape) -> Shape:
        channels, *sides = _image(shape, "pooling")
        if min(sides) < self.kernel:
            raise ValueError(f"a {self.kernel} × {self.kernel} pooling does not fit into {shape}")
        return (channels, *(n // self.kernel for n in sides))


class AveragePool(_Pool):
    """Mean over windows of `kernel × kernel`, stride `kernel`; an incomplete one is dropped."""

    kind: Literal["average_pool"] = "average_pool"


class SumPool(_Pool):
    """As `AveragePool`, the sum instead of the mean: what is left once the factor is folded."""

    kind: Literal["sum_pool"] = "sum_pool"


class Upsample(_Description):
    """Every pixel repeated over a window of `factor × factor` (nearest neighbour)."""

    kind: Literal["upsample"] = "upsample"
    factor: Annotated[int, Field(ge=2, le=512)]

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = _image(shape, "upsampling")
        return (channels, height * self.factor, width * self.factor)


class Scale(_Description):
    """Multiplication by a constant."""

    kind: Literal["scale"] = "scale"
    factor: float

    def output_shape(self, shape: Shape) -> Shape:
        return shape


class Flatten(_Description):
    """`C H W → F`."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


Operation = Annotated[
    Conv | Linear | AveragePool | SumPool | Upsample | Scale | Flatten,
    Field(discriminator="kind"),
]


class Connection(_Description):
    """Linear operations on what `source` sends (`input` or the name of a population)."""

    source: str
    operations: Annotated[tuple[Operation, ...], Field(max_length=MOST_OPERATIONS)] = ()

    def shapes(self, shape: Shape) -> Iterator[tuple[Operation, Shape]]:
        """Each operation with the shape that enters it; ValueError where one does not fit."""
        for operation in self.operations:
            yield operation, shape
            shape = operation.output_shape(shape)
            if prod(shape) > MOST_NUMBERS:
                raise ValueError(
                    f"a {operation.kind} gives {prod(shape):.3g} numbers for a sample; at most "
                    f"{MOST_NUMBERS:.3g} are computed"
                )

    def output_shape(self, shape: Shape) -> Shape:
        for operation, before in self.shapes(shape):
            shape = operation.output_shape(before)
        return shape


class Population(_Description):
    """Neurons that share their incoming connections; one bias per channel (or feature)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    connections: Annotated[tuple[Connection, ...], Field(min_length=1, max_length=MOST_CONNECTIONS)]
    relay: bool = False
    """Send the sum on without spiking. No feedback comes from a relay, which has no state."""

    @property
    def hears_input(self) -> bool:
        """Whether one of its connections comes from the input."""
        return any(connection.source == INPUT for connection in self.connections)


class Architecture(_Description):
    """A spiking network: populations in the order they are computed, and the readout.

    `populations` holds the relays as well, `spiking` those that fire. Raises ValueError
    (pydantic's ValidationError) when a shape does not fit or a name is unknown.
    """

    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
    populations: Annotated[tuple[Population, ...], Field(min_length=1, max_length=512)]
    readout: Population

    @model_validator(mode="after")
    def _fits(self) -> Architecture:
        self.shapes()
        if not self.spiking:
            raise ValueError("no layer of the network spikes")
        relays = {population.name for population in self.populations if population.relay}
        known = set()
        for population in self.populations:
            known.add(population.name)
            for source in (c.source for c in population.connections):
                if source in relays and (source not in known or source == population.name):
                    raise ValueError(
                        f"layer {population.name} gets feedback from {source}, which is a relay "
                        "and remembers nothing; let the feedback come from spiking layers"
                    )
        return self

    @property
    def spiking(self) -> tuple[Population, ...]:
        """The populations that have neurons, in order."""
        return tuple(population for population in self.populations if not population.relay)

    def shapes(self) -> dict[str, Shape]:
        """Shape of one sample of the input, of every population and of the readout, by name."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        sent = 0
        for population in (*self.populations, self.readout):
            if population.name in shapes:
                raise ValueError(f"two layers are named {population.name}")
            arriving = {
                c.output_shape(shapes[c.source])
                for c in population.connections
                if c.source in shapes
            }
            if len(arriving) != 1:
                raise ValueError(
                    f"layer {population.name} gets inputs of shapes {sorted(arriving)}"
                )
            shapes[population.name] = arriving.pop()
            sent += prod(shapes[population.name])
            if sent > MOST_NUMBERS:
                raise ValueError(
                    f"the layers have {sent:.3g} neurons; at most {MOST_NUMBERS:.3g} are computed"
                )
        for population in (*self.populations, self.readout):
            for connection in population.connections:
                if connection.source not in shapes or connection.source == self.readout.name:
                    raise ValueError(
                        f"layer {population.name} listens to {connection.source}, "
                        "which is no layer before the readout"
                    )
                if connection.output_shape(shapes[connection.source]) != shapes[population.name]:
                    raise ValueError(f"the feedback to {population.name} has another shape")
        return shapes

    @property
    def classes(self) -> int:
        return self.shapes()[self.readout.name][0]

    @property
    def has_feedback(self) -> bool:
        """Whether a population hears itself or a later one."""
        known = {INPUT}
        for population in self.populations:
            if any(c.source not in known for c in population.connections):
                return True
            known.add(population.name)
        return False

    @property
    def neurons(self) -> int:
        """Spiking neurons, all populations together."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.spiking)

    @property
    def relayed(self) -> int:
        """Numbers that all relays together send at a step."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.populations if p.relay)

    def weight_shapes(self) -> Iterator[Shape]:
        """Shape of every weight, in the order of the network's parameters."""
        shapes = self.shapes()
        for population in (*self.populations, self.readout):
            for connection in population.connections:
                for operation, before in connection.shapes(shapes[connection.source]):
                    if isinstance(operation, Conv | Linear):
                        yield operation.weight_shape(before)

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, gains (of channels and of branches) and biases."""
        shapes = self.shapes()
        count = sum(prod(shape) for shape in self.weight_shapes())
        for population in (*self.populations, self.readout):
            count += shapes[population.name][0]
            for connection in population.connections:
                for operation in connection.operations:
                    if isinstance(operation, Conv | Linear):
                        count += _out_channels(operation) if operation.standardised else 0
                        count += operation.residual_gain is not None
        return count


def weighted(connection: Connection) -> list[Conv | Linear]:
    """The operations of `connection` that have weights, in order."""
    return [op for op in connection.operations if isinstance(op, Conv | Linear)]


def _image(shape: Shape, who: str) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"{who} needs an image of C H W, not {shape}")
    return shape


def _check_standardised(standardised: bool, weight_shape: Shape) -> None:
    if standardised and prod(weight_shape[1:]) < 2:
        raise ValueError(
            "one weight alone cannot be standardised; let every output see two inputs or more"
        )


def _out_channels(operation: Conv | Linear) -> int:
    return operation.out_channels if isinstance(operation, Conv) else operation.out_features
