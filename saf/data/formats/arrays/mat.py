"""MATLAB's `.mat` files, of version 5 by scipy, of version 7.3, which are HDF5, by h5py.

SVHN comes so: http://ufldl.stanford.edu/housenumbers, `X` of `32 32 3 N` and `y` of 1…10, where 10
is the digit 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np

from saf.data.arrays.assemble import ArrayFormat, assemble
from saf.data.arrays.names import check_filled
from saf.data.arrays.stored.array import InMemory, Stored
from saf.data.arrays.stored.hdf5 import hdf5_arrays
from saf.data.dataset import Array, Dataset, Decision
from saf.data.formats.format import FORMATS, Recognised
from saf.data.sources.limits import Limits
from saf.data.sources.seekable import Seekable, seekable
from saf.data.sources.source import Source
from saf.errors import DataError

_MATLAB_5, _MATLAB_73 = b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file"
_MOST_FILES = 16
_TEXTS = frozenset({"char", "cell"})
_MOST_TEXTS = 2**20  # characters or cells
_NUMBERS = frozenset(
    {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
    | {"single", "double", "logical"}
)


@FORMATS.add
class Mat(ArrayFormat):
    """Variables named as the arrays of an `.npz`, or `X` and `y` in `train….mat` and `test….mat`,
    as SVHN has them (cropped digits; the label 10 is the digit 0)."""

    label: ClassVar[str] = "MATLAB's .mat files"
    place: ClassVar[int] = 44
    specificity: ClassVar[int] = 15
    packed: ClassVar[bool] = False

    name: Literal["mat"] = "mat"

    @classmethod
    def detect(cls, source: Source) -> Recognised | None:
        return Recognised() if _files(source) else None

    def read(self, source: Source, limits: Limits) -> Dataset:
        arrays: list[Stored] = []
        skipped: list[str] = []
        files = _files(source)
        for name in files:
            start = source.head(name, 128)
            package = "h5py" if start.startswith(_MATLAB_73) else "scipy"
            _check_package(name, package)
            prefix = name if len(files) > 1 else ""
            if package == "h5py":
                found, left = hdf5_arrays(source, name, prefix, matlab=True)
            else:
                found, left = _variables(source, name, prefix)
            arrays += found
            skipped += left
        told = []
        if _are_svhn(arrays, files, source):
            arrays = [_digits(a) if _last(a) == "y" else a for a in arrays]
            why = "X of 32 × 32 × 3 × N with labels y from 1 to 10 are SVHN's digits"
            told.append(Decision("", "label 10 is the digit 0", why))
        return assemble(
            arrays,
            self,
            source,
            by_columns=True,
            first_sample=1,
            decisions=told,
            skipped=skipped,
        )


def _files(source: Source) -> list[str]:
    if source.single:
        start = source.head(source.label, 19)
        return [source.label] if start in (_MATLAB_5, _MATLAB_73) else []
    found = [m.name for m in source.members if m.name.lower().endswith(".mat")]
    return found if len(found) <= _MOST_FILES else []


def _check_package(name: str, package: str) -> None:
    if find_spec(package) is None:
        raise DataError(
            f"{name} needs the package {package} to be read; it is not installed here",
            hint=f"Install it beside saf (pip install {package}), or send the data as .npz: "
            "numpy.savez(path, x_train=…, y_train=…).",
        )


def _variables(source: Source, name: str, prefix: str) -> tuple[list[Stored], list[str]]:
    """The numbers of a file of version 5."""
    content = seekable(source, name)
    arrays: list[Stored] = []
    skipped: list[str] = []
    for variable, shape, kind in _scipy(name, "whosmat", content):
        full = f"{prefix}/{variable}" if prefix else variable
        if not all(shape):
            check_filled(full, shape)
            skipped.append(f"{full}: empty")
            continue
        if kind not in _NUMBERS | _TEXTS or (kind in _TEXTS and math.prod(shape) > _MOST_TEXTS):
            skipped.append(f"{full}: neither numbers nor texts")
            continue
        source.limits.check_array(full, shape[-1:], 8 * math.prod(shape[:-1]))
        content.seek(0)
        found = _scipy(name, "loadmat", content, variable_names=[variable])[variable]
        values = _texts(found) if kind in _TEXTS else found
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biufU":
            skipped.append(f"{full}: neither numbers nor texts")
            continue
        if kind == "logical":
            values = values.astype(np.bool_)
        fortran = values.flags.f_contiguous and not values.flags.c_contiguous
        arrays.append(InMemory(full, values.T if fortran else values, fortran=fortran))
    return arrays, skipped


def _texts(found: Any) -> Array | None:
    """Rows of characters, or the texts in cells; None where something else is in one."""
    if not isinstance(found, np.ndarray):
        return None
    if found.dtype.kind == "U":
        return np.char.rstrip(found.reshape(-1))
    texts = [
        each.item() if isinstance(each, np.ndarray) and each.size == 1 else None
        for each in found.flat
    ]
    return np.array(texts) if all(isinstance(text, str) for text in texts) else None


def _scipy(name: str, function: str, content: Seekable, **options: Any) -> Any:
    import scipy.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return getattr(scipy.io, function)(content, **options)
    except (MemoryError, DataError):
        raise
    except Exception as error:  # whatever scipy stumbles over
        raise DataError(
            f"{name} is damaged or no .mat file: {str(error)[:200] or type(error).__name__}",
            hint="Save it again in MATLAB, or as .npz with numpy.savez(path, x_train=…, "
            "y_train=…).",
        ) from error


def _last(array: Stored) -> str:
    """The name of a variable without that of its file."""
    return array.name.rpartition("/")[2]


def _are_svhn(arrays: Sequence[Stored], files: Sequence[str], source: Source) -> bool:
    """Whether each file holds SVHN's variables: X of 32 × 32 × 3 × N, and y of N digits from 1 to
    10, which stands for 0."""
    images = [array for array in arrays if _last(array) == "X"]
    labels = {array.name.removesuffix("y"): array for array in arrays if _last(array) == "y"}
    if not len(images) == len(labels) == len(files):
        return False
    for x in images:
        y = labels.get(x.name.removesuffix("X"))
        if y is None or y.dtype.kind not in "iuf":
            return False
        if len(x.shape) != 4 or x.shape[:3] != (32, 32, 3) or y.size != x.shape[3]:
            return False
    digits = np.concatenate([np.unique(y.whole(source.limits)) for y in labels.values()])
    return bool(1 <= digits.min() <= digits.max() == 10)


def _digits(labels: Stored) -> Stored:
    """Labels in which 10 is the digit 0."""
    values = np.empty(labels.stored_shape, labels.dtype)
    for index, block in labels.blocks():
        values[index] = np.where(block == 10, 0, block)
    return InMemory(labels.name, values.reshape(-1))
