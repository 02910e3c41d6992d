"""Residual networks as published with OTTT for ImageNet; no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.config.networks import NETWORKS, Network, Width
from saf.networks.architecture import Architecture, AveragePool, Conv, Operation, Shape
from saf.networks.chain import scaled
from saf.networks.residual import residual

CHANNELS = (64, 128, 256, 512)
BOTTLENECK = 4  # a block of ResNet-50 gives so many times the channels of its 3 × 3 convolution
LARGEST_FOR_SMALL_STEM = 64  # pixels a side


class _ResNet(Network):
    sides: ClassVar[tuple[int, int]] = (8, 512)
    blocks: ClassVar[tuple[int, ...]]
    """Residual blocks of each stage."""
    bottleneck: ClassVar[bool] = False
    """Whether a block is 1 × 1, 3 × 3, 1 × 1 and not two of 3 × 3."""

    width: Width = 1.0
    """Factor on every number of channels; 1.0 is the published network."""

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        return _resnet(self, input_shape, classes)


@NETWORKS.add
class ResNet18(_ResNet):
    """ResNet-18 of the OTTT paper, free of normalisation, for images of 8 × 8 pixels or more: a
    7 × 7 convolution of stride 2 and a pooling first where a side is over 64 pixels, else 3 × 3."""

    label: ClassVar[str] = "ResNet-18"
    place: ClassVar[int] = 50
    blocks: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)
    suggested: ClassVar[bool] = True

    name: Literal["resnet18"] = "resnet18"


@NETWORKS.add
class ResNet34(_ResNet):
    """As `resnet18`, with 16 residual blocks instead of 8: the network of OTTT on ImageNet."""

    label: ClassVar[str] = "ResNet-34"
    place: ClassVar[int] = 60
    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)

    name: Literal["resnet34"] = "resnet34"


@NETWORKS.add
class ResNet50(_ResNet):
    """As `resnet34`, each block three convolutions (1 × 1, 3 × 3, 1 × 1) with a bottleneck."""

    label: ClassVar[str] = "ResNet-50"
    place: ClassVar[int] = 70
    blocks: ClassVar[tuple[int, ...]] = (3, 4, 6, 3)
    bottleneck: ClassVar[bool] = True

    name: Literal["resnet50"] = "resnet50"


def _resnet(network: _ResNet, input_shape: Shape, classes: int) -> Architecture:
    """The architecture of `network` for images of `input_shape` (C H W).

    Images of up to 64 pixels a side get a 3 × 3 convolution first, which keeps their size; larger
    ones the 7 × 7 convolution of stride 2 and the pooling of ImageNet. Raises ValueError.
    """
    channels = scaled(CHANNELS[0], network.width)
    stem, blocks = _stem(input_shape, channels), []
    for stage, (planes, count) in enumerate(zip(CHANNELS, network.blocks, strict=True), 1):
        inner = scaled(planes, network.width)
        for block in range(1, count + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            branch = (
                _bottleneck(inner, BOTTLENECK * inner, stride)
                if network.bottleneck
                else _basic(inner, stride)
            )
            blocks.append((f"stage{stage}_block{block}", branch))
    return residual(stem, blocks, input_shape, classes)


def _stem(input_shape: Shape, channels: int) -> tuple[Operation, ...]:
    if max(input_shape[1:]) <= LARGEST_FOR_SMALL_STEM:
        return (Conv(out_channels=channels),)
    return Conv(out_channels=channels, kernel=7, stride=2, padding=3), AveragePool()


def _basic(channels: int, stride: int) -> list[Conv]:
    return [
        Conv(out_channels=channels, stride=stride),
        Conv(out_channels=channels, residual_gain=0.0),
    ]


def _bottleneck(inner: int, outer: int, stride: int) -> list[Conv]:
    return [
        Conv(out_channels=inner, kernel=1, padding=0),
        Conv(out_channels=inner, stride=stride),
        Conv(out_channels=outer, kernel=1, padding=0, residual_gain=0.0),
    ]
