"""A network of one's own, layer by layer; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

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
    LayerDescription,
    Linear,
    Operation,
    Shape,
)
from saf.networks.chain import (
    MAX_POOLING,
    chained,
    is_without_place,
    output_shape,
)
from saf.networks.convnet1d import rows
from saf.networks.delay import Delays, KernelWidth, delayed
from saf.networks.rnn import RecurrentScale, recurrent


class _OverTime(Strict):
    """What a layer hears of the time steps before, for data in time."""

    recurrent: bool = False
    """Whether the layer also gets its own spikes of the time step before, by weights that start at
    0."""
    recurrent_scale: RecurrentScale = 1.0
    """As in `rnn`."""
    delays: Delays = (0,)
    """Time steps after which what the layer hears arrives, as in `delay`; 0 is one of them."""
    learned_delays: bool = False
    """As `learned` of `delay`."""
    kernel_width: KernelWidth = 0.5
    """As in `delay`."""

    @model_validator(mode="after")
    def _hears_itself(self) -> Self:
        if self.recurrent_scale != 1 and not self.recurrent:
            raise ValueError(
                f"recurrent_scale is {self.recurrent_scale:g}, and the layer does not hear itself; "
                "set recurrent to true, or leave recurrent_scale out"
            )
        return self

    def heard(self, forward: LayerDescription) -> LayerDescription:
        """`forward`, which hears the layer before it at once, with these connections."""
        (at_once,) = forward.connections
        connections = delayed(at_once, self.delays, self.learned_delays, self.kernel_width)
        heard = forward.model_copy(update={"connections": connections})
        if not self.recurrent:
            return heard
        return recurrent(heard, _to_itself(at_once.operations[-1]), self.recurrent_scale)


def _to_itself(operation: Operation) -> Operation:
    """A map from the output of a map to itself: a matrix, or a convolution of as large a kernel,
    made odd."""
    if not isinstance(operation, Conv):
        assert isinstance(operation, Linear)
        return Linear(out_features=operation.out_features)
    return type(operation)(
        out_channels=operation.out_channels,
        kernel=2 * (operation.kernel // 2) + 1,
        padding=operation.kernel // 2,
        groups=operation.groups,
        standardised=False,
    )


class ConvLayer(_OverTime):
    """A convolution and a layer of spiking neurons."""

    kind: Literal["conv"] = "conv"
    channels: Channels
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    padding: Annotated[int, Field(ge=0, le=15)] | None = None
    """null: half the kernel."""
    groups: Channels = 1
    """As many as there are channels: a depthwise convolution."""


class Conv1dLayer(_OverTime):
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


class LinearLayer(_OverTime):
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
        forward = chained([*layers, readout], input_shape)
        asked = [layer for layer in self.layers if isinstance(layer, _OverTime)]
        return Architecture(
            input_shape=input_shape,
            layers=tuple(
                own.heard(layer) for own, layer in zip(asked, forward.layers, strict=True)
            ),
            readout=forward.readout,
        )


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
