"""Arrays of samples gone through block by block, so that the memory for what is computed of them
stays bounded however many they are. Shapes: N samples, first axis first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

VALUES = 2**22
"""Values looked at together."""


def bounds(x: Array, values: int | None = None) -> Iterator[tuple[int, int]]:
    """First row and the one behind the last of each block of at most `values` values (None:
    `VALUES`), or of one row where that has more."""
    if not len(x):
        return
    step = max(1, (values or VALUES) // max(1, x[0].size))
    for start in range(0, len(x), step):
        yield start, min(start + step, len(x))


def blocks(x: Array, values: int | None = None) -> Iterator[Array]:
    """Views of the rows of `x`, see `bounds`."""
    for start, stop in bounds(x, values):
        yield x[start:stop]


def copy(source: Array, target: Array) -> None:
    """Write `source` into `target`, of the same shape; values are converted as numpy's `astype`
    does."""
    for start, stop in bounds(source):
        target[start:stop] = source[start:stop].astype(target.dtype, copy=False)
