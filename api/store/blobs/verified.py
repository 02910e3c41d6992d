"""Files are what their names say: a file of the store is used only once its SHA-256 was compared.

A small file is read whole and compared each time. A large one is compared once for each process,
and again when its inode, length or time of change is another one: what changes in place without
these, as when bits of a disk fail while a process runs, `saf scrub` finds.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from saf import files

SMALL_BYTES = 2**20
MOST_REMEMBERED = 100_000
SETTLED_SECONDS = 2.0  # a file that changed just now may change again within the same tick
READ_BYTES = 64 * 2**10

State = tuple[int, int, int, int]  # device, inode, length, time of change


class DamagedError(OSError):
    """A file of the store has another content than its name says."""

    def __init__(self, sha256: str, what: str) -> None:
        super().__init__(f"the file {sha256} is damaged: {what}")
        self.sha256 = sha256


class Verified:
    """Files that this process has compared with their names. Callable from any thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, State] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(64)]

    def check(self, path: Path, sha256: str, unwanted: Callable[[], bool] = bool) -> None:
        """Raise DamagedError unless `path` has the content that `sha256` says.

        Raises FileNotFoundError, OSError, and InterruptedError once `unwanted()` is true.
        """
        with path.open("rb") as file:
            self._check(file.fileno(), sha256, unwanted)

    def check_open(self, handle: int, sha256: str) -> State:
        """Raise DamagedError unless an open file has the content that `sha256` says; what it was
        when that was compared. Raises OSError."""
        return self._check(handle, sha256, bool)

    def trust(self, path: Path, sha256: str) -> None:
        """Remember that this process compared the content of `path` while it wrote it."""
        self._remember(sha256, _state_of(path.stat()))

    def open(self, path: Path, sha256: str) -> BinaryIO:
        """The content of `path`, compared with `sha256`, to be read at any position.

        Of a large file each read makes sure that it has not changed since. Raises as `check`;
        reading raises DamagedError.
        """
        file = path.open("rb", buffering=0)
        try:
            if os.fstat(file.fileno()).st_size <= SMALL_BYTES:
                with file:
                    content = file.read(SMALL_BYTES + 1)
                _compare(files.digest([content]), sha256)
                return io.BytesIO(content)
            state = self._check(file.fileno(), sha256, bool)
        except BaseException:
            file.close()
            raise
        return cast(BinaryIO, io.BufferedReader(_Unchanged(file, state, sha256), READ_BYTES))

    def _check(self, handle: int, sha256: str, unwanted: Callable[[], bool]) -> State:
        turn = self._turns[int(sha256[:8], 16) % len(self._turns)]
        while not turn.acquire(timeout=0.5):  # two that ask at once read it once
            if unwanted():
                raise InterruptedError("nobody waits for it any more")
        try:
            state = _state(handle)
            if state[2] > SMALL_BYTES:
                with self._lock:
                    if self._known.get(sha256) == state:
                        self._known.move_to_end(sha256)
                        return state
            _compare(files.digest(_blocks(handle), unwanted=unwanted), sha256)
            settled = time.time() - state[3] / 1e9 > SETTLED_SECONDS
            if settled and _state(handle) == state:
                self._remember(sha256, state)
            return state
        finally:
            turn.release()

    def _remember(self, sha256: str, state: State) -> None:
        with self._lock:
            self._known[sha256] = state
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)


class _Unchanged(io.RawIOBase):
    """A file that was compared: reading ends with DamagedError once it is not the same any more."""

    def __init__(self, file: io.FileIO, state: State, sha256: str) -> None:
        self._file = file
        self._state = state
        self._sha256 = sha256

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        if count and _state(self._file.fileno()) != self._state:
            raise DamagedError(self._sha256, "it changed while it was read")
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _state(handle: int) -> State:
    return _state_of(os.fstat(handle))


def _state_of(status: os.stat_result) -> State:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _blocks(handle: int) -> Iterator[bytes]:
    """All of an open file, whose position stays what it is."""
    position = 0
    while block := os.pread(handle, files.BLOCK, position):
        yield block
        position += len(block)


def _compare(found: files.Digest, sha256: str) -> None:
    if found.sha256 != sha256:
        raise DamagedError(sha256, f"its {found.bytes} bytes have the SHA-256 {found.sha256}")
