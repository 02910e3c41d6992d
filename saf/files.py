"""Files on a disk: written whole or not at all, and known by the SHA-256 of what is in them."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

BLOCK = 2**20  # bytes that are read at once


@dataclass(frozen=True)
class Digest:
    """SHA-256 and length of the content of a file."""

    sha256: str
    bytes: int


@contextmanager
def written(path: Path, *, replace: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place at `path` at the end of the `with` block.

    A reader, or what is left after a power cut, sees all of it or what was there before; an
    exception in the block leaves nothing behind. The umask is taken from `mode`. Raises OSError;
    without `replace`, FileExistsError where there is a file by then.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, as `written` does, in a folder that is made. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as file:
        file.write(content)


def move(path: Path, target: Path) -> None:
    """Rename a file, whose content is on the disk already, over `target`, and wait until the disk
    has the name. Raises OSError."""
    path.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """What is left to read in `file`, in pieces. Raises OSError."""
    while block := file.read(BLOCK):
        yield block


def digest(
    pieces: Iterable[bytes],
    *,
    copy_to: IO[bytes] | None = None,
    unwanted: Callable[[], bool] = bool,
) -> Digest:
    """SHA-256 and length of the pieces one after the other, which are written to `copy_to`.

    Raises OSError, and InterruptedError once `unwanted()` is true.
    """
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        if unwanted():
            raise InterruptedError("nobody waits for it any more")
        hashed.update(piece)
        size += len(piece)
        if copy_to is not None:
            copy_to.write(piece)
    return Digest(hashed.hexdigest(), size)


def digest_of(path: Path) -> Digest:
    """SHA-256 and length of a file. Raises OSError."""
    with path.open("rb") as file:
        return digest(blocks(file))
