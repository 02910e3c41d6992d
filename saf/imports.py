"""Imports of many modules, without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """While this lasts nothing is collected, and what there is at its end never is.

    Modules, their classes and functions stay until the process ends. To look through them again and
    again while they become more takes a seventh of the time in which the web application is
    imported, and a tenth of that of torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
