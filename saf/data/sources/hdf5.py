"""HDF5 files that anybody may have made: they reach nothing outside of themselves, and what is read
of them takes bounded memory.

A file may ask for other files (external storage, external and soft links, virtual datasets), and
may hold chunks that unpack to far more than they say: both are refused before anything is read.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saf.data.sources.limits import MIB
from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 1000
MAX_TEXTS = 64 * MIB
"""Of the texts of a dataset, in memory."""
_MAX_DEPTH = 16
_MAX_CHUNK = 256 * MIB
_FREE_CHUNK = 512 * MIB  # what a chunk might unpack to without being looked at
_DEFLATE_RATIO = 1032
_DEFLATE, _CHECKSUM = 1, 3  # numbers of filters
_TOGETHER = 1024  # texts


@contextmanager
def opened(content: Content, source: Source) -> Iterator[Any]:
    """The `h5py.File` of a member of `source`, which lies in a nameless file of the directory
    `source.scratch` meanwhile. Raises DataError, also for the damage that HDF5 finds inside of the
    block."""
    import h5py

    with tempfile.TemporaryFile(dir=source.scratch, prefix="saf-") as file:
        shutil.copyfileobj(content, file, BLOCK)
        file.seek(0)
        try:
            with h5py.File(file, "r") as opened:
                yield opened
        except DataError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{content.name} is damaged or no HDF5 file: {str(error)[:200]}",
                hint="Fetch or write the file again.",
            ) from error


def find(file: Any, path: str, label: str) -> h5py.Dataset | None:
    """The dataset at `path` in the file `label`, None where there is none. Raises DataError where
    it is a group, or reading it would read other files or take unbounded memory."""
    import h5py

    place = file
    for part in path.split("/"):
        if not isinstance(place, h5py.Group) or place.get(part, getlink=True) is None:
            return None
        place = _own(place, part, label)
    if not isinstance(place, h5py.Dataset):
        raise DataError(f"{label}: {path!r} is no array", hint="Check the file.")
    check(place, path, label)
    return place


def dataset_of(file: Any, path: str, label: str) -> h5py.Dataset:
    """The same of a dataset that has to be there."""
    found = find(file, path, label)
    if found is None:
        raise DataError(f"{label} has no {path!r}", hint="Send the files as they are distributed.")
    return found


def datasets(
    group: h5py.Group, label: str, without: Collection[str] = ()
) -> Iterator[tuple[str, h5py.Dataset]]:
    """All datasets below a group by path without a leading "/", but for the groups of it that are
    called as in `without`. Raises DataError for what would read other files, and for too many
    objects."""
    import h5py

    count = 0
    waiting: list[tuple[str, h5py.Group]] = [("", group)]
    while waiting:
        path, here = waiting.pop()
        for key in _keys(here, label):
            count += 1
            if count > MAX_OBJECTS or path.count("/") > _MAX_DEPTH:
                raise _too_many(label)
            if not path and key in without:
                continue
            found = _own(here, key, label)
            full = f"{path}/{key}" if path else str(key)
            if isinstance(found, h5py.Group):
                waiting.append((full, found))
            elif found is not None:
                check(found, full, label)
                yield full, found


def texts_of(dataset: h5py.Dataset, name: str) -> NDArray[np.str_] | None:
    """The values of a dataset of texts; None where they are too large to be names or labels.
    Raises DataError where they cannot be read."""
    import h5py

    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or dataset.size * (kind.length or 16) > MAX_TEXTS:
        return None
    if dataset.ndim == 0:
        return None
    step = _TOGETHER
    if kind.length is None:  # one text may be as long as the file, and stand there many times
        step = max(1, min(_TOGETHER, MAX_TEXTS // max(1, dataset.file.id.get_filesize())))
    step = max(1, step // max(1, dataset.size // dataset.shape[0]))
    parts, size = [], 0
    for start in range(0, dataset.shape[0], step):
        try:
            part = np.asarray(dataset.asstr("utf-8", errors="replace")[start : start + step], str)
        except Exception as error:
            raise DataError(f"{name} cannot be read", hint="Write the file again.") from error
        parts.append(part)
        size = max(size, part.itemsize)
        if size * dataset.size > 4 * MAX_TEXTS:
            return None
    return np.concatenate(parts)


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
    if chunk:
        _check_chunks(dataset, name, label, chunk)


def _check_chunks(dataset: h5py.Dataset, name: str, label: str, chunk: int) -> None:
    """DataError where chunks are compressed in a way that is not read, or unpack to more than a
    chunk has: HDF5 itself takes as much memory as they ask for."""
    import h5py

    bomb = DataError(
        f"{label}: chunks of {name!r} unpack to more than the {chunk} bytes of a chunk",
        hint="Write the file again.",
    )
    large: list[tuple[int, ...]] = []

    def look(info: Any) -> bool | None:
        if info.size > 2 * chunk + MIB:
            raise bomb
        if _DEFLATE_RATIO * info.size > _FREE_CHUNK:
            large.append(info.chunk_offset)
        return None

    try:
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(index) for index in range(plist.get_nfilters())]
        for number, _, _, called in filters:
            if not h5py.h5z.filter_avail(number):
                raise DataError(
                    f"{label}: {name!r} is compressed by {called.decode('latin-1') or number}, "
                    "which is not read",
                    hint='Write it with compression="gzip", or without.',
                )
        numbers = [number for number, *_ in filters]
        if numbers.count(_DEFLATE) > 1:
            raise bomb
        if numbers:
            dataset.id.chunk_iter(look)
        if _DEFLATE not in numbers:
            return
        if large and [number for number in numbers if number != _CHECKSUM][-1] != _DEFLATE:
            raise DataError(
                f"{label}: {name!r} is compressed in an unusual way",
                hint='Write it with compression="gzip" alone, in chunks of some 100 KiB.',
            )
        for offset in large:
            mask, packed = dataset.id.read_direct_chunk(offset)
            is_packed = not mask >> numbers.index(_DEFLATE) & 1
            if is_packed and _unpacked(packed, 2 * chunk) > 2 * chunk:
                raise bomb
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{label}: {name!r} is damaged", hint="Write the file again.") from error


def _unpacked(packed: bytes, most: int) -> int:
    """The bytes to which gzip unpacks, counted up to `most`."""
    stream = zlib.decompressobj()
    size = 0
    while packed and not stream.eof and size <= most:
        size += len(stream.decompress(packed, BLOCK))
        packed = stream.unconsumed_tail
    return size


def _too_many(label: str) -> DataError:
    return DataError(
        f"{label} holds more than {MAX_OBJECTS} groups and datasets, or too deep ones",
        hint="Save all samples as one dataset: x_train, y_train, x_test, y_test.",
    )


def _keys(group: h5py.Group, label: str) -> list[str]:
    try:
        if len(group) > MAX_OBJECTS:
            raise _too_many(label)
        return list(group)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{label} is damaged", hint="Write the file again.") from error


def _own(group: h5py.Group, key: str, label: str) -> h5py.Group | h5py.Dataset | None:
    import h5py

    try:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise DataError(
                f"{label}: {key!r} is a link, and links are not followed",
                hint="Put the data themselves in place of links.",
            )
        found = group[key]
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{label}: {key!r} is damaged", hint="Write the file again.") from error
    return found if isinstance(found, (h5py.Group, h5py.Dataset)) else None
