"""A network of one's own, layer by layer; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from saf.config.base import Strict
from saf.config.networks import NETWORKS, Channels, Features, Network
from saf.errors import NetworkError
from saf.networks.architecture import (
    Architecture,
    AveragePool,
    AveragePool1d,
    Conv,
    Conv1d,
    Flatten,
    Linear,
    Operation,
    Shape,
)
from saf.networks.chain import MAX_POOLING, chained, is_without_place, output_shape
from saf.networks.convnet1d import rows


class ConvLayer(Strict):
    """A convolution and a layer of spiking neurons."""

    kind: Literal["conv"] = "conv"
    channels: Channels
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    padding: Annotated[int, Field(ge=0, le=15)] | None = None
    """null: half the kernel."""
    groups: Channels = 1
    """As many as there are channels: a depthwise convolution."""


class Conv1dLayer(Strict):
    """A convolution of one dimension, over the channels of series or along images one pixel high,
    and a layer of spiking neurons."""

    kind: Literal["conv1d"] = "conv1d"
    channels: Channels
    kernel: Annotated[int, Field(ge=1, le=63)] = 5
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    padding: Annotated[int, Field(ge=0, le=63)] | None = None
    """null: half the kernel."""
    maps: Annotated[int, Field(ge=1, le=64)] = 1
    """Of the first layer on series: values of a place, 2 with the encodings `onoff` and `delta`."""


class LinearLayer(Strict):
    """A fully connected map on all that came before and a layer of spiking neurons."""

    kind: Literal["linear"] = "linear"
    features: Features


class PoolLayer(Strict):
    """Pooling over windows of `kernel × kernel`; it belongs to the layer that follows, at the end
    of the list to the readout."""

    kind: Literal["average_pool", "max_pool"] = "average_pool"
    """`max_pool` is refused, see `convnet`."""
    kernel: Annotated[int, Field(ge=2, le=64)] = 2


class Pool1dLayer(Strict):
    """Average pooling over `kernel` places of a row; it belongs to the layer that follows."""

    kind: Literal["average_pool1d"] = "average_pool1d"
    kernel: Annotated[int, Field(ge=2, le=64)] = 2


Listed = ConvLayer | Conv1dLayer | LinearLayer | PoolLayer | Pool1dLayer
Layer = Annotated[Listed, Field(discriminator="kind")]


@NETWORKS.add
class LayerList(Network):
    """A network of your own, layer by layer; the readout to the classes is added."""

    label: ClassVar[str] = "Layers of your own"
    place: ClassVar[int] = 100
    own_layers: ClassVar[bool] = True
    of_images: ClassVar[bool] = False

    name: Literal["layers"] = "layers"
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=128)]

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        layers, readout = _listed(self.layers, input_shape)
        if len(output_shape([*layers, readout], input_shape)) == 3:
            readout.append(Flatten())
        readout.append(Linear(out_features=classes))
        return chained([*layers, readout], input_shape)


def _listed(
    listed: Sequence[Listed], input_shape: Shape
) -> tuple[list[list[Operation]], list[Operation]]:
    """One list of operations for each spiking layer, and those before the readout; a pooling goes
    to the layer after it."""
    layers: list[list[Operation]] = []
    before: list[Operation] = []
    shape = input_shape
    for number, layer in enumerate(listed):
        pointer = f"/network/layers/{number}"
        try:
            match layer:
                case PoolLayer(kind="max_pool"):
                    raise NetworkError(MAX_POOLING, pointer=f"{pointer}/kind")
                case PoolLayer():
                    before.append(AveragePool(kernel=layer.kernel))
                case Pool1dLayer():
                    before.append(AveragePool1d(kernel=layer.kernel))
                case Conv1dLayer():
                    if not layers and not before:
                        before.append(rows(shape, layer.maps))
                        shape = before[-1].output_shape(shape)
                    padding = layer.kernel // 2 if layer.padding is None else layer.padding
                    before.append(
                        Conv1d(
                            out_channels=layer.channels,
                            kernel=layer.kernel,
                            stride=layer.stride,
                            padding=padding,
                        )
                    )
                case ConvLayer() if is_without_place(input_shape):
                    raise NetworkError(
                        "a convolution sees the places of an image, and the data set has values "
                        'of channels alone; use {"kind": "linear", "features": 128}, or a '
                        'convolution over the channels, {"kind": "conv1d", "channels": 16}',
                        pointer=f"{pointer}/kind",
                    )
                case ConvLayer():
                    padding = layer.kernel // 2 if layer.padding is None else layer.padding
                    before.append(
                        Conv(
                            out_channels=layer.channels,
                            kernel=layer.kernel,
                            stride=layer.stride,
                            padding=padding,
                            groups=layer.groups,
                        )
                    )
                case LinearLayer():
                    if len(shape) == 3:
                        before.append(Flatten())
                        shape = before[-1].output_shape(shape)
                    standardised = bool(layers) or not is_without_place(input_shape)
                    before.append(Linear(out_features=layer.features, standardised=standardised))
            shape = before[-1].output_shape(shape)
        except NetworkError:
            raise
        except ValueError as error:
            raise NetworkError(str(error), pointer=pointer) from error
        if not isinstance(layer, PoolLayer | Pool1dLayer):
            layers.append(before)
            before = []
    if not layers:
        raise NetworkError("the list has no layer of neurons; add one", pointer="/network/layers")
    return layers, before
