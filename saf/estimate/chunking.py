"""Number of time steps that are computed at once."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from saf.networks.architecture import INPUT, Architecture, Connection, Conv

FULL_BATCH = 128
MADE_AT_ONCE = 16  # time steps of an input that changes, at least
FEW_NUMBERS = 2**18  # of all neurons at the time steps at once, in a network of matrices
FEW_RECEIVED = 2**21  # of what its neurons receive then: an input that changes, and all delays


def steps_at_once(
    samples: int,
    timesteps: int,
    architecture: Architecture | None = None,
    *,
    in_time: bool = False,
) -> int:
    """Time steps that SAF takes at once: as many as make up a batch of `FULL_BATCH`.

    With fewer samples convolutions lose speed, and with more they gain none, only memory. Of a
    network of matrices alone, where a time step is little work, they are as many as have
    `FEW_NUMBERS` neurons at all steps and samples together, if those are more, and not above
    `FEW_RECEIVED` numbers of an input that changes over time (`in_time`) and of what delays hold
    back.
    """
    found = FULL_BATCH // samples
    if architecture is not None and not _has_convolutions(architecture):
        more = FEW_NUMBERS // (samples * architecture.neurons)
        received = held_back(architecture, in_time=in_time)
        received += prod(architecture.input_shape) if in_time else 0
        if received:
            more = min(more, FEW_RECEIVED // (samples * received))
        found = max(found, more)
    return max(1, min(timesteps, found))


def held_back(architecture: Architecture, *, in_time: bool) -> int:
    """Numbers that connections with a delay read at a time step, of one sample: all of their
    source, for each delay. An image is the same at all time steps and is not held back."""
    shapes = architecture.shapes()
    return sum(
        prod(shapes[connection.source]) * sum(tap > 0 for tap in connection.taps)
        for connection in _connections(architecture)
        if in_time or connection.source != INPUT
    )


def _has_convolutions(architecture: Architecture) -> bool:
    return any(
        isinstance(operation, Conv)
        for connection in _connections(architecture)
        for operation in connection.operations
    )


def _connections(architecture: Architecture) -> Iterator[Connection]:
    for layer in (*architecture.layers, architecture.readout):
        yield from layer.connections
