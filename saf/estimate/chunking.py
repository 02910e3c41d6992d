"""Number of time steps that are computed at once."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from saf.networks.architecture import INPUT, Architecture, Connection, Conv

FULL_BATCH = 128
MADE_AT_ONCE = 16  # time steps of an input that changes, at least
FEW_NUMBERS = 2**18  # of all neurons at the time steps at once, in a network of matrices
FEW_OTHERS = 2**21  # of what else a time step makes: see `made_beside`


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
    `FEW_OTHERS` numbers of what is made beside neurons; `in_time` says that the input changes.
    """
    found = FULL_BATCH // samples
    if architecture is not None and not _has_convolutions(architecture):
        more = FEW_NUMBERS // (samples * architecture.neurons)
        others = made_beside(architecture, in_time=in_time)
        found = max(found, min(more, FEW_OTHERS // (samples * others)))
    return max(1, min(timesteps, found))


def made_beside(architecture: Architecture, *, in_time: bool) -> int:
    """Numbers of a time step that are no neurons', of one sample: scores, outputs of relays, an
    input that changes over time, and what delays hold back."""
    arriving = prod(architecture.input_shape) if in_time else 0
    held = held_back(architecture, in_time=in_time)
    return architecture.classes + architecture.relayed + arriving + held


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
