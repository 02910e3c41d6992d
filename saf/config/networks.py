"""The networks that a job can ask for and their settings; `saf.networks.build` builds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from saf.config.base import Auto, Strict

Channels = Annotated[int, Field(ge=1, le=4096)]
Features = Annotated[int, Field(ge=1, le=65_536)]
Width = Annotated[float, Field(gt=0, le=4)]


class _Gained(Strict):
    gain: Annotated[float, Field(gt=0, le=1000)] | Auto = "auto"
    """What the gains of the standardised weights start at. A number: that of every layer, times 1.3
    in `vgg16`; 1 is the published start. "auto": of each layer that on training samples, chosen by
    `seed`, it fires at a rate from which it can learn (`saf.training.first_pass`)."""


class ConvNet(_Gained):
    """Small convolutional network for images of any size."""

    name: Literal["convnet"] = "convnet"
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=8)] = (32, 64, 64)
    """Output channels of each spiking 3 × 3 convolution; a 2 × 2 pooling follows all but the last
    while the image has 4 pixels or more on a side."""
    pooling: Literal["average", "max"] = "average"
    """`max` is refused: the largest accumulation is not the accumulation of the largest, so the
    spikes would not be those of LIF neurons."""


class VGG11(_Gained):
    """VGG-11 of the OTTT paper: 64 128 P 256 256 P 512 512 P 512 512, for images of 16 × 16
    pixels or more."""

    name: Literal["vgg11"] = "vgg11"
    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""
    pooling: Literal["average", "max"] = "average"
    """`max` is refused, see `convnet`."""


class VGG11F(_Gained):
    """VGG-F of the OTTT paper: `vgg11` with a feedback connection from the last spiking layer to
    the first, a 3 × 3 convolution after upsampling. Square images, sides a multiple of 8."""

    name: Literal["vgg11-f"] = "vgg11-f"
    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""


class VGG16(_Gained):
    """VGG-16: 64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512, with the same
    standardisation and global pooling as `vgg11`, for images of 32 × 32 pixels or more. Its gains
    start at 1.3 times `gain`: from 1 the last layers would never fire."""

    name: Literal["vgg16"] = "vgg16"
    width: Width = 1.0
    """Factor on every number of channels."""


class _ResNet(_Gained):
    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""


class ResNet18(_ResNet):
    """ResNet-18 of the OTTT paper, free of normalisation, for images of 8 × 8 pixels or more: a
    7 × 7 convolution of stride 2 and a pooling first where a side is over 64 pixels, else 3 × 3."""

    name: Literal["resnet18"] = "resnet18"


class ResNet34(_ResNet):
    """As `resnet18`, with 16 residual blocks instead of 8: the network of OTTT on ImageNet."""

    name: Literal["resnet34"] = "resnet34"


class ResNet50(_ResNet):
    """As `resnet34`, each block three convolutions (1 × 1, 3 × 3, 1 × 1) with a bottleneck."""

    name: Literal["resnet50"] = "resnet50"


class MobileNet(_Gained):
    """MobileNet (v1): depthwise and pointwise convolutions in turn, a spiking layer before each, on
    a residual stream as in `resnet18`, for images of 8 × 8 pixels or more."""

    name: Literal["mobilenet"] = "mobilenet"
    width: Width = 1.0
    """Factor on every number of channels."""


class MLP(_Gained):
    """Fully connected spiking layers on the flattened image."""

    name: Literal["mlp"] = "mlp"
    features: Annotated[tuple[Features, ...], Field(min_length=1, max_length=16)] = (512, 512)
    """Neurons of each spiking layer."""


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
    """Pooling over windows of `kernel × kernel`; it belongs to the layer that follows."""

    kind: Literal["average_pool", "max_pool"] = "average_pool"
    """`max_pool` is refused, see `convnet`."""
    kernel: Annotated[int, Field(ge=2, le=64)] = 2


Layer = Annotated[ConvLayer | LinearLayer | PoolLayer, Field(discriminator="kind")]


class LayerList(_Gained):
    """A network of your own, layer by layer; the readout to the classes is added."""

    name: Literal["layers"] = "layers"
    layers: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=128)]


Network = Annotated[
    ConvNet | VGG11 | VGG11F | VGG16 | ResNet18 | ResNet34 | ResNet50 | MobileNet | MLP | LayerList,
    Field(discriminator="name"),
]
