"""Arrays made of others: behind one another, or of some of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from saf.data.arrays.stored.array import Index, InMemory, Stored, plan
from saf.data.dataset import Array
from saf.errors import DataError


class Joined(Stored):
    """Arrays of one shape but for their first axis. Raises DataError where they are not."""

    def __init__(self, name: str, parts: Sequence[Stored]) -> None:
        first = parts[0]
        for part in parts:
            if part.shape[1:] != first.shape[1:] or part.fortran:
                raise DataError(
                    f"{first.name} has the shape {first.shape}, {part.name} {part.shape}",
                    hint="Parts of one data set have samples of one shape, in C order.",
                )
        dtype = np.result_type(*(part.dtype for part in parts))
        rows = sum(part.shape[0] for part in parts)
        super().__init__(name, (rows, *first.shape[1:]), dtype)
        self._parts = parts

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        start = 0
        for part in self._parts:
            for index, block in part.blocks():
                here = slice(index[0].start + start, index[0].stop + start)
                yield (here, *index[1:]), block.astype(self.dtype, copy=False)
            start += part.shape[0]


class Rows(Stored):
    """Some of the rows (N) of an array in memory, in this order."""

    def __init__(self, whole: InMemory, rows: NDArray[np.int64]) -> None:
        super().__init__(whole.name, (len(rows), *whole.shape[1:]), whole.dtype)
        self._whole, self._rows = whole, rows

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for index in plan(self.shape, self.dtype.itemsize):
            yield index, self._whole.rows(self._rows[index[0]])[(slice(None), *index[1:])]


class Kept(Stored):
    """The rows of an array for which `kept` (N) is true, in their order, read as a stream."""

    def __init__(self, whole: Stored, kept: NDArray[np.bool_]) -> None:
        super().__init__(whole.name, (int(kept.sum()), *whole.shape[1:]), whole.dtype)
        self._whole, self._kept = whole, kept

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        places = np.cumsum(self._kept) - 1
        for index, block in self._whole.blocks():
            kept = self._kept[index[0]]
            if kept.any():
                rows = places[index[0]][kept]
                yield (slice(int(rows[0]), int(rows[-1]) + 1), *index[1:]), block[kept]
