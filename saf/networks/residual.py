"""Residual networks free of normalisation, as published with OTTT for ImageNet; no torch.

Source: what `models/spiking_resnet_imagenet.py` of github.com/pkuxmq/OTTT-SNN computes
(arXiv 2210.04195), after the NF-ResNets of Brock et al., arXiv 2101.08692. Membrane currents add up
along the residual stream, and spikes start each branch:

    h ← (skip) + α g W₂ · 2.74 s(W₁ · 2.74 s(h / β))

with weight-standardised W, α = 0.2, a learnable g that starts at 0 (the gain "auto" opens it, see
`saf.training.first_pass`), and β² the variance that the stream is expected to have: 1 after each
change of shape, and α² more after every block. Where the shape changes, the skip is a 1 × 1
convolution of 2.74 s(h / β), else h itself.

Three things differ: what comes together in the stream has one bias instead of one per convolution,
the neurons that start a branch have a bias of their own (both leave the functions that the network
can compute the same), and the pooling of the stem takes 2 × 2 pixels at stride 2, not 3 × 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from saf.networks.architecture import (
    INPUT,
    Architecture,
    Connection,
    Conv,
    Flatten,
    LayerDescription,
    Linear,
    Operation,
    Scale,
    Shape,
)
from saf.networks.chain import SPIKE_SCALE, pooled

ALPHA = 0.2


def residual(
    stem: Sequence[Operation],
    blocks: Sequence[tuple[str, Sequence[Conv]]],
    input_shape: Shape,
    classes: int,
) -> Architecture:
    """A stream that begins with `stem`, runs through `blocks`, each a name and the convolutions of
    its branch, and is pooled for a linear readout. Raises ValueError."""
    layers = [_relay("stem", Connection(source=INPUT, operations=tuple(stem)))]
    shape = layers[0].connections[0].output_shape(input_shape)
    variance = 1.0
    for name, branch in blocks:
        stride = prod(convolution.stride for convolution in branch)
        outer = branch[-1].out_channels
        changes = stride != 1 or shape[0] != outer
        layers += _block(
            name,
            layers[-1].name,
            convolutions=branch,
            skip=Conv(out_channels=outer, kernel=1, stride=stride, padding=0) if changes else None,
            beta=sqrt(variance),
        )
        variance = (1.0 if changes else variance) + ALPHA**2
        for convolution in branch:
            shape = convolution.output_shape(shape)
    stream = layers[-1].name
    to_classes = Connection(
        source=stream,
        operations=(*pooled(shape), Flatten(), Linear(out_features=classes)),
    )
    return Architecture(
        input_shape=input_shape,
        layers=tuple(layers),
        readout=LayerDescription(name="readout", connections=(to_classes,)),
    )


def _block(
    name: str, stream: str, *, convolutions: Sequence[Conv], skip: Conv | None, beta: float
) -> list[LayerDescription]:
    """Spiking layers, one before each convolution, and the relay that adds up the stream."""
    normalise: tuple[Operation, ...] = (Scale(factor=1.0 / beta),) if beta != 1.0 else ()
    arriving = Connection(source=stream, operations=normalise)
    layers = []
    for number, convolution in enumerate(convolutions, start=1):
        spiking = LayerDescription(name=f"{name}_layer{number}", connections=(arriving,))
        layers.append(spiking)
        arriving = Connection(
            source=spiking.name, operations=(Scale(factor=SPIKE_SCALE), convolution)
        )
    branch = Connection(
        source=arriving.source, operations=(*arriving.operations, Scale(factor=ALPHA))
    )
    unchanged = Connection(source=stream)
    if skip is not None:
        spikes = layers[0].name
        unchanged = Connection(source=spikes, operations=(Scale(factor=SPIKE_SCALE), skip))
    return [*layers, _relay(name, branch, unchanged)]


def _relay(name: str, *connections: Connection) -> LayerDescription:
    return LayerDescription(name=name, connections=connections, relay=True)
