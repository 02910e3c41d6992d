"""VGG networks with global pooling; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from saf.config.networks import NETWORKS, Network, Width
from saf.errors import NetworkError
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    Linear,
    Operation,
    Scale,
    Shape,
    Upsample,
)
from saf.networks.chain import (
    MAX_POOLING,
    RATE_OF_DEEP,
    SPIKE_SCALE,
    chained,
    output_shape,
    pooled,
    scaled,
)

VGG11_PLAN = (64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512)
DEEP_GAIN = 1.3
"""What the gains of VGG-16 start at. From 1 each layer fires less than the one before, and the last
ones never; from 1.3 all fire at about the same rate."""
VGG16_PLAN = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512)


@NETWORKS.add
class VGG11(Network):
    """VGG-11 of the OTTT paper: 64 128 P 256 256 P 512 512 P 512 512, for images of 16 × 16
    pixels or more."""

    label: ClassVar[str] = "VGG-11"
    place: ClassVar[int] = 20
    sides: ClassVar[tuple[int, int]] = (16, 512)
    suggested: ClassVar[bool] = True

    name: Literal["vgg11"] = "vgg11"
    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""
    pooling: Literal["average", "max"] = "average"
    """`max` is refused, see `convnet`."""

    @property
    def rate(self) -> float:
        return RATE_OF_DEEP

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        if self.pooling == "max":
            raise NetworkError(MAX_POOLING, pointer="/network/pooling")
        return _vgg(VGG11_PLAN, self.width, input_shape, classes)


@NETWORKS.add
class VGG11F(Network):
    """VGG-F of the OTTT paper: `vgg11` with a feedback connection from the last spiking layer to
    the first, a 3 × 3 convolution after upsampling. Square images, sides a multiple of 8."""

    label: ClassVar[str] = "VGG-F"
    place: ClassVar[int] = 30
    sides: ClassVar[tuple[int, int]] = (16, 512)

    name: Literal["vgg11-f"] = "vgg11-f"
    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""

    @property
    def rate(self) -> float:
        return RATE_OF_DEEP

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        return _with_feedback(_vgg(VGG11_PLAN, self.width, input_shape, classes))


@NETWORKS.add
class VGG16(Network):
    """VGG-16: 64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512, with the same
    standardisation and global pooling as `vgg11`, for images of 32 × 32 pixels or more. Its gains
    start at 1.3 times `gain`: from 1 the last layers would never fire."""

    label: ClassVar[str] = "VGG-16"
    place: ClassVar[int] = 40
    sides: ClassVar[tuple[int, int]] = (32, 512)
    suggested: ClassVar[bool] = True

    name: Literal["vgg16"] = "vgg16"
    width: Width = 1.0
    """Factor on every number of channels."""

    @property
    def rate(self) -> float:
        return RATE_OF_DEEP

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        return _vgg(VGG16_PLAN, self.width, input_shape, classes, DEEP_GAIN)


def _vgg(
    plan: Sequence[int | str],
    width: float,
    input_shape: Shape,
    classes: int,
    initial_gain: float = 1.0,
) -> Architecture:
    layers: list[list[Operation]] = []
    pool: list[Operation] = []
    for entry in plan:
        if isinstance(entry, str):
            pool = [AveragePool()]
        else:
            convolution = Conv(out_channels=scaled(entry, width), initial_gain=initial_gain)
            layers.append([*pool, convolution])
            pool = []
    last = output_shape(layers, input_shape)
    readout = [*pooled(last), Flatten(), Linear(out_features=classes)]
    return chained([*layers, readout], input_shape)


def _with_feedback(architecture: Architecture) -> Architecture:
    """`architecture` with a connection from its last spiking layer to its first, as in VGG-F of
    arXiv 2210.04195: upsampled to the first layer's size, then a plain 3 × 3 convolution."""
    first, last = architecture.layers[0], architecture.layers[-1]
    shapes = architecture.shapes()
    (channels, height, width), (_, small, narrow) = shapes[first.name], shapes[last.name]
    if height != width or height % small or height // small < 2:
        raise NetworkError(
            f"the feedback of {small} × {narrow} pixels cannot be upsampled to {height} × {width}; "
            "crop or pad the images to squares whose sides are a multiple of 8"
        )
    feedback = Connection(
        source=last.name,
        operations=(
            Scale(factor=SPIKE_SCALE),
            Upsample(factor=height // small),
            Conv(out_channels=channels, standardised=False),
        ),
    )
    heard = first.model_copy(update={"connections": (*first.connections, feedback)})
    return Architecture(
        input_shape=architecture.input_shape,
        layers=(heard, *architecture.layers[1:]),
        readout=architecture.readout,
    )
