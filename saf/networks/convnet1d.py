"""Convolutions along one dimension: over the channels of series, or along signals; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.networks import NETWORKS, Channels, Network
from saf.errors import NetworkError
from saf.networks.architecture import (
    Architecture,
    AveragePool1d,
    Conv1d,
    Flatten,
    InARow,
    Linear,
    Operation,
    Shape,
)
from saf.networks.chain import chained


@NETWORKS.add
class ConvNet1d(Network):
    """Convolutions of one dimension: of series over the channels of a time step, such as the bands
    of a spectrum or electrodes side by side, and of signals that are images one pixel high along
    their width (other images row by row). What happens over time is left to the neurons."""

    label: ClassVar[str] = "ConvNet of one dimension"
    place: ClassVar[int] = 94
    of_images: ClassVar[bool] = False

    name: Literal["convnet1d"] = "convnet1d"
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=8)] = (16, 32)
    """Output channels of each spiking convolution; a pooling over 2 places follows all but the last
    while there are 4 places or more."""
    kernel: Annotated[int, Field(ge=1, le=63)] = 5
    """Places that a convolution sees."""
    maps: Annotated[int, Field(ge=1, le=64)] = 1
    """How many values of series belong to each place: 2 where `input.encoding` is `onoff` or
    `delta`, whose channels are all of one sign and then all of the other."""

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        in_a_row = rows(input_shape, self.maps)
        places = in_a_row.output_shape(input_shape)[2]
        layers: list[list[Operation]] = []
        before: list[Operation] = [in_a_row]
        for channels in self.channels:
            conv = Conv1d(out_channels=channels, kernel=self.kernel, padding=self.kernel // 2)
            layers.append([*before, conv])
            places = conv.output_shape((1, 1, places))[2]
            before = [AveragePool1d()] if places >= 4 else []
            places //= 2 if before else 1
        return chained([*layers, [Flatten(), Linear(out_features=classes)]], input_shape)


def rows(shape: Shape, maps: int) -> InARow:
    """How samples of `shape`, C H W, become rows: a row for each channel of images, and `maps` of
    the channels of series. Raises NetworkError where these are not so many times `maps`."""
    channels, height, width = shape
    if height * width > 1:
        return InARow(maps=channels)
    if channels % maps:
        raise NetworkError(
            f"says {maps} values to a place, and {channels} channels are no whole number of places",
            pointer="/network/maps",
        )
    return InARow(maps=maps)
