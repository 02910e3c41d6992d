"""The linear operations of a connection, and the shapes that they make.

Shapes: `C H W` channels, height, width; `F` features.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Shape = tuple[int, ...]
Sides = tuple[int, int]  # of an image: height and width
Size = Annotated[int, Field(ge=1, le=1_000_000)]


class Description(BaseModel):
    """A part of an architecture, as JSON has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    of_rows: ClassVar[bool] = False
    """Whether an operation is of one dimension, for samples that are rows."""


class _Weighted(Description):
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
    def outputs(self) -> int:
        """Channels that it gives."""
        return self.out_channels

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

    @property
    def outputs(self) -> int:
        """Features that it gives."""
        return self.out_features


class _Pool(Description):
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


class Upsample(Description):
    """Every pixel repeated over a window of `factor × factor` (nearest neighbour)."""

    kind: Literal["upsample"] = "upsample"
    factor: Annotated[int, Field(ge=2, le=512)]

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = _image(shape, "upsampling")
        return (channels, height * self.factor, width * self.factor)


class Scale(Description):
    """Multiplication by a constant."""

    kind: Literal["scale"] = "scale"
    factor: float

    def output_shape(self, shape: Shape) -> Shape:
        return shape


class Flatten(Description):
    """`C H W → F`."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)


class InARow(Description):
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


def _image(shape: Shape, who: str) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"{who} needs an image of C H W, not {shape}")
    return shape


def _check_standardised(standardised: bool, weight_shape: Shape) -> None:
    if standardised and prod(weight_shape[1:]) < 2:
        raise ValueError(
            "one weight alone cannot be standardised; let every output see two inputs or more"
        )
