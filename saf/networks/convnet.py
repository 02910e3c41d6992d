"""A small convolutional network; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.networks import NETWORKS, Channels, Network
from saf.errors import NetworkError
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    Conv,
    Flatten,
    Linear,
    Operation,
    Shape,
)
from saf.networks.chain import DEEP, MAX_POOLING, RATE_OF_DEEP, chained, output_shape


@NETWORKS.add
class ConvNet(Network):
    """Small convolutional network for images of any size."""

    label: ClassVar[str] = "ConvNet"
    place: ClassVar[int] = 10
    suggested: ClassVar[bool] = True

    name: Literal["convnet"] = "convnet"
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=8)] = (32, 64, 64)
    """Output channels of each spiking 3 × 3 convolution; a 2 × 2 pooling follows all but the last
    while the image has 4 pixels or more on a side."""
    pooling: Literal["average", "max"] = "average"
    """`max` is refused: the largest accumulation is not the accumulation of the largest, so the
    spikes would not be those of LIF neurons."""

    @property
    def rate(self) -> float:
        return RATE_OF_DEEP if len(self.channels) >= DEEP else super().rate

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        if self.pooling == "max":
            raise NetworkError(MAX_POOLING, pointer="/network/pooling")
        layers = _convnet(self.channels, input_shape)
        readout: list[Operation] = [Linear(out_features=classes)]
        if len(output_shape(layers, input_shape)) == 3:
            readout.insert(0, Flatten())
        return chained([*layers, readout], input_shape)


def _convnet(channels: Sequence[int], input_shape: Shape) -> list[list[Operation]]:
    side = min(input_shape[1:])
    layers: list[list[Operation]] = [[Conv(out_channels=channels[0])]]
    for number in channels[1:]:
        pool: list[Operation] = []
        if side >= 4:
            pool.append(AveragePool())
            side //= 2
        layers.append([*pool, Conv(out_channels=number)])
    return layers
