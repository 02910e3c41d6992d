"""Back-off: growing pauses between repeated tries of something that failed."""

from __future__ import annotations

import random

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)
"""What SQLAlchemy raises while a database does not answer, or answers that it is busy or full."""


class Backoff:
    """Pauses that double up to a limit, each shortened at random (jitter) so that workers spread
    out."""

    def __init__(self, *, first: float = 0.2, limit: float = 3.0) -> None:
        """`first` and `limit` are in seconds."""
        self._first = first
        self._limit = limit
        self._next = first

    def wait_seconds(self) -> float:
        """The next pause."""
        wait = self._next * random.uniform(0.5, 1.0)
        self._next = min(2 * self._next, self._limit)
        return wait

    def reset(self) -> None:
        """Begin with a short pause again, after a success."""
        self._next = self._first
