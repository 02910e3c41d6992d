"""Number of time steps that are computed at once."""

from __future__ import annotations

FULL_BATCH = 128


def steps_at_once(samples: int, timesteps: int) -> int:
    """Time steps that SAF takes at once: as many as make up a batch of `FULL_BATCH`.

    With fewer samples convolutions lose speed, and with more they gain none, only memory.
    """
    return max(1, min(timesteps, FULL_BATCH // samples))
