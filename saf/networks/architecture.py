"""The architecture of a network, without its weights: layers and the connections between them.

A layer is a group of spiking neurons. Their input current is the sum of the layer's connections
plus a bias. A connection is a chain of linear operations on the output of another layer, or of the
input. A relay is a layer without neurons: its output is that sum, so that a residual stream is
added up once and not once for each layer that reads it. The readout does not spike either. A
connection from an earlier layer is a forward or a skip connection; from the same or a later one it
is feedback and carries the accumulation of the time step before. A connection may have a delay of
several time steps, and learn the delay of each of its weights.

This module loads no torch: the API checks shapes, counts parameters and forecasts memory with it,
`saf.model.network` gives the same description its weights, and the header of `lif.safetensors`
holds it.

Shapes: `C H W` channels, height, width; `F` features.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Shape = tuple[int, ...]
Sides = tuple[int, int]  # of an image: height and width
Size = Annotated[int, Field(ge=1, le=1_000_000)]
INPUT = "input"
MOST_OPERATIONS, MOST_CONNECTIONS = 64, 512  # of a connection, and of a layer
MOST_DELAY = 1000  # time steps
MOST_TAPS = 64  # further ones of a learned delay
MOST_NUMBERS = 2**30  # of one sample: of a map's output, and of the outputs of all layers


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    of_rows: ClassVar[bool] = False
    """Whether an operation is of one dimension, for samples that are rows."""


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
        kernel = self.window
        if channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {channels} channels")
        _check_standardised(self.standardised, self.weight_shape(shape))
        sizes = zip(sides, kernel, self.strides, self.paddings, strict=True)
        sides = [(n + 2 * padding - k) // stride + 1 for n, k, stride, padding in sizes]
        if min(sides) < 1:
            raise ValueError(f"a {kernel[0]} × {kernel[1]} kernel does not fit into {shape}")
        return (self.out_channels, *sides)

    def weight_shape(self, shape: Shape) -> Shape:
        return (self.out_channels, shape[0] // self.groups, *self.window)

    @property
    def window(self) -> Sides:
        """The kernel, in height and width; so are the next two."""
        return (self.kernel, self.kernel)

    @property
    def strides(self) -> Sides:
        return (self.stride, self.stride)

    @property
    def paddings(self) -> Sides:
        return (self.padding, self.padding)


class Conv1d(Conv):
    """Convolution along the width alone, `C H W` with H = 1 of series: a kernel of 1 × `kernel`."""

    of_rows: ClassVar[bool] = True

    kind: Literal["conv1d"] = "conv1d"  # type: ignore[assignment]

    @property
    def window(self) -> Sides:
        return (1, self.kernel)

    @property
    def strides(self) -> Sides:
        return (1, self.stride)

    @property
    def paddings(self) -> Sides:
        return (0, self.padding)


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
        channels, height, width = _image(shape, "pooling")
        high, wide = self.window
        if height < high or width < wide:
            raise ValueError(f"a {high} × {wide} pooling does not fit into {shape}")
        return (channels, height // high, width // wide)

    @property
    def window(self) -> Sides:
        """Height and width of what is added up."""
        return (self.kernel, self.kernel)


class AveragePool(_Pool):
    """Mean over windows of `kernel × kernel`, stride `kernel`; an incomplete one is dropped."""

    kind: Literal["average_pool"] = "average_pool"


class SumPool(_Pool):
    """As `AveragePool`, the sum instead of the mean: what is left once the factor is folded."""

    kind: Literal["sum_pool"] = "sum_pool"


class AveragePool1d(AveragePool):
    """Mean over windows of `kernel` along the width alone."""

    of_rows: ClassVar[bool] = True

    kind: Literal["average_pool1d"] = "average_pool1d"  # type: ignore[assignment]

    @property
    def window(self) -> Sides:
        return (1, self.kernel)


class SumPool1d(SumPool):
    """As `AveragePool1d`, the sum instead of the mean."""

    of_rows: ClassVar[bool] = True

    kind: Literal["sum_pool1d"] = "sum_pool1d"  # type: ignore[assignment]

    @property
    def window(self) -> Sides:
        return (1, self.kernel)


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


class InARow(_Description):
    """The numbers of a sample in their order as `maps` rows: `F → maps 1 F/maps`, from `C H W` as
    flattened. Along such a row a convolution of one dimension sees the channels of series."""

    of_rows: ClassVar[bool] = True

    kind: Literal["in_a_row"] = "in_a_row"
    maps: Size = 1

    def output_shape(self, shape: Shape) -> Shape:
        count = prod(shape)
        if count % self.maps:
            raise ValueError(f"{count} numbers are no {self.maps} rows of equal length")
        return (self.maps, 1, count // self.maps)


Operation = Annotated[
    Conv
    | Conv1d
    | Linear
    | AveragePool
    | AveragePool1d
    | SumPool
    | SumPool1d
    | Upsample
    | Scale
    | Flatten
    | InARow,
    Field(discriminator="kind"),
]


class LearnedDelay(_Description):
    """A delay of each weight of a map that is learned with it: at centre c, which is a parameter,
    the weight w is spread over the taps d = 0 … `span` as w exp(−(d − c)² / 2 width²) / Σ, which
    adds up to w; a narrow kernel, as in DCLS (Hammouamri et al., arXiv 2306.17670)."""

    span: Annotated[int, Field(ge=1, le=MOST_TAPS)]
    """The last tap, in time steps behind the delay of the connection."""
    width: Annotated[float, Field(ge=0.1, le=64)] = 0.5
    """Standard deviation of the kernel, in time steps."""


class Connection(_Description):
    """Linear operations on the output of `source` (`input` or the name of a layer)."""

    source: str
    operations: Annotated[tuple[Operation, ...], Field(max_length=MOST_OPERATIONS)] = ()
    delay: Annotated[int, Field(ge=0, le=MOST_DELAY)] = 0
    """Time steps after which what the source sends arrives. Feedback takes one step at least: 0 and
    1 mean the same there."""
    learned_delay: LearnedDelay | None = None
    """What the weights of the last map have beside that; null: nothing."""

    @model_serializer(mode="wrap")
    def _without_no_delay(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a delay that is none, so that files of networks without delays stay what they
        were."""
        written: dict[str, Any] = handler(self)
        for name in ("delay", "learned_delay"):
            if not written.get(name):
                written.pop(name, None)
        return written

    @model_validator(mode="after")
    def _has_weights_to_delay(self) -> Connection:
        if self.learned_delay is not None and not weighted(self):
            raise ValueError("a connection without weights has no delays to learn")
        return self

    @property
    def taps(self) -> tuple[int, ...]:
        """Delays with which the source is heard."""
        span = 0 if self.learned_delay is None else self.learned_delay.span
        return tuple(range(self.delay, self.delay + span + 1))

    def at_each_tap(self) -> tuple[Connection, ...]:
        """The connections with one delay each that it becomes once its delays are learned."""
        if self.learned_delay is None:
            return (self,)
        return tuple(
            self.model_copy(update={"delay": delay, "learned_delay": None}) for delay in self.taps
        )

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


