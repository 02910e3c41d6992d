"""Rows of an array that lies in a file and is mapped into memory, announced before they are read.

The page cache of the kernel has what was read of a file, as long as there is memory for it. What it
lacks is read when it is touched: page by page where rows are touched in no order, each a wait for
the disk. Announced rows (`MADV_WILLNEED`) are read meanwhile, whole and many at once. An
announcement changes no value, takes no memory of the process, and needs no end.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

ADVICE: int = getattr(mmap, "MADV_WILLNEED", -1)  # Windows has none
PIECE = 2**17  # bytes at a time: of more Linux reads no further than a device reads ahead


class MappedRows:
    """Where the rows of an array lie in a mapped file."""

    def __init__(self, mapping: mmap.mmap, start: int, size: int) -> None:
        """Rows of `size` bytes, one after the other from byte `start` of `mapping`."""
        self._mapping, self._start, self._size = mapping, start, size

    @classmethod
    def of(cls, x: NDArray[Any]) -> MappedRows | None:
        """The rows of `x`, first axis first; None unless they lie in a mapped file in order."""
        base: Any = x
        while isinstance(base, np.ndarray):
            base = base.base
        if not isinstance(base, mmap.mmap) or not x.flags.c_contiguous or not x.size:
            return None
        start = x.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
        return cls(base, start, x[0].nbytes)

    def announce(self, rows: NDArray[np.int64]) -> None:
        """Let the kernel read these rows into its cache; returns before it has."""
        if ADVICE < 0:
            return
        at, behind = 0, 0
        for row in np.sort(rows).tolist():
            first = self._start + row * self._size
            if first > behind:
                self._advise(at, behind)
                at = first - first % mmap.PAGESIZE
            behind = first + self._size
        self._advise(at, behind)

    def _advise(self, start: int, stop: int) -> None:
        for at in range(start, stop, PIECE):
            self._mapping.madvise(ADVICE, at, min(PIECE, stop - at))


def waits() -> int:
    """How often this process has waited for a page of a file so far (major page faults)."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_majflt
