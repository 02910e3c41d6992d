"""Datasets of HDF5 as arrays, so that nothing but plain data of the file itself is ever read.

A file may ask for other files (external storage, external and soft links, virtual datasets): those
are refused before anything is read from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from saf.data.arrays.names import check_filled
from saf.data.arrays.stored import Index, InMemory, Stored, plan
from saf.data.dataset import Array
from saf.data.sources.limits import MIB
from saf.data.sources.seekable import seekable
from saf.data.sources.source import Source
from saf.errors import DataError

if TYPE_CHECKING:
    import h5py

_MAX_TEXTS = 64 * MIB
MAX_OBJECTS = 1000
_MAX_DEPTH = 16
_MAX_CHUNK = 256 * MIB


class Hdf5Array(Stored):
    """A dataset, read block by block; with `reversed_axes` in Fortran order, as MATLAB writes."""

    def __init__(self, name: str, dataset: h5py.Dataset, *, reversed_axes: bool) -> None:
        shape = dataset.shape
        self._dataset = dataset
        super().__init__(
            name, shape[::-1] if reversed_axes else shape, dataset.dtype, fortran=reversed_axes
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
            yield index, np.asarray(block)

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
    for path, dataset in datasets(file, name):
        full = f"{prefix}/{path}" if prefix else path
        if matlab and path.startswith("#refs#"):
            continue
        empty = matlab and "MATLAB_empty" in dataset.attrs
        if empty or (dataset.shape and not all(dataset.shape)):
            check_filled(full, (0,) if empty else dataset.shape)
            skipped.append(f"{full}: empty")
            continue
        array = _array(full, dataset, source, matlab=matlab)
        if array is None:
            skipped.append(f"{full}: neither numbers nor texts")
        else:
            arrays.append(array)
    return arrays, skipped


def _array(name: str, dataset: h5py.Dataset, source: Source, *, matlab: bool) -> Stored | None:
    import h5py

    if dataset.shape is None or not all(dataset.shape) or dataset.ndim > 8:
        return None
    if h5py.check_string_dtype(dataset.dtype) is not None:
        if dataset.size * 16 > _MAX_TEXTS:
            return None
        try:
            texts = np.asarray(dataset.asstr(errors="replace")[()], str)
        except Exception as error:
            raise DataError(f"{name} cannot be read", hint="Write the file again.") from error
        return InMemory(name, np.atleast_1d(texts))
    if dataset.dtype.kind not in "biuf" or dataset.ndim == 0:
        return None
    size = source.limits.check_array(
        name, dataset.shape[:1], dataset.dtype.itemsize * max(1, dataset.size // dataset.shape[0])
    )
    if size > source.limits.max_unpacked_bytes:
        raise AssertionError("check_array refuses this")
    return Hdf5Array(name, dataset, reversed_axes=matlab)


def datasets(group: h5py.Group, label: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets below a group by path, without a leading "/". Raises DataError for what would
    read other files, and for too many objects."""
    import h5py

    count = 0
    waiting: list[tuple[str, h5py.Group]] = [("", group)]
    while waiting:
        path, here = waiting.pop()
        for key in _keys(here, label):
            count += 1
            if count > MAX_OBJECTS or path.count("/") > _MAX_DEPTH:
                raise DataError(
                    f"{label} holds more than {MAX_OBJECTS} groups and datasets, or too deep ones",
                    hint="Save all samples as one dataset: x_train, y_train, x_test, y_test.",
                )
            found = _own(here, key, label)
            if found is None:
                continue
            full = f"{path}/{key}" if path else str(key)
            if isinstance(found, h5py.Group):
                waiting.append((full, found))
            else:
                check(found, full, label)
                yield full, found


def _keys(group: h5py.Group, label: str) -> list[str]:
    try:
        if len(group) > MAX_OBJECTS:
            return [""] * (MAX_OBJECTS + 1)  # too many to be listed
        return list(group)
    except Exception as error:
        raise DataError(f"{label} is damaged", hint="Write the file again.") from error


def _own(group: h5py.Group, key: str, label: str) -> h5py.Group | h5py.Dataset | None:
    import h5py

    try:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise DataError(
                f"{label}: {key!r} is a link", hint="Put the data themselves in place of links."
            )
        found = group[key]
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{label}: {key!r} is damaged", hint="Write the file again.") from error
    return found if isinstance(found, (h5py.Group, h5py.Dataset)) else None


def check(dataset: h5py.Dataset, name: str, label: str) -> None:
    """DataError where reading a dataset would read other files or take unbounded memory."""
    try:
        elsewhere = bool(dataset.external) or dataset.is_virtual
        chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    except Exception as error:
        raise DataError(f"{label}: {name!r} is damaged", hint="Write the file again.") from error
    if elsewhere:
        raise DataError(
            f"{label}: the data of {name!r} lie in other files",
            hint="Write them into the file itself.",
        )
    if chunk > _MAX_CHUNK:
        raise DataError(
            f"{label}: {name!r} is stored in chunks of {chunk} bytes",
            hint="Write it in chunks of some megabytes.",
        )
