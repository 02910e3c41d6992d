"""Directories in which attempts work. They go with the attempt; after a worker that was killed,
the next worker on the machine clears up."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from worker.processes.process import kill_leftovers

log = logging.getLogger(__name__)


class Scratch:
    """The directories of one worker, held by a lock that ends with its process."""

    def __init__(self, data_dir: Path, worker_id: str) -> None:
        """Make them below `data_dir/work`. Raises OSError."""
        self._root = (data_dir / "work").absolute()
        self.directory = self._root / worker_id
        handle = None
        for _ in range(100):  # another worker that starts may take a new directory for a left-over
            self.directory.mkdir(parents=True, exist_ok=True)
            if (handle := _lock(self.directory)) is not None:
                break
            time.sleep(0.02)
        if handle is None:
            raise OSError(f"{self.directory} is another worker's")
        self._handle = handle

    def clear_leftovers(self) -> None:
        """Remove what dead workers left, and end processes that outlived them."""
        for directory in self._root.iterdir():
            if directory == self.directory or not directory.is_dir():
                continue
            try:
                handle = _lock(directory)
            except OSError as error:  # of another user
                log.warning("what may be left in %s stays: %s", directory, error)
                continue
            if handle is None:  # its worker lives
                continue
            try:
                if killed := kill_leftovers(directory):
                    log.warning("ended %d processes of a dead worker", killed)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def attempt(self, job_id: str, attempt: int) -> Iterator[Path]:
        """An empty directory for one attempt, removed at the end."""
        directory = self.directory / f"{job_id}-{attempt}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of this worker's directories."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._handle)


def _lock(directory: Path) -> int | None:
    """A lock that lasts as long as the handle; None when another process holds it."""
    try:
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # removed at this moment by another worker that starts
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if os.fstat(handle).st_nlink == 0:  # removed by the one that held the lock before
        os.close(handle)
        return None
    return handle
