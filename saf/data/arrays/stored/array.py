"""Arrays where they lie: a shape and a type at once, values in blocks of bounded memory.

Values come in the order in which they are stored. An array in Fortran order is one in C order with
its axes reversed; `stored_shape` has them so, and blocks are told by slices of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saf.data.dataset import Array
from saf.data.sources.limits import Limits

BLOCK_BYTES = 2**22
Index = tuple[slice, ...]


class Stored(ABC):
    """An array that is read block by block, as often as needed."""

    def __init__(
        self, name: str, shape: Sequence[int], dtype: np.dtype[Any], *, fortran: bool = False
    ) -> None:
        self.name = name
        self.shape = tuple(int(n) for n in shape)
        self.dtype = dtype
        self.fortran = fortran

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The lengths of the axes, that which changes slowest first."""
        return self.shape[::-1] if self.fortran else self.shape

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @abstractmethod
    def blocks(self) -> Iterator[tuple[Index, Array]]:
        """All values: slices of `stored_shape`, one for each axis, and the values there."""

    def whole(self, limits: Limits) -> Array:
        """All values at once, with `shape`: for labels and names."""
        limits.check_array(self.name, self.shape[:1], self.dtype.itemsize * self._row())
        values = np.empty(self.stored_shape, self.dtype)
        for index, block in self.blocks():
            values[index] = block
        return values.transpose() if self.fortran else values

    def _row(self) -> int:
        return max(1, math.prod(self.shape[1:]))


class InMemory(Stored):
    """An array that is in memory already, or behaves so, such as a dataset of HDF5."""

    def __init__(self, name: str, values: Any, *, fortran: bool = False) -> None:
        shape = tuple(values.shape)
        super().__init__(name, shape[::-1] if fortran else shape, values.dtype, fortran=fortran)
        self._values = values

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for index in plan(self.stored_shape, self.dtype.itemsize):
            yield index, np.asarray(self._values[index])

    def rows(self, rows: NDArray[np.int64]) -> Array:
        """Some rows of an array in C order."""
        values: Array = self._values[rows]
        return values.astype(self.dtype, copy=False)


class Field(Stored):
    """A field of a structured array."""

    def __init__(self, whole: Stored, field: str) -> None:
        assert whole.dtype.fields is not None
        inner = whole.dtype.fields[field][0]
        self._whole, self._field = whole, field
        shape = (*whole.shape, *inner.shape)
        super().__init__(f"{whole.name}/{field}", shape, inner.base)

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        further = tuple(slice(0, n) for n in self.shape[len(self._whole.shape) :])
        for index, block in self._whole.blocks():
            yield (*index, *further), block[self._field]


class CompressedRows(Stored):
    """A sparse matrix: the `columns` and `values` of row i are those from starts[i] to
    starts[i + 1]. With `transposed`, its rows are the columns of what is meant."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        starts: NDArray[np.int64],
        columns: NDArray[np.int64],
        values: Array,
        *,
        transposed: bool,
    ) -> None:
        super().__init__(
            name, shape[::-1] if transposed else shape, values.dtype, fortran=transposed
        )
        self._starts, self._columns, self._values = starts, columns, values

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        rows, width = self.stored_shape
        step = max(1, BLOCK_BYTES // max(1, width * self.dtype.itemsize))
        for start in range(0, rows, step):
            stop = min(rows, start + step)
            block = np.zeros((stop - start, width), self.dtype)
            own = slice(self._starts[start], self._starts[stop])
            row = np.repeat(np.arange(stop - start), np.diff(self._starts[start : stop + 1]))
            np.add.at(block, (row, self._columns[own]), self._values[own])
            yield (slice(start, stop), slice(0, width)), block


def plan(shape: Sequence[int], itemsize: int, most: int = BLOCK_BYTES) -> Iterator[Index]:
    """Slices that cut an array in C order into consecutive blocks of at most `most` bytes, or of
    single values."""
    inner, axis = itemsize, len(shape)
    while axis > 0 and inner * shape[axis - 1] <= most:
        axis -= 1
        inner *= shape[axis]
    if axis == 0:
        yield tuple(slice(0, n) for n in shape)
        return
    axis -= 1  # this axis is cut; those before are gone through one by one
    step = max(1, most // inner)
    rest = tuple(slice(0, n) for n in shape[axis + 1 :])
    for outer in product(*(range(n) for n in shape[:axis])):
        before = tuple(slice(i, i + 1) for i in outer)
        for start in range(0, shape[axis], step):
            yield (*before, slice(start, min(shape[axis], start + step)), *rest)
