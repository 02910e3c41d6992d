"""Coroutines in tests: a loop in a thread of its own, whatever runs in the one of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns. Playwright's browsers leave a loop running in the thread of the
    tests, in which `asyncio.run` refuses to begin another one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, coroutine).result()
