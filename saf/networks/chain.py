"""Networks whose layers follow one another, and what all networks share; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from saf.networks.architecture import (
    INPUT,
    Architecture,
    AveragePool,
    Connection,
    LayerDescription,
    Operation,
    Scale,
    Shape,
)

SPIKE_SCALE = 2.74
DEEP, RATE_OF_DEEP = 7, 0.5
"""Spiking convolutions in a row from which on automatic learning rates are multiplied by that."""
MAX_POOLING = (
    "max pooling breaks the identity between SAF and LIF neurons (the largest accumulation is "
    "not the accumulation of the largest); use average pooling"
)


def scaled(channels: int, width: float) -> int:
    """So many `channels` at this factor: at least one."""
    return max(1, round(width * channels))


def is_without_place(shape: Shape) -> bool:
    """Whether samples of `shape` are values of channels alone, C 1 1, as series are.

    The first map on these is not standardised: there are few of them, of which standardised weights
    see the differences alone (of two channels, one difference).
    """
    return len(shape) == 3 and tuple(shape[1:]) == (1, 1)


def pooled(shape: Shape) -> list[Operation]:
    """The average pooling that ends a network in maps of `shape` (C H W): over all of a square, of
    other maps over the largest squares that cover them."""
    kernel = gcd(*shape[1:])
    return [AveragePool(kernel=kernel)] if kernel > 1 else []


def output_shape(layers: Sequence[Sequence[Operation]], shape: Shape) -> Shape:
    for chain in layers:
        for operation in chain:
            shape = operation.output_shape(shape)
    return shape


def chained(operations: Sequence[Sequence[Operation]], input_shape: Shape) -> Architecture:
    """Layers one after the other; the last entry of `operations` leads to the readout."""
    layers = []
    source = INPUT
    for number, chain in enumerate(operations, start=1):
        name = "readout" if number == len(operations) else f"layer{number}"
        scale: list[Operation] = [] if source == INPUT else [Scale(factor=SPIKE_SCALE)]
        connection = Connection(source=source, operations=(*scale, *chain))
        layers.append(LayerDescription(name=name, connections=(connection,)))
        source = name
    return Architecture(input_shape=input_shape, layers=tuple(layers[:-1]), readout=layers[-1])
