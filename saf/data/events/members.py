"""Arrays inside `.npy` and `.npz` files of a single sample."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from typing import Any

import numpy as np

from saf.data.events.recording import Array
from saf.data.sources.stream import DAMAGE
from saf.errors import DataError

MOST_BYTES = 2**28
"""Of all arrays of a sample."""
_MAGIC = b"\x93NUMPY"


def header_of(start: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the order is Fortran's, type, and where the values begin. Raises DataError."""
    file = io.BytesIO(start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of the format")
            read = np.lib.format.read_array_header_1_0
            if version == (2, 0):
                read = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
    except Exception as error:
        # The header is a Python literal, and numpy lets through whatever parsing it may raise.
        raise DataError(
            f"{name} has a broken header", hint="Write it again with numpy.save."
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{name} is an array of Python objects, which is not read",
            hint="Save arrays of numbers.",
        )
    return shape, fortran, dtype, file.tell()


def is_npy(start: bytes) -> bool:
    """Whether a file that starts so is an `.npy`."""
    return start.startswith(_MAGIC)


def array_of(data: bytes, name: str) -> Array:
    """The array of an `.npy` file. Raises DataError."""
    shape, fortran, dtype, start = header_of(data, name)
    count = math.prod(shape)
    expected = count * dtype.itemsize
    if min(shape, default=0) < 0 or len(data) - start != expected:
        raise DataError(
            f"{name}: expected {expected} bytes for the shape {shape}, found {len(data) - start}",
            hint="The file was cut short or changed; write it again.",
        )
    values = np.frombuffer(data, dtype, count, start)
    return values.reshape(shape, order="F" if fortran else "C")


def names_in(data: bytes) -> set[str]:
    """The names of the arrays of an `.npz` file; none where it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (*DAMAGE, EOFError):
        return set()


def arrays_of(data: bytes, name: str) -> dict[str, Array]:
    """The arrays of an `.npz` file by their names. Raises DataError."""
    found, left = {}, MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"compression by method {info.compress_type}")
                with archive.open(info) as file:
                    content = file.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise ValueError(f"more than {MOST_BYTES // 2**20} MiB in a sample")
                inner = f"{info.filename} in {name}"
                found[info.filename.removesuffix(".npy")] = array_of(content, inner)
    except DataError:
        raise
    except (*DAMAGE, EOFError) as error:
        raise DataError(
            f"{name} is damaged or no .npz: {str(error)[:200]}", hint="Write it again."
        ) from error
    return found
