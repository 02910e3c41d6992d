"""Arrays in files without a name, so that reading a large data set needs little memory.

The kernel writes their pages out and reads them in again as it needs room. The file is gone from
its directory at once, and its room on the disk with the array.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from saf.data.sources.limits import MIB
from saf.errors import DataError
from saf.sizes import readable

IN_MEMORY = 16 * MIB
"""Smaller arrays are not worth a file."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def default_directory() -> Path:
    """Where arrays go when nobody says so: the directory for temporary files (`TMPDIR`)."""
    return Path(tempfile.gettempdir())


def mapped(directory: Path, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros in a file of `directory`. Raises DataError where the disk has no room for
    it, MemoryError where the process may map no more, OSError where there can be no file."""
    kind = np.dtype(dtype)
    size = max(math.prod(shape) * kind.itemsize, 1)
    with tempfile.TemporaryFile(dir=directory, prefix="saf-") as file:
        try:
            _reserve(file.fileno(), size)
            memory = mmap.mmap(file.fileno(), size)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from error
            if error.errno in _FULL:
                raise DataError(
                    f"there is no room for {readable(size)} of samples where they are put together",
                    hint="Free room on the disk, or set TMPDIR to a directory on a larger one.",
                ) from error
            raise
    return np.frombuffer(memory, kind, math.prod(shape)).reshape(tuple(shape))


def _reserve(file: int, size: int) -> None:
    """Take the room on the disk: a page without room would end the process when it is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
