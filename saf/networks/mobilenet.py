"""MobileNet with depthwise convolutions, on a residual stream as `saf.networks.residual` has it; no
torch.

Channels and strides of the pairs of a depthwise and a pointwise convolution are those of table 1 of
Howard et al., arXiv 1704.04861 (v1), with three of its five strides, for small images. There the
pairs follow one another; 27 layers of spikes in a row, without batch statistics, learnt nothing.
So each pair is a branch of a stream that adds up membrane currents,

    h ← (skip) + α g W_pointwise · 2.74 s(W_depthwise · 2.74 s(h / β)),

with the skip, α, g and β of the residual networks.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from saf.config.networks import NETWORKS, Network, Width
from saf.networks.architecture import Architecture, Conv, Shape
from saf.networks.chain import scaled
from saf.networks.residual import residual

FIRST_CHANNELS = 32
PLAN = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 1), (1024, 1)),
)


@NETWORKS.add
class MobileNet(Network):
    """MobileNet (v1): depthwise and pointwise convolutions in turn, a spiking layer before each, on
    a residual stream as in `resnet18`, for images of 8 × 8 pixels or more."""

    label: ClassVar[str] = "MobileNet"
    place: ClassVar[int] = 80
    sides: ClassVar[tuple[int, int]] = (8, 512)
    suggested: ClassVar[bool] = True

    name: Literal["mobilenet"] = "mobilenet"
    width: Width = 1.0
    """Factor on every number of channels."""

    @property
    def rate(self) -> float:
        return 4.0

    def architecture(self, input_shape: Shape, classes: int) -> Architecture:
        return _mobilenet(self, input_shape, classes)


def _mobilenet(network: MobileNet, input_shape: Shape, classes: int) -> Architecture:
    """The architecture of `network` for images of `input_shape` (C H W).

    Raises ValueError.
    """
    channels = scaled(FIRST_CHANNELS, network.width)
    stem, blocks = [Conv(out_channels=channels)], []
    for number, (entry, stride) in enumerate(PLAN, start=1):
        outer = scaled(entry, network.width)
        depthwise = Conv(out_channels=channels, stride=stride, groups=channels)
        pointwise = Conv(out_channels=outer, kernel=1, padding=0, residual_gain=0.0)
        blocks.append((f"block{number}", [depthwise, pointwise]))
        channels = outer
    return residual(stem, blocks, input_shape, classes)
