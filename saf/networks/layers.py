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
    Conv,
    Flatten,
    Linear,
    Operation,
    Shape,
)
from saf.networks.chain import MAX_POOLING, chained, is_without_place, output_shape


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


Layer = Annotated[ConvLayer | LinearLayer | PoolLayer, Field(discriminator="kind")]


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
    listed: Sequence[ConvLayer | LinearLayer | PoolLayer], input_shape: Shape
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
                case ConvLayer() if is_without_place(input_shape):
                    raise NetworkError(
                        "a convolution sees the places of an image, and the data set has values "
                        'of channels alone; use {"kind": "linear", "features": 128}',
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
        if not isinstance(layer, PoolLayer):
            layers.append(before)
            before = []
    if not layers:
        raise NetworkError("the list has no layer of neurons; add one", pointer="/network/layers")
    return layers, before
