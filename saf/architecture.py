"""What a network is made of, without its weights: populations of neurons and linear maps.

A population is a layer of spiking neurons. Its potential is the sum of its connections plus a
bias; a connection is a chain of linear operations applied to what another population (or the
input) sends. The readout has connections too and does not spike. A connection from an earlier
population is a forward or a skip connection; from the same or a later one it is feedback and
carries the accumulation of the step before.

This module loads no torch: the API checks shapes, counts parameters and forecasts memory with it,
`saf.network` gives the same description its weights, and the header of `lif.safetensors` holds it.

Shapes: `C H W` channels, height, width; `F` features.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from saf.config import ConvNet, JobSpecification, Network

Shape = tuple[int, ...]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
INPUT = "input"
SPIKE_SCALE = 2.74  # after every spiking layer, as published with OTTT
MAX_SIDE_CONVNET = 64
MAX_SIDE = 512
MAX_CHANNELS = 64
MAX_CLASSES = 10_000


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Conv(_Description):
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
        sides = [(n + 2 * self.padding - self.kernel) // self.stride + 1 for n in sides]
        if min(sides) < 1:
            raise ValueError(f"a {self.kernel} × {self.kernel} kernel does not fit into {shape}")
        return (self.out_channels, *sides)

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, shape[0] // self.groups, self.kernel, self.kernel)


class Linear(_Description):
    """Fully connected map; weights `out_features, F`."""

    kind: Literal["linear"] = "linear"
    out_features: Size
    standardised: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ValueError(f"a linear layer needs a flat input, not {shape}")
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
    Conv | Linear | AveragePool | SumPool | Scale | Flatten, Field(discriminator="kind")
]


class Connection(_Description):
    """Linear operations on what `source` sends (`input` or the name of a population)."""

    source: str
    operations: tuple[Operation, ...] = ()

    def shapes(self, shape: Shape) -> Iterator[tuple[Operation, Shape]]:
        """Each operation with the shape that enters it; ValueError where one does not fit."""
        for operation in self.operations:
            yield operation, shape
            shape = operation.output_shape(shape)

    def output_shape(self, shape: Shape) -> Shape:
        for operation, before in self.shapes(shape):
            shape = operation.output_shape(before)
        return shape


class Population(_Description):
    """Neurons that share their incoming connections; one bias per channel (or feature)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    connections: Annotated[tuple[Connection, ...], Field(min_length=1)]


