"""Arrays as numpy writes them: the header is read and checked before memory is taken for values.

Arrays of Python objects, which are pickles, are refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from saf.data.arrays.stored.array import Field, Index, Stored, plan
from saf.data.dataset import Array
from saf.data.sources.limits import Limits
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError

MAGIC = b"\x93NUMPY"
_NAMED = (
    "x_train=…, y_train=…, x_test=…, y_test=…, with samples N C H W (event frames N T C H W) and "
    "a class number for each"
)
HINT = f"Write the file with numpy.savez(path, {_NAMED})."
_MAX_DIMENSIONS = 8
Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
Opened = Callable[[], AbstractContextManager[Content]]


class NpyArray(Stored):
    """An array of an .npy file, read as a stream."""

    def __init__(self, name: str, file: str, opened: Opened, header: Header) -> None:
        shape, fortran, dtype = header
        super().__init__(name, shape, dtype, fortran=fortran)
        self._file, self._opened = file, opened

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        with self._opened() as content:
            read_header(content)
            found = 0
            for index in plan(self.stored_shape, self.dtype.itemsize):
                block = np.empty([part.stop - part.start for part in index], self.dtype)
                got = content.fill(block.reshape(-1).view(np.uint8).data)
                found += got
                if got < block.nbytes:
                    size = self.size * self.dtype.itemsize
                    raise DataError(
                        f"{self._file}: expected {size} bytes for the shape {self.shape}, "
                        f"found {found}",
                        hint="The file was cut short; write it again.",
                    )
                yield index, block
            if content.read(BLOCK):  # at the end of a member its checksum is compared
                raise DataError(
                    f"{self._file} holds more behind its array, as of several that were saved into "
                    "one file",
                    hint="Read all of them (numpy.load again and again from the open file), join "
                    "them by numpy.concatenate, and save the one array.",
                )


def arrays_of(name: str, file: str, opened: Opened, limits: Limits) -> list[Stored]:
    """The arrays in one .npy file, by `name`: one, or one for each field of a structured array.
    Values are not read. Raises DataError, naming `file`."""
    with opened() as content:
        header = read_header(content)
        shape, _, dtype = header
        check(file, shape, dtype)
        size = limits.check_array(file, shape[:1], math.prod(shape[1:]) * dtype.itemsize)
        content.budget.expect(size, file)
    array = NpyArray(name, file, opened, header)
    return fields_of(array)


def fields_of(array: Stored) -> list[Stored]:
    """The fields of a structured array; an array of numbers as it is."""
    if array.dtype.names is None:
        return [array]
    if array.fortran:
        raise DataError(
            f"{array.name} is a structured array in Fortran order, which is not read",
            hint="Save each field as an array of its own.",
        )
    return [Field(array, name) for name in array.dtype.names]


def check(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """DataError unless it is an array of numbers or texts, or of records of such."""
    if dtype.names is not None and not dtype.hasobject:
        for field in dtype.names:
            inner = dtype[field]
            check(f"{name}: the field {field}", (*shape, *inner.shape), inner.base)
        return
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise DataError(
            f"{name} is an array of {dtype.name if dtype.hasobject else dtype}, which is not read",
            hint="Save arrays of numbers: x.astype('uint8') or 'float32', y.astype('int64'); a "
            "list of samples of one shape with numpy.stack(list).",
        )
    if len(shape) > _MAX_DIMENSIONS or any(n < 1 for n in shape) or dtype.itemsize == 0:
        raise DataError(
            f"{name} has the shape {shape}",
            hint="No array may be empty; images are N C H W, event frames N T C H W.",
        )


def read_header(content: Content) -> Header:
    """Shape, whether it is in Fortran order, and type. Raises DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(content)
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(content)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(content)
            raise ValueError(f"version {version} of the format")
    except DataError:
        raise
    except Exception as error:
        # The header is a Python literal, and numpy lets through whatever parsing it may raise:
        # errors of the tokenizer, of the syntax, a MemoryError for too deep a nesting.
        raise DataError(f"{content.name} has a broken header", hint=HINT) from error
