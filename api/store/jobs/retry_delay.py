"""Back-off of a job: the wait before another attempt, after attempts that were lost."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_WAIT = 600.0  # seconds
Wait = Callable[[int], float]
"""From the number of attempts lost since the last checkpoint to seconds."""


def of_a_lost_worker(first_seconds: float) -> Wait:
    """No wait after the first loss, which says nothing about the job; then `first_seconds`,
    doubled with every further one."""
    return lambda losses: _doubled(first_seconds, losses - 2)


def of_an_error(first_seconds: float) -> Wait:
    """`first_seconds`, doubled with every loss after the first, so that the cause can pass."""
    return lambda losses: _doubled(first_seconds, losses - 1)


def of_a_change(_losses: int) -> float:
    """No wait: the next attempt is a different one."""
    return 0.0


def _doubled(seconds: float, times: int) -> float:
    return 0.0 if times < 0 else float(min(LONGEST_WAIT, seconds * 2.0**times))
