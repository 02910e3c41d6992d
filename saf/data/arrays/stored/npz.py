"""The arrays in `.npy` and `.npz` files of a source, sparse matrices of scipy among them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from saf.data.arrays.names import says_what_it_is
from saf.data.arrays.stored.array import CompressedRows, Stored
from saf.data.arrays.stored.npy import HINT, Opened, arrays_of
from saf.data.dataset import Array
from saf.data.sources.limits import Budget
from saf.data.sources.seekable import Seekable, seekable
from saf.data.sources.source import Source
from saf.data.sources.stream import DAMAGE, Content, damaged
from saf.errors import DataError

_MAX_ARRAYS = 256
_SPARSE = frozenset({"indices", "indptr", "data", "shape", "format"})
_OTHER_SPARSE = ({"row", "col", "data", "shape", "format"}, {"offsets", "data", "shape", "format"})


def arrays_in(source: Source) -> list[str]:
    """Names of the `.npy` and `.npz` files that hold a data set; none where they are something
    else, such as one file for each sample."""
    found = [m.name for m in source.members if m.name.lower().endswith((".npy", ".npz"))]
    if len(found) > _MAX_ARRAYS:
        return []
    is_npz = source.label.lower().endswith(".npz")
    if is_npz or any(says_what_it_is(name) for name in found):
        return found
    # train.npz and test.npz, whose arrays have the names
    nested = [name for name in found if name.lower().endswith(".npz")]
    return nested if 0 < len(nested) <= 8 else []


def open_arrays(source: Source) -> tuple[list[Stored], list[str]]:
    """All arrays, no samples read yet, and files that are left out with the reason. Raises
    DataError."""
    arrays: list[Stored] = []
    skipped: list[str] = []
    plain: dict[str, str] = {}
    for file in arrays_in(source):
        if file.lower().endswith(".npz"):
            arrays += _nested(source, file)
        else:
            plain[file[:-4]] = file
    arrays += _read(source, plain, "", lambda name: member(source, name))
    read = {*plain.values(), *(m for m in arrays_in(source))}
    skipped += [f"{each.name}: no array" for each in source.members if each.name not in read]
    if not arrays:
        raise DataError(f"{source.label} holds no arrays", hint=HINT)
    return arrays, skipped


def _read(source: Source, files: dict[str, str], prefix: str, opened: Any) -> list[Stored]:
    """The arrays of one place, by name and file; one of scipy's sparse matrices where they are
    the parts of it."""
    if set(files) >= _SPARSE:
        return [_sparse(source, files, prefix, opened)]
    if any(set(files) >= other for other in _OTHER_SPARSE):
        raise DataError(
            f"{prefix or source.label} holds a sparse matrix of a kind that is not read",
            hint="Save it with scipy.sparse.save_npz(path, x.tocsr()), or dense with numpy.savez.",
        )
    arrays: list[Stored] = []
    for name, file in files.items():
        full = f"{prefix}/{name}" if prefix else name
        arrays += arrays_of(full, file, opened(file), source.limits)
    return arrays


def member(source: Source, file: str) -> Opened:
    """How a member of a source is opened, as often as needed."""

    @contextmanager
    def opened() -> Iterator[Content]:
        contents = source.contents([file])
        try:
            yield next(contents)
        finally:
            contents.close()

    return opened


def _nested(source: Source, file: str) -> list[Stored]:
    """The arrays in an .npz inside an archive or a folder."""
    inner = seekable(source, file)
    try:
        with zipfile.ZipFile(inner) as archive:
            infos = archive.infolist()
    except DAMAGE as error:
        raise damaged(file, error) from error
    files: dict[str, str] = {}
    for info in infos[: _MAX_ARRAYS + 1]:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{file} is compressed in an unusual way", hint=HINT)
        if info.filename.endswith(".npy"):
            files[info.filename[:-4]] = info.filename
    if len(infos) > _MAX_ARRAYS:
        raise DataError(f"{file} holds {len(infos)} arrays", hint=HINT)
    return _read(source, files, file, lambda name: _inside(source, inner, file, name))


def _inside(source: Source, inner: Seekable, file: str, name: str) -> Opened:
    @contextmanager
    def opened() -> Iterator[Content]:
        budget = Budget(source.limits, source.packed_bytes, source.label)
        try:
            archive = zipfile.ZipFile(inner)
            stream = archive.open(name)
        except DAMAGE as error:
            raise damaged(f"{file}/{name}", error) from error
        with archive, stream:
            yield Content(stream, budget, f"{file}/{name}")

    return opened


def _sparse(source: Source, files: dict[str, str], prefix: str, opened: Any) -> Stored:
    label = prefix or source.label
    parts: dict[str, Array] = {}
    for name in _SPARSE:
        (stored,) = arrays_of(name, files[name], opened(files[name]), source.limits)
        parts[name] = stored.whole(source.limits)
    kind = str(parts["format"].reshape(-1)[0]).strip("b'")
    shape = tuple(int(n) for n in parts["shape"].reshape(-1))
    broken = DataError(
        f"{label} holds a sparse matrix that is damaged",
        hint="Save it with scipy.sparse.save_npz(path, x.tocsr()).",
    )
    if kind not in ("csr", "csc") or len(shape) != 2 or min(shape) < 1:
        raise DataError(
            f"{label} holds a sparse matrix of the kind {kind[:20]!r}, which is not read",
            hint="Save it with scipy.sparse.save_npz(path, x.tocsr()).",
        )
    rows, width = shape if kind == "csr" else shape[::-1]
    source.limits.check_array(label, (rows,), width * parts["data"].dtype.itemsize)
    starts, columns = parts["indptr"], parts["indices"]
    if starts.dtype.kind not in "iu" or columns.dtype.kind not in "iu":
        raise broken
    starts, columns = starts.astype(np.int64), columns.astype(np.int64)
    whole = (
        starts.shape == (rows + 1,)
        and columns.ndim == parts["data"].ndim == 1
        and len(columns) == len(parts["data"])
        and starts[0] == 0
        and starts[-1] == len(columns)
        and bool((np.diff(starts) >= 0).all())
        and (not len(columns) or (columns.min() >= 0 and columns.max() < width))
    )
    if not whole:
        raise broken
    name = prefix or "x"
    return CompressedRows(
        name, (rows, width), starts, columns, parts["data"], transposed=kind == "csc"
    )
