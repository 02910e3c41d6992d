"""HDF5 files that anybody may have made: they reach nothing outside of themselves."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from saf.data.sources.source import Source
from saf.data.sources.stream import BLOCK, Content
from saf.errors import DataError

MAGIC = b"\x89HDF\r\n\x1a\n"


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


def dataset_of(file: Any, path: str, name: str) -> Any:
    """The HDF5 data set at `path` in the file `name`. Raises DataError where it is missing, or its
    values lie in other files: those could be any on this machine."""
    import h5py

    place = file
    for part in path.split("/"):
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        if link is None:
            raise DataError(
                f"{name} has no {path!r}", hint="Send the files as they are distributed."
            )
        if not isinstance(link, h5py.HardLink):
            raise DataError(
                f"{name}: {path!r} is a link, and links are not followed",
                hint="Write the data themselves into the file.",
            )
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        raise DataError(f"{name}: {path!r} is a group, not an array", hint="Check the file.")
    if place.is_virtual or place.external:
        raise DataError(
            f"{name}: the values of {path!r} lie in other files",
            hint="Write the data themselves into the file.",
        )
    return place
