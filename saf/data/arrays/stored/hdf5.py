"""Datasets of HDF5 as arrays, so that nothing but plain data of the file itself is ever read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from saf.data.arrays.lengths import Ragged
from saf.data.arrays.names import check_filled, says_what_it_is
from saf.data.arrays.stored.array import Index, InMemory, Stored, plan
from saf.data.dataset import Array
from saf.data.sources.hdf5 import MAX_TEXTS, check, datasets, texts_of
from saf.data.sources.limits import MIB
from saf.data.sources.seekable import seekable
from saf.data.sources.source import Source
from saf.errors import DataError

if TYPE_CHECKING:
    import h5py

_MOST_CELLS = 65_536
_REFERENCES = "#refs#"
"""Where MATLAB keeps what is in cells."""


class Hdf5Array(Stored):
    """A dataset, read block by block; with `reversed_axes` in Fortran order, as MATLAB writes, and
    with `truth` as truth values."""

    def __init__(
        self, name: str, dataset: h5py.Dataset, *, reversed_axes: bool, truth: bool = False
    ) -> None:
        shape = dataset.shape
        self._dataset = dataset
        dtype = np.dtype(np.bool_) if truth else dataset.dtype
        super().__init__(
            name, shape[::-1] if reversed_axes else shape, dtype, fortran=reversed_axes
        )

    def blocks(self) -> Iterator[tuple[Index, Array]]:
        for index in self._plan():
            try:
                block = self._dataset[index]
            except Exception as error:  # whatever the library stumbles over
                raise DataError(
                    f"{self.name} cannot be read: {str(error)[:200]}",
                    hint="Check that the file opens on your own machine; write it again, without "
                    "unusual compression.",
                ) from error
            yield index, np.asarray(block).astype(self.dtype, copy=False)

    def _plan(self) -> Iterator[Index]:
        """Blocks as large as chunks at least, so that none is decompressed many times over."""
        rows = self._dataset.chunks[0] if self._dataset.chunks else 1
        row = max(1, self._dataset.size // max(1, self.stored_shape[0])) * self.dtype.itemsize
        return plan(self.stored_shape, self.dtype.itemsize, max(4 * MIB, min(rows * row, 64 * MIB)))


def hdf5_arrays(
    source: Source, name: str, prefix: str, *, matlab: bool = False
) -> tuple[list[Stored], list[str]]:
    """The arrays of a file, and what is left out with the reason. Raises DataError."""
    import h5py

    try:
        file = h5py.File(seekable(source, name), "r")
    except DataError:
        raise
    except Exception as error:  # whatever the library stumbles over
        raise DataError(
            f"{name} is damaged or no HDF5 file",
            hint="Check that the file opens on your own machine, then send it again.",
        ) from error
    arrays: list[Stored] = []
    skipped: list[str] = []
    for path, dataset in datasets(file, name, without=(_REFERENCES,) if matlab else ()):
        full = f"{prefix}/{path}" if prefix else path
        empty = matlab and "MATLAB_empty" in dataset.attrs
        if empty or (dataset.shape and not all(dataset.shape)):
            check_filled(full, (0,) if empty else dataset.shape)
            skipped.append(f"{full}: empty")
            continue
        array = _matlab(full, dataset, source) if matlab else _array(full, dataset, source)
        if array is None:
            skipped.append(f"{full}: neither numbers nor texts")
        else:
            arrays.append(array)
    return arrays, skipped


def _array(name: str, dataset: h5py.Dataset, source: Source) -> Stored | None:
    import h5py

    if not dataset.shape or dataset.ndim > 8:
        return None
    texts = texts_of(dataset, name)
    if texts is not None:
        return InMemory(name, texts)
    inner = h5py.check_vlen_dtype(dataset.dtype)
    if inner is not None and np.dtype(inner).kind in "iuf" and dataset.ndim <= 2:
        if not says_what_it_is(name):
            return None
        ragged = Ragged(name, dataset, np.dtype(inner))
        source.limits.check_array(name, ragged.shape[:1], math.prod(ragged.shape[1:]) * 8)
        return ragged
    return _numbers(name, dataset, source)


def _matlab(name: str, dataset: h5py.Dataset, source: Source) -> Stored | None:
    """A variable as MATLAB keeps it: characters as numbers, cells as references to others."""
    kind = bytes(dataset.attrs.get("MATLAB_class", b"")).decode("latin-1")
    if not dataset.shape or dataset.ndim > 8:
        return None
    if kind == "char":
        rows = _characters(dataset)
        return None if rows is None else InMemory(name, np.array(rows))
    if kind == "cell":
        texts = _cells(name, dataset)
        return None if texts is None else InMemory(name, np.array(texts))
    return _numbers(name, dataset, source, matlab=True, truth=kind == "logical")


def _numbers(
    name: str, dataset: h5py.Dataset, source: Source, *, matlab: bool = False, truth: bool = False
) -> Stored | None:
    if dataset.dtype.kind not in "biuf":
        return None
    row = dataset.dtype.itemsize * max(1, dataset.size // dataset.shape[0])
    source.limits.check_array(name, dataset.shape[:1], row)
    return Hdf5Array(name, dataset, reversed_axes=matlab, truth=truth)


def _characters(dataset: h5py.Dataset) -> list[str] | None:
    """The rows of a matrix of characters, without the spaces behind."""
    if dataset.dtype.kind != "u" or dataset.ndim != 2 or dataset.size * 8 > MAX_TEXTS:
        return None
    codes = dataset[()].T
    return ["".join(map(chr, row.tolist())).rstrip() for row in codes]


def _cells(name: str, dataset: h5py.Dataset) -> list[str] | None:
    """The texts in cells; None where something else is in one."""
    import h5py

    if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference or dataset.size > _MOST_CELLS:
        return None
    file, texts, size = dataset.file, [], 0
    for reference in dataset[()].reshape(-1):
        found: Any = file[reference] if reference else None
        if not isinstance(found, h5py.Dataset):
            return None
        check(found, name, file.filename if isinstance(file.filename, str) else name)
        rows = _characters(found)
        size += found.size
        if rows is None or len(rows) != 1 or size * 8 > MAX_TEXTS:
            return None
        texts.append(rows[0])
    return texts