class LayerDescription(_Description):
    """A layer: neurons with the same connections, and one bias per channel (or feature)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    connections: Annotated[tuple[Connection, ...], Field(min_length=1, max_length=MOST_CONNECTIONS)]
    relay: bool = False
    """Whether the output is the sum itself, without spikes. A relay has no state, so no feedback
    comes from it."""

    @property
    def reads_input(self) -> bool:
        """Whether one of its connections comes from the input."""
        return any(connection.source == INPUT for connection in self.connections)


class Architecture(_Description):
    """A spiking network: layers in the order in which they are computed, and the readout.

    `layers` includes relays; `spiking` are the layers with neurons. Raises ValueError (pydantic's
    ValidationError) when a shape does not fit or a name is unknown.
    """

    input_shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=3)]
    layers: Annotated[tuple[LayerDescription, ...], Field(min_length=1, max_length=512)]
    readout: LayerDescription

    @model_validator(mode="after")
    def _fits(self) -> Architecture:
        self.shapes()
        if not self.spiking:
            raise ValueError("no layer of the network spikes")
        if any(connection.taps != (0,) for connection in self.readout.connections):
            raise ValueError("the readout hears its sources without a delay")
        relays = {layer.name for layer in self.layers if layer.relay}
        known = {INPUT}
        for layer in self.layers:
            known.add(layer.name)
            for source in (c.source for c in layer.connections):
                if source in relays and (source not in known or source == layer.name):
                    raise ValueError(
                        f"layer {layer.name} gets feedback from {source}, which is a relay "
                        "and remembers nothing; let the feedback come from spiking layers"
                    )
            for connection in layer.connections:
                is_feedback = connection.source not in known or connection.source == layer.name
                if is_feedback and connection.learned_delay and not connection.delay:
                    raise ValueError("learned delays of feedback begin at a delay of 1")
        return self

    @property
    def spiking(self) -> tuple[LayerDescription, ...]:
        """The layers that have neurons, in order."""
        return tuple(layer for layer in self.layers if not layer.relay)

    def shapes(self) -> dict[str, Shape]:
        """Shape of one sample of the input, of every layer and of the readout, by name."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        sent = 0
        for layer in (*self.layers, self.readout):
            if layer.name in shapes:
                raise ValueError(f"two layers are named {layer.name}")
            arriving = {
                c.output_shape(shapes[c.source]) for c in layer.connections if c.source in shapes
            }
            if len(arriving) != 1:
                raise ValueError(f"layer {layer.name} gets inputs of shapes {sorted(arriving)}")
            shapes[layer.name] = arriving.pop()
            sent += prod(shapes[layer.name])
            if sent > MOST_NUMBERS:
                raise ValueError(
                    f"the layers have {sent:.3g} neurons; at most {MOST_NUMBERS:.3g} are computed"
                )
        for layer in (*self.layers, self.readout):
            for connection in layer.connections:
                if connection.source not in shapes or connection.source == self.readout.name:
                    raise ValueError(
                        f"layer {layer.name} listens to {connection.source}, "
                        "which is no layer before the readout"
                    )
                if connection.output_shape(shapes[connection.source]) != shapes[layer.name]:
                    raise ValueError(f"the feedback to {layer.name} has another shape")
        return shapes

    @property
    def classes(self) -> int:
        return self.shapes()[self.readout.name][0]

    @property
    def has_feedback(self) -> bool:
        """Whether a connection leads to a layer from itself or from a later one."""
        known = {INPUT}
        for layer in self.layers:
            if any(c.source not in known for c in layer.connections):
                return True
            known.add(layer.name)
        return False

    @property
    def delays(self) -> dict[str, int]:
        """The longest delay with which the output of a layer, or the input, is read: by its name,
        of those that are read with one."""
        longest: dict[str, int] = {}
        for connection in (c for layer in self.layers for c in layer.connections):
            if last := connection.taps[-1]:
                longest[connection.source] = max(longest.get(connection.source, 0), last)
        return longest

    def at_each_tap(self) -> Architecture:
        """The architecture with a connection for each tap of learned delays."""
        layers = tuple(
            layer.model_copy(
                update={
                    "connections": tuple(c for of in layer.connections for c in of.at_each_tap())
                }
            )
            for layer in self.layers
        )
        return self.model_copy(update={"layers": layers})

    @property
    def neurons(self) -> int:
        """Spiking neurons, all layers together."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.spiking)

    @property
    def relayed(self) -> int:
        """Size of the outputs of all relays together, for one sample and time step."""
        shapes = self.shapes()
        return sum(prod(shapes[p.name]) for p in self.layers if p.relay)

    def weight_shapes(self) -> Iterator[Shape]:
        """Shape of every weight, in the order of the network's parameters."""
        shapes = self.shapes()
        for layer in (*self.layers, self.readout):
            for connection in layer.connections:
                for operation, before in connection.shapes(shapes[connection.source]):
                    if isinstance(operation, Conv | Linear):
                        yield operation.weight_shape(before)

    @property
    def parameters(self) -> int:
        """Trainable numbers: weights, their centres in time, gains (of channels and of branches)
        and biases."""
        shapes = self.shapes()
        count = sum(prod(shape) for shape in self.weight_shapes())
        for layer in (*self.layers, self.readout):
            count += shapes[layer.name][0]
            for connection in layer.connections:
                if connection.learned_delay is not None:
                    count += self._delayed(connection, shapes)
                for operation in connection.operations:
                    if isinstance(operation, Conv | Linear):
                        count += _out_channels(operation) if operation.standardised else 0
                        count += operation.residual_gain is not None
        return count

    @staticmethod
    def _delayed(connection: Connection, shapes: dict[str, Shape]) -> int:
        """Weights of a connection that have a delay of their own."""
        of_maps = [
            operation.weight_shape(before)
            for operation, before in connection.shapes(shapes[connection.source])
            if isinstance(operation, Conv | Linear)
        ]
        return prod(of_maps[-1])

    @property
    def tap_weights(self) -> int:
        """Numbers that the weights of learned delays become at all taps together."""
        shapes = self.shapes()
        return sum(
            len(connection.taps) * self._delayed(connection, shapes)
            for layer in self.layers
            for connection in layer.connections
            if connection.learned_delay is not None
        )


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
