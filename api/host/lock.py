"""A lock on a directory: one holder at a time, released by the kernel when the holder is gone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


class DirectoryInUseError(Exception):
    """Another process holds the directory; `holder` is its number, 0 when unknown."""

    def __init__(self, directory: Path, holder: int) -> None:
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"{directory} is in use by {who}")
        self.directory = directory
        self.holder = holder


class DirectoryLock:
    """An exclusive `flock` on the file `lock` in a directory.

    A child that is given `fileno()` holds it too, until both have ended.
    """

    def __init__(self, directory: Path, *, patience: float = 0.0) -> None:
        """Make the directory, for its owner only, and lock it.

        Waits up to `patience` seconds for a holder that is just ending. Raises
        `DirectoryInUseError`, and OSError where the directory cannot be made or written.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = directory / "lock"
        self._file = _locked(self._path, patience)

    def fileno(self) -> int:
        """The descriptor that carries the lock."""
        return self._file

    def renew(self) -> None:
        """Lock the directory again where somebody removed the file, so that nobody else can.

        Raises as the constructor; then what was held is still held.
        """
        try:
            there, held = os.stat(self._path), os.fstat(self._file)
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        except FileNotFoundError:
            pass
        fresh = _locked(self._path, 0.0)
        # Under the old number, which children may have been given.
        os.dup2(fresh, self._file, inheritable=False)
        os.close(fresh)

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two processes lock two files."""
        os.close(self._file)


def _locked(path: Path, patience: float) -> int:
    """The lock file, open and locked."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(file, 20, 0).strip()
                os.close(file)
                number = int(holder) if holder.isdigit() else 0
                raise DirectoryInUseError(path.parent, number) from None
            time.sleep(0.05)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # the disk is full
        os.close(file)
        raise
    return file
