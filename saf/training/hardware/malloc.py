"""The C library's handling of memory that tensors free."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # M_… of malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees, for its next tensors. Returns whether it
    can.

    Large tensors on a CPU otherwise go back to the system as soon as they are freed, and the next
    ones are mapped page by page, each cleared by the kernel: some percent of a training's time. The
    process stays as large as its largest moment. Linux with glibc; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))
