"""A fair lock: threads get it in the order in which they asked."""

from __future__ import annotations

import threading
import time
from collections import deque

MOST_WAITING = 100


class Turns:
    """A lock that is handed to the thread that has waited longest; waiting may have a deadline.

    A lock of the standard library goes to whichever thread happens to run, so that under contention
    some wait for seconds.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        """More than `most_waiting` threads are refused at once instead of waiting."""
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False
        self._busy_since = 0.0
        self.ends_waiting = 0.0
        """Of whose turn it is: the moment until when it may wait for anything else."""

    @property
    def waiting(self) -> int:
        """Number of threads that wait."""
        return len(self._waiting)

    @property
    def busy_seconds(self) -> float:
        """How long the lock has been held without a gap."""
        return time.monotonic() - self._busy_since

    def take(self, seconds: float) -> bool:
        """Acquire the lock, to be released by `give`; False when the deadline passed or too many
        wait."""
        until = time.monotonic() + seconds
        if not self._taken(seconds):
            return False
        self.ends_waiting = until
        return True

    def rest(self, seconds: float) -> None:
        """Leave the lock free for a moment, for other processes."""
        time.sleep(seconds)
        self._busy_since = time.monotonic()

    def give(self) -> None:
        """Release the lock to the next thread."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._is_taken = False

    def _taken(self, seconds: float) -> bool:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                self._busy_since = time.monotonic()
                return True
            if len(self._waiting) >= self._most_waiting:
                return False
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(seconds):
            return True
        with self._lock:
            if mine.is_set():  # just now
                return True
            self._waiting.remove(mine)
            return False
