"""Arrays whose values are all that a file holds, without a header."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from saf.data.arrays.stored.array import Index, Stored, plan
from saf.data.dataset import Array
from saf.data.sources.source import Source
from saf.errors import DataError

_HINT = "The file was cut short or changed; fetch it again."


class RawBytes(Stored):
    """Records of bytes, each `row` long, in a file of a source; the shape is (N, row)."""

    def __init__(self, source: Source, name: str, row: int) -> None:
        self._source = source
        size = next(member.size for member in source.members if member.name == name)
        if not size or size % row:
            raise DataError(
                f"{name} has {size} bytes; a multiple of {row}, the bytes of a sample, is expected",
                hint=_HINT,
            )
        source.limits.check_array(name, (size // row,), row)
        super().__init__(name, (size // row, row), np.dtype(np.uint8))

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for content in self._source.contents([self.name]):
            for index in plan(self.shape, 1):
                block = np.empty([part.stop - part.start for part in index], np.uint8)
                if content.fill(block.reshape(-1).data) < block.size:
                    raise DataError(f"{self.name} is shorter than announced", hint=_HINT)
                yield index, block
            if content.read(1):
                raise DataError(f"{self.name} is longer than announced", hint=_HINT)


class Columns(Stored):
    """Some of the columns of an array (N, D), in a shape of their own."""

    def __init__(self, whole: Stored, name: str, start: int, shape: Sequence[int]) -> None:
        self._whole, self._start = whole, start
        self._width = math.prod(shape)
        super().__init__(name, (whole.shape[0], *shape), whole.dtype)

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        further = tuple(slice(0, n) for n in self.shape[1:])
        for index, block in self._whole.blocks():
            own = block[:, self._start : self._start + self._width]
            yield (index[0], *further), own.reshape(len(own), *self.shape[1:])
