"""Waiting in tests for what must come, however busy the machine is.

A wait that is met costs nothing, so one generous bound serves all of them. A shorter one belongs
where a test asserts that something does not come, or tests a limit on time itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0  # seconds, also for clients, sockets and processes
LOOK_SECONDS = 0.02

T = TypeVar("T")


def until(
    condition: Callable[[], T], *, seconds: float = PATIENCE, said: Callable[[], object] = str
) -> T:
    """Wait until `condition` returns something true, and return it.

    `said` is asked for what explains that it did not come, the log of a process for instance.
    Raises AssertionError with that and the last value of `condition` after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds:g} s\n{said()}"
        time.sleep(LOOK_SECONDS)
    return value


def join(*threads: threading.Thread) -> None:
    """Wait until threads have ended. Raises AssertionError where one goes on."""
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} goes on after {PATIENCE:g} s"
