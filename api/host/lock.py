"""Locks on directories: one holder at a time, released by the kernel when the holder is gone."""

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

    def __init__(self, directory: Path, *, patience: float = 0.0, make: bool = True) -> None:
        """Make the directory, for its owner only, unless `make` is false, and lock it.

        Waits up to `patience` seconds for a holder that is just ending. Raises
        `DirectoryInUseError`, and OSError where the directory cannot be made or written.
        """
        self._path = directory / "lock"
        self._file = _locked(self._path, patience, make_directory=make)

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
        fresh = _locked(self._path, 0.0, make_directory=False)
        # Under the old number, which children may have been given.
        os.dup2(fresh, self._file, inheritable=False)
        os.close(fresh)

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two processes lock two files."""
        os.close(self._file)


def take(path: Path, *, make: bool = False) -> int | None:
    """An exclusive `flock` on a file or directory, as the descriptor that holds it; None while
    another process holds it, and where it was removed while it was opened.

    With `make` a file is made where there is none; without, nothing is written, so that looking
    makes nothing younger. Raises FileNotFoundError, OSError.
    """
    flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
    handle = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _locked(path: Path, patience: float, *, make_directory: bool) -> int:
    """The lock file, open and locked."""
    deadline = time.monotonic() + patience
    while True:
        if make_directory:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = take(path, make=True)
        except FileNotFoundError:
            if not make_directory:
                raise
            file = None  # who held it before removed the directory at this moment
        if file is not None:
            break
        if time.monotonic() >= deadline:
            raise DirectoryInUseError(path.parent, _holder(path))
        time.sleep(0.05)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except OSError:  # the disk is full
        os.close(file)
        raise
    return file


def _holder(path: Path) -> int:
    """The process that wrote its number into a lock file; 0 where none did."""
    try:
        number = path.read_text().strip()
    except FileNotFoundError:
        return 0
    return int(number) if number.isdecimal() else 0
