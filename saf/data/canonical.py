"""The canonical form of a data set: one safetensors file, the same bytes for the same data.

The metadata holds one key, `saf_dataset`: JSON with the version of the format and the class names.
The tensors are `y_train y_test x_train x_test`; with a validation split `y_val x_val`, too.

In version 1 samples are images or event frames, and bytes are divided by 255. Version 2 adds
`unit`, which bytes are divided by (255, or 1 for counts), and samples that are series. It is
written where version 1 cannot say what is meant, so that equal data keep equal files. Version 3
adds `lengths_train lengths_test` (and `lengths_val`), int64: how many of the time steps of each
sample are its own. It is written where there are such.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from saf import files
from saf.data.blocks import blocks
from saf.data.dataset import COUNTS, MAX_SKIPPED, PIXELS, Array, Dataset, skipped_of
from saf.errors import DataError

VERSIONS = (1, 2, 3)
_PADDED = 3  # the version with lengths
_KEY = "saf_dataset"
_KINDS = ("y", "lengths", "x")  # int64 first, so that all is aligned
_SPLITS = ("train", "test", "val")
_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype("u1"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
}


@dataclass(frozen=True)
class Saved:
    """A file that was written."""

    sha256: str
    bytes: int


def save(dataset: Dataset, path: Path) -> Saved:
    """Write the canonical file, block by block: all of it appears at `path`, or nothing. Raises
    OSError.

    Written by hand rather than by `safetensors`, whose order of metadata differs from run to run
    and which holds the whole file in memory; the layout is that of its specification.
    """
    path = Path(path)
    names = _names(dataset.splits, padded=dataset.is_padded)
    arrays: dict[str, Array] = {name: getattr(dataset, name) for name in names}
    head = _header(arrays, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(head)
    size = len(head)
    with files.written(path) as file:
        file.write(head)
        for array in arrays.values():
            for block in blocks(array):
                part = np.ascontiguousarray(block, _stored(array)).reshape(-1).data.cast("B")
                file.write(part)
                digest.update(part)
            size += array.nbytes
    return Saved(digest.hexdigest(), size)


def load(path: Path) -> Dataset:
    """The data set of a canonical file, its samples mapped into memory and not read at once.

    The file may come from anywhere: header, shapes, labels and values are checked. The samples
    may not be written to: copy what you want to change. All processes that load the file share the
    memory that it takes, which the kernel takes back where it needs it. Raises DataError.
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
    described = _described(path, metadata)
    found = sorted(name for name, _ in layout)
    padded = described["version"] == _PADDED
    if found not in [sorted(_names(_SPLITS[:n], padded=padded)) for n in (2, 3)]:
        raise _foreign(path, f"its tensors are {found!a}"[:200])
    arrays: dict[str, Any] = {}
    for name, (dtype, shape) in layout:
        if dtype not in _DTYPES:
            raise _foreign(path, f"{name} has the type {dtype}")
        kind = _DTYPES[dtype]
        if math.prod(shape) == 0:
            arrays[name] = np.zeros(shape, kind)
        else:
            # Memory that may be written to, even on a copy, would count as this process's own.
            mapped = np.memmap(path, kind, mode="r", offset=start, shape=shape).view(np.ndarray)
            arrays[name] = mapped if name.startswith("x_") else mapped.copy()
        start += math.prod(shape) * kind.itemsize
    if described["version"] == 1 and arrays["x_train"].ndim == 3:
        raise _foreign(path, "series need version 2 of the format")
    return Dataset(
        **arrays,
        class_names=tuple(described["class_names"]),
        unit=described.get("unit", PIXELS),
        skipped=_skipped(path, described.get("skipped")),
    )


def _header(arrays: dict[str, Array], dataset: Dataset) -> bytes:
    said: dict[str, Any] = {"version": 1, "class_names": list(dataset.class_names)}
    if dataset.is_series or (dataset.unit == COUNTS and dataset.x_train.dtype == np.uint8):
        said |= {"version": 2, "unit": dataset.unit}
    if dataset.is_padded:
        said |= {"version": _PADDED, "unit": dataset.unit}
    if dataset.skipped:
        said["skipped"] = skipped_of(dataset)
    entries: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(said)}}
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


def _names(splits: Sequence[str], *, padded: bool) -> list[str]:
    """The tensors of a file, in their order."""
    kinds = [kind for kind in _KINDS if padded or kind != "lengths"]
    return [f"{kind}_{split}" for kind in kinds for split in splits]


def _stored(array: Array) -> np.dtype[Any]:
    return array.dtype.newbyteorder("<")


def _slice(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    tensor = file.get_slice(name)
    return tensor.get_dtype(), tuple(tensor.get_shape())


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _skipped(path: Path, said: Any) -> tuple[str, ...]:
    """The files that were left out; those that the metadata only count have no name."""
    if said is None:
        return ()
    count, names = (said.get("count"), said.get("files")) if isinstance(said, dict) else (0, None)
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or type(count) is not int
        or not len(names) <= count <= MAX_SKIPPED
    ):
        raise _foreign(path, "its metadata have no list of skipped files")
    return (*names, *["a further file"] * (count - len(names)))


def _described(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What the metadata say, checked as far as `Dataset` does not."""
    if _KEY not in metadata:
        raise _foreign(path, f"its metadata lacks {_KEY!r}")
    try:
        described = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise _foreign(path, "its metadata are no JSON") from error
    if not isinstance(described, dict) or not isinstance(described.get("class_names"), list):
        raise _foreign(path, "its metadata lack the class names")
    if described.get("version") not in VERSIONS:
        raise DataError(
            f"{path.name} has version {str(described.get('version'))[:20]!a} of the format; "
            f"this program reads versions {VERSIONS[0]} to {VERSIONS[-1]}",
            hint="Read it with the program that wrote it, and save the original files again.",
        )
    if described["version"] == 1:
        described["unit"] = PIXELS
    if type(described.get("unit")) is not int:
        raise _foreign(path, "its metadata lack the unit of bytes")
    return described


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path.name} is damaged or was not written by saf.data.save: {reason}",
        hint="Send the original files (images, IDX, CIFAR batches or .npz) instead.",
    )
