"""Where the files of a data set lie: a folder or an archive, seen the same way.

A source is gone through twice: `members` lists what is there, all names checked, and `contents`
yields what is wanted in the order that costs least. Nothing is ever unpacked onto the disk.
"""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from saf.data.sources import scratch
from saf.data.sources.limits import Budget, LimitError, Limits
from saf.data.sources.stream import Content
from saf.errors import DataError
from saf.sizes import readable

_DRIVE = re.compile(r"^[A-Za-z]:")
_LITTER = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
    | {"@eadir", "#recycle", "#snapshot", "@recycle", "@tmp", "@syno"}
    | {"$recycle.bin", "system volume information", "recycler", "lost+found", "__pycache__"}
)
"""What operating systems and network storage strew about, in lower case."""


@dataclass(frozen=True)
class Member:
    """A file inside a source."""

    name: str  # "/" between folders, relative, without "." and ".."
    size: int  # bytes that its header announces, which need not be true


class Source(ABC):
    """A folder or an archive. Every failure is a DataError that names the file inside."""

    archive = True
    single = False
    """Whether it is one file that is no archive."""
    compressed = False

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.label = path.name
        self.limits = limits
        self.scratch = scratch.default_directory()
        """The directory in which large arrays lie while the data set is read."""

    encodings: tuple[str, ...] = ()
    """In which the names of an archive may be that does not say it; the first is taken."""

    def use_encoding(self, encoding: str) -> None:
        """Read the names in an encoding, of an archive that does not say it. Raises DataError."""
        raise DataError(f"{self.label} says how its names are encoded", hint="Say no encoding.")

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """All files by name; hidden ones and what operating systems strew about are left out."""
        found: dict[str, Member] = {}
        for member in self._list():
            if not member.name:
                raise DataError(
                    f"{self.label} holds a file without a name", hint="Pack the files again."
                )
            if member.name in found:
                raise DataError(
                    f"{self.label} holds {member.name!r} twice",
                    hint="Pack each file once.",
                )
            found[member.name] = member
        return tuple(found[name] for name in sorted(found) if not _is_litter(name))

    @property
    def packed_bytes(self) -> int:
        """What was sent: the bytes of the archive, or of all files of a folder."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(member.size for member in self.members)

    def contents(self, wanted: Collection[str]) -> Generator[Content, None, None]:
        """The wanted members, each to be read before the next is asked for."""
        count = 0
        for content in self._contents(wanted):
            count += 1
            yield content
        if count != len(wanted):
            raise DataError(
                f"{self.label} changed while it was being read",
                hint="Let no other program write to it, and try again.",
            )

    def head(self, name: str, size: int = 512) -> bytes:
        """The first bytes of a member, fewer where it ends before. A compressed tar is unpacked up
        to the member."""
        for content in self._contents([name]):
            return content.read(size)
        return b""

    def allocate(
        self,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        order: Literal["C", "F"] = "C",
    ) -> NDArray[Any]:
        """An array of zeros for samples, first axis first: the one place where memory for them is
        taken. Large ones lie in files of `scratch`, so that they need not fit into memory: go
        through them block by block (`saf.data.blocks`). Raises LimitError if it is too large, and
        DataError where there is no room on the disk. `name` is for the message."""
        kind = np.dtype(dtype)
        size = self.limits.check_array(name, shape, kind.itemsize)
        if size < scratch.IN_MEMORY:
            return np.zeros(tuple(shape), kind, order)
        if order == "F":
            return scratch.mapped(self.scratch, tuple(shape)[::-1], kind).T
        return scratch.mapped(self.scratch, shape, kind)

    @abstractmethod
    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        """What `contents` yields, in the order that costs least."""

    @abstractmethod
    def _list(self) -> Iterator[Member]:
        """All members, names checked and normalised."""

    def _check_count(self, count: int) -> None:
        if count > self.limits.max_entries:
            raise LimitError(
                f"{self.label} holds more than {self.limits.max_entries} files",
                limit="max_entries",
                hint="Send fewer files, or the data as one .npz.",
            )


class Folder(Source):
    """A folder on this machine."""

    archive = False

    def _contents(self, wanted: Collection[str]) -> Iterator[Content]:
        total = sum(member.size for member in self.members)
        budget = Budget(self.limits, total, self.label)
        with self._root() as root:
            for name in wanted:
                try:
                    with open(_open_below(root, name), "rb") as file:
                        yield Content(file, budget, name)
                except OSError as error:
                    raise _unreadable(name, error) from error

    def _list(self) -> Iterator[Member]:
        count = 0
        with self._root() as root:
            for parent, folders, files, handle in os.fwalk(
                ".", dir_fd=root, onerror=self._refuse, follow_symlinks=False
            ):
                names = {entry: (Path(parent) / entry).as_posix() for entry in [*folders, *files]}
                folders[:] = [folder for folder in folders if not _is_litter(names[folder])]
                for entry, name in names.items():
                    count += 1
                    self._check_count(count)
                    if _is_litter(name):
                        continue
                    status = os.stat(entry, dir_fd=handle, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        continue
                    if not stat.S_ISREG(status.st_mode):
                        raise special(self.label, name)
                    yield Member(check_name(name, self.label, self.limits), status.st_size)

    @contextmanager
    def _root(self) -> Iterator[int]:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(self.label, error) from error
        try:
            yield handle
        finally:
            os.close(handle)

    def _refuse(self, error: OSError) -> None:
        raise _unreadable(str(error.filename or self.label), error) from error


def _open_below(root: int, name: str) -> int:
    """A file below a folder, open. A link that took the place of a part of the name since the
    files were listed is not followed: OSError."""
    *folders, last = name.split("/")
    handle = os.dup(root)
    try:
        for folder in folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(folder, flags, dir_fd=handle)
            os.close(handle)
            handle = below
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
    finally:
        os.close(handle)


def _unreadable(name: str, error: OSError) -> DataError:
    return DataError(
        f"{name} cannot be read: {error.strerror}",
        hint="Check that the file is there and may be read.",
    )


def check_name(name: str, label: str, limits: Limits) -> str:
    """The normalised name of a member, or DataError if it could point out of the archive."""
    if len(name) > limits.max_name_length:
        raise DataError(
            f"{label} holds a name of {len(name)} characters; at most "
            f"{limits.max_name_length} are accepted",
            hint="Shorten the names of files and folders.",
        )
    if name.endswith("Icon\r"):  # of a folder on macOS; litter
        return name
    if not name.isprintable():
        raise DataError(
            f"{label} holds a name with control characters or of unknown encoding: {name!a}",
            hint="Rename the file; names are UTF-8.",
        )
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or _DRIVE.match(name) or ".." in parts:
        raise DataError(
            f"{label} holds the name {name!r}, which could point outside of the archive",
            hint="Pack the folder itself, with relative names and '/' between folders.",
        )
    return "/".join(part for part in parts if part not in ("", "."))


def special(label: str, name: str) -> DataError:
    """The refusal of what is neither file nor folder."""
    return DataError(
        f"{label} holds {name!r}, which is a link or a device and not a file",
        hint="Put the files themselves in place of links.",
    )


def check_archive_size(path: Path, limits: Limits) -> int:
    """The size of the file in bytes; DataError if it is over the limit."""
    size = path.stat().st_size
    if size > limits.max_archive_bytes:
        raise LimitError(
            f"{path.name} has {readable(size)}; at most "
            f"{readable(limits.max_archive_bytes)} are accepted",
            limit="max_archive_bytes",
            hint="Send fewer or smaller samples.",
        )
    return size


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _LITTER for part in name.split("/"))
