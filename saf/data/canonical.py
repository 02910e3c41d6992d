"""The canonical form of a data set: one safetensors file, the same bytes for the same data.

The metadata holds one key, `saf_dataset`: JSON with the version of the format and the class names.
The tensors are `y_train y_test x_train x_test`; with a validation split `y_val x_val`, too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from saf.data.dataset import Array, Dataset
from saf.errors import DataError

VERSION = 1
_KEY = "saf_dataset"
_NAMES = ("y_train", "y_test", "x_train", "x_test")  # int64 first, so that all is aligned
_NAMES_WITH_VALIDATION = ("y_train", "y_test", "y_val", "x_train", "x_test", "x_val")
_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
}
_BLOCK = 2**24


@dataclass(frozen=True)
class Saved:
    """A file that was written."""

    sha256: str
    bytes: int


def save(dataset: Dataset, path: Path) -> Saved:
    """Write the canonical file: all of it appears at `path`, or nothing. Raises OSError.

    Written by hand rather than by `safetensors`, whose order of metadata differs from run to run
    and which holds the whole file in memory; the layout is that of its specification.
    """
    path = Path(path)
    names = _NAMES if dataset.y_val is None else _NAMES_WITH_VALIDATION
    arrays = {name: np.ascontiguousarray(getattr(dataset, name)) for name in names}
    head = _header(arrays, dataset.class_names)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.sha256(head)
    size = len(head)
    try:
        with temporary.open("wb") as file:
            file.write(head)
            for array in arrays.values():
                content = array.astype(_stored(array), copy=False).reshape(-1).data.cast("B")
                for start in range(0, len(content), _BLOCK):
                    block = content[start : start + _BLOCK]
                    file.write(block)
                    digest.update(block)
                size += len(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return Saved(digest.hexdigest(), size)


def load(path: Path) -> Dataset:
    """The data set of a canonical file, its samples mapped into memory and not read at once.

    The file may come from anywhere: header, shapes, labels and values are checked. The arrays may
    be written to; that changes neither the file nor other readers. Raises DataError.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            layout = [(name, _slice(file, name)) for name in file.offset_keys()]
        start = 8 + int.from_bytes(_first_bytes(path, 8), "little")
    except FileNotFoundError:
        raise DataError(
            f"there is no file {path.name}", hint="Check the path of the data set."
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _foreign(path, str(error)[:200]) from error
    class_names = _class_names(path, metadata)
    found = sorted(name for name, _ in layout)
    if found not in (sorted(_NAMES), sorted(_NAMES_WITH_VALIDATION)):
        raise _foreign(path, f"its tensors are {found!a}"[:200])
    arrays: dict[str, Any] = {}
    for name, (dtype, shape) in layout:
        if dtype not in _DTYPES:
            raise _foreign(path, f"{name} has the type {dtype}")
        kind = _DTYPES[dtype]
        if math.prod(shape) == 0:
            arrays[name] = np.zeros(shape, kind)
        else:
            arrays[name] = np.memmap(path, kind, mode="c", offset=start, shape=shape).view(
                np.ndarray
            )
        start += math.prod(shape) * kind.itemsize
    return Dataset(**arrays, class_names=class_names)


def _header(arrays: dict[str, Array], class_names: tuple[str, ...]) -> bytes:
    entries: dict[str, Any] = {
        "__metadata__": {
            _KEY: json.dumps({"version": VERSION, "class_names": list(class_names)}),
        }
    }
    kinds = {dtype: name for name, dtype in _DTYPES.items()}
    offset = 0
    for name, array in arrays.items():
        entries[name] = {
            "dtype": kinds[_stored(array)],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _stored(array: Array) -> np.dtype[Any]:
    return array.dtype.newbyteorder("<")


def _slice(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    tensor = file.get_slice(name)
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _class_names(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    if _KEY not in metadata:
        raise _foreign(path, f"its metadata lacks {_KEY!r}")
    try:
        described = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise _foreign(path, "its metadata are no JSON") from error
    if not isinstance(described, dict) or not isinstance(described.get("class_names"), list):
        raise _foreign(path, "its metadata lack the class names")
    if described.get("version") != VERSION:
        raise DataError(
            f"{path.name} has version {str(described.get('version'))[:20]!a} of the format; "
            f"this program reads version {VERSION}",
            hint="Read it with the program that wrote it, and save the original files again.",
        )
    return tuple(described["class_names"])


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path.name} is damaged or was not written by saf.data.save: {reason}",
        hint="Send the original files (images, IDX, CIFAR batches or .npz) instead.",
    )