class Architecture(_Description):
    """A spiking network: populations in the order they are computed, and the readout.

    Raises ValueError (pydantic's ValidationError) when a shape does not fit or a name is unknown.
    """

    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
    populations: Annotated[tuple[Population, ...], Field(min_length=1, max_length=512)]
    readout: Population

    @model_validator(mode="after")
    def _fits(self) -> Architecture:
        self.shapes()
        return self

    def shapes(self) -> dict[str, Shape]:
        """Shape of one sample of the input, of every population and of the readout, by name."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
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
        return sum(prod(shapes[p.name]) for p in self.populations)

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
        """Trainable numbers: weights, gains and biases."""
        shapes = self.shapes()
        count = sum(prod(shape) for shape in self.weight_shapes())
        for population in (*self.populations, self.readout):
            count += shapes[population.name][0]
            for connection in population.connections:
                for operation in connection.operations:
                    if isinstance(operation, Conv | Linear) and operation.standardised:
                        count += _out_channels(operation)
        return count


def _image(shape: Shape, who: str) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"{who} needs an image of C H W, not {shape}")
    return shape


def _chain(operations: list[list[Operation]], input_shape: Shape) -> Architecture:
    """Populations one after the other; the last entry of `operations` leads to the readout."""
    populations = []
    source = INPUT
    for number, chain in enumerate(operations, start=1):
        last = number == len(operations)
        name = "readout" if last else f"layer{number}"
        scale: list[Operation] = [] if source == INPUT else [Scale(factor=SPIKE_SCALE)]
        connection = Connection(source=source, operations=(*scale, *chain))
        populations.append(Population(name=name, connections=(connection,)))
        source = name
    return Architecture(
        input_shape=input_shape, populations=tuple(populations[:-1]), readout=populations[-1]
    )


def _out_channels(operation: Conv | Linear) -> int:
    return operation.out_channels if isinstance(operation, Conv) else operation.out_features


def build(network: Network, input_shape: Shape, classes: int) -> Architecture:
    """The architecture that `network` asks for on samples of `input_shape` (C H W).

    Raises ValueError, with what to change, where the network cannot take such samples or where
    it would break the identity between SAF and LIF neurons.
    """
    if network.pooling == "max":
        raise ValueError(
            "max pooling breaks the identity between SAF and LIF neurons (the largest "
            'accumulation is not the accumulation of the largest); use "average"'
        )
    if len(input_shape) != 3:
        raise ValueError(
            f"{network.name} takes images of C H W, and the data set has {input_shape}"
        )
    channels, height, width = input_shape
    small, large = (8, MAX_SIDE_CONVNET) if isinstance(network, ConvNet) else (16, MAX_SIDE)
    if not (small <= min(height, width) and max(height, width) <= large):
        other = "vgg11" if isinstance(network, ConvNet) and min(height, width) >= 16 else ""
        remedy = f"; use {other}, or resize the images" if other else "; resize the images"
        raise ValueError(
            f"{network.name} takes images of {small} to {large} pixels a side, and the data set "
            f"has {height} × {width}{remedy}"
        )
    if channels > MAX_CHANNELS:
        raise ValueError(f"{network.name} takes 1 to {MAX_CHANNELS} channels, not {channels}")
    if not 2 <= classes <= MAX_CLASSES:
        raise ValueError(f"a data set needs 2 to {MAX_CLASSES} classes, not {classes}")
    if isinstance(network, ConvNet):
        return _convnet(network, input_shape, classes)
    return _vgg11(network.width, input_shape, classes)


def _convnet(network: ConvNet, input_shape: Shape, classes: int) -> Architecture:
    side = min(input_shape[1:])
    layers: list[list[Operation]] = [[Conv(out_channels=network.channels[0])]]
    for channels in network.channels[1:]:
        chain: list[Operation] = []
        if side >= 4:
            chain.append(AveragePool())
            side //= 2
        layers.append([*chain, Conv(out_channels=channels)])
    layers.append([Flatten(), Linear(out_features=classes)])
    return _chain(layers, input_shape)


def _vgg11(width: float, input_shape: Shape, classes: int) -> Architecture:
    layers: list[list[Operation]] = []
    pool: list[Operation] = []
    shape = input_shape
    for entry in (64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512):
        if entry == "P":
            pool = [AveragePool()]
            shape = AveragePool().output_shape(shape)
            continue
        layers.append([*pool, Conv(out_channels=max(1, round(width * int(entry))))])
        pool = []
    if shape[1] != shape[2]:
        raise ValueError("vgg11 ends in a global pooling of square images; crop or pad the images")
    layers.append([AveragePool(kernel=shape[1]), Flatten(), Linear(out_features=classes)])
    return _chain(layers, input_shape)


class Forecast(_Description):
    """What a job will need, before it runs."""

    parameters: int
    neurons: int
    memory_bytes: int
    """Estimate of the peak of a training process, without the interpreter and the libraries."""
    largest_batch: int
    """The largest batch that stays below the limit asked about."""


def forecast(
    specification: JobSpecification, architecture: Architecture, *, limit_bytes: int
) -> Forecast:
    """Estimate the memory of a training on `architecture`, and the batch that fits `limit_bytes`.

    Per neuron and sample a step keeps about six numbers (potential, accumulation, derivative,
    scaled copy and their gradients); bptt keeps them for every one of the T steps.
    """
    number = {"float64": 8, "float32": 4, "bfloat16": 2}[specification.precision]
    optimizer_states = 1 if specification.optimizer.name == "sgd" else 2
    fixed = architecture.parameters * 4 * (3 + optimizer_states)
    kept_steps = specification.timesteps if specification.method.name == "bptt" else 1
    per_sample = 6 * number * architecture.neurons * kept_steps
    per_sample += 8 * number * prod(architecture.input_shape)
    return Forecast(
        parameters=architecture.parameters,
        neurons=architecture.neurons,
        memory_bytes=fixed + per_sample * specification.batch_size,
        largest_batch=max(0, (limit_bytes - fixed) // per_sample),
    )
