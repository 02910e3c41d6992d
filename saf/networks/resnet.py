"""Residual networks free of normalisation, as published with OTTT for ImageNet; no torch.

Source: what `models/spiking_resnet_imagenet.py` of github.com/pkuxmq/OTTT-SNN computes
(arXiv 2210.04195), after the NF-ResNets of Brock et al., arXiv 2101.08692. Membrane currents add up
along the residual stream, and spikes start each branch:

    h ← (skip) + α g W₂ · 2.74 s(W₁ · 2.74 s(h / β))

with weight-standardised W, α = 0.2, a learnable g that starts at 0, and β² the variance that the
stream is expected to have: 1 after each change of shape, and α² more after every block. Where the
shape changes, the skip is a 1 × 1 convolution of 2.74 s(h / β), else h itself.

Three things differ: what comes together in the stream has one bias instead of one per convolution,
the neurons that start a branch have a bias of their own (both leave the functions that the network
can compute the same), and the pooling of the stem takes 2 × 2 pixels at stride 2, not 3 × 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod, sqrt

from saf.config.networks import ResNet18, ResNet34, ResNet50
from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    Conv,
    Flatten,
    Linear,
    Operation,
    Population,
    Scale,
    Shape,
)

SPIKE_SCALE = 2.74
ALPHA = 0.2
CHANNELS = (64, 128, 256, 512)
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
BOTTLENECK = 4  # a block of ResNet-50 gives so many times the channels of its 3 × 3 convolution
LARGEST_FOR_SMALL_STEM = 64  # pixels a side


def scaled(channels: int, width: float) -> int:
    """So many `channels` at this factor: at least one."""
    return max(1, round(width * channels))


def resnet(
    network: ResNet18 | ResNet34 | ResNet50, input_shape: Shape, classes: int
) -> Architecture:
    """The architecture of `network` for images of `input_shape` (C H W).

    Images of up to 64 pixels a side get a 3 × 3 convolution first, which keeps their size; larger
    ones the 7 × 7 convolution of stride 2 and the pooling of ImageNet. Raises ValueError.
    """
    channels = scaled(CHANNELS[0], network.width)
    stem, blocks = _stem(input_shape, channels), []
    for stage, (planes, count) in enumerate(zip(CHANNELS, BLOCKS[network.name], strict=True), 1):
        inner = scaled(planes, network.width)
        for block in range(1, count + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            branch = (
                _bottleneck(inner, BOTTLENECK * inner, stride)
                if isinstance(network, ResNet50)
                else _basic(inner, stride)
            )
            blocks.append((f"stage{stage}_block{block}", branch))
    return residual(stem, blocks, input_shape, classes)


def residual(
    stem: Sequence[Operation],
    blocks: Sequence[tuple[str, Sequence[Conv]]],
    input_shape: Shape,
    classes: int,
) -> Architecture:
    """A stream that begins with `stem`, runs through `blocks`, each a name and the convolutions of
    its branch, and is pooled for a linear readout. Raises ValueError."""
    populations = [_relay("stem", Connection(source=INPUT, operations=tuple(stem)))]
    shape = populations[0].connections[0].output_shape(input_shape)
    variance = 1.0
    for name, branch in blocks:
        stride = prod(convolution.stride for convolution in branch)
        outer = branch[-1].out_channels
        changes = stride != 1 or shape[0] != outer
        populations += _block(
            name,
            populations[-1].name,
            convolutions=branch,
            skip=Conv(out_channels=outer, kernel=1, stride=stride, padding=0) if changes else None,
            beta=sqrt(variance),
        )
        variance = (1.0 if changes else variance) + ALPHA**2
        for convolution in branch:
            shape = convolution.output_shape(shape)
    stream = populations[-1].name
    to_classes = Connection(
        source=stream,
        operations=(*pooled(shape), Flatten(), Linear(out_features=classes)),
    )
    return Architecture(
        input_shape=input_shape,
        populations=tuple(populations),
        readout=Population(name="readout", connections=(to_classes,)),
    )


def pooled(shape: Shape) -> list[Operation]:
    """The average pooling that ends a network in maps of `shape` (C H W): over all of a square, of
    other maps over the largest squares that cover them."""
    kernel = gcd(*shape[1:])
    return [AveragePool(kernel=kernel)] if kernel > 1 else []


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


def _block(
    name: str, stream: str, *, convolutions: Sequence[Conv], skip: Conv | None, beta: float
) -> list[Population]:
    """Spiking layers, one before each convolution, and the relay that adds up the stream."""
    normalise: tuple[Operation, ...] = (Scale(factor=1.0 / beta),) if beta != 1.0 else ()
    arriving = Connection(source=stream, operations=normalise)
    populations = []
    for number, convolution in enumerate(convolutions, start=1):
        spiking = Population(name=f"{name}_layer{number}", connections=(arriving,))
        populations.append(spiking)
        arriving = Connection(
            source=spiking.name, operations=(Scale(factor=SPIKE_SCALE), convolution)
        )
    branch = Connection(
        source=arriving.source, operations=(*arriving.operations, Scale(factor=ALPHA))
    )
    unchanged = Connection(source=stream)
    if skip is not None:
        spikes = populations[0].name
        unchanged = Connection(source=spikes, operations=(Scale(factor=SPIKE_SCALE), skip))
    return [*populations, _relay(name, branch, unchanged)]


def _relay(name: str, *connections: Connection) -> Population:
    return Population(name=name, connections=connections, relay=True)
