"""Number of time steps that are computed at once."""

from __future__ import annotations

from saf.networks.architecture import Architecture, Conv

FULL_BATCH = 128
FEW_NUMBERS = 2**18  # of all neurons at the time steps at once, in a network of matrices


def steps_at_once(samples: int, timesteps: int, architecture: Architecture | None = None) -> int:
    """Time steps that SAF takes at once: as many as make up a batch of `FULL_BATCH`.

    With fewer samples convolutions lose speed, and with more they gain none, only memory. Of a
    network of matrices alone, where a time step is little work, they are as many as have
    `FEW_NUMBERS` neurons at all steps and samples together, if those are more.
    """
    found = FULL_BATCH // samples
    if architecture is not None and not _has_convolutions(architecture):
        found = max(found, FEW_NUMBERS // (samples * architecture.neurons))
    return max(1, min(timesteps, found))


def _has_convolutions(architecture: Architecture) -> bool:
    return any(
        isinstance(operation, Conv)
        for layer in (*architecture.layers, architecture.readout)
        for connection in layer.connections
        for operation in connection.operations
    )
