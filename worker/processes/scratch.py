"""Scratch directories of attempts. Each is removed with its attempt; after a worker that was
killed, the next worker on the machine cleans up."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from api.host.lock import DirectoryInUseError, DirectoryLock, take
from worker.processes.process import kill_leftovers

LOCK_PATIENCE = 2.0  # seconds; another worker that starts may take a new directory for a left-over
log = logging.getLogger(__name__)


class Scratch:
    """The directories of one worker, held by a lock that ends with its process."""

    def __init__(self, data_dir: Path, worker_id: str) -> None:
        """Make them below `data_dir/work`. Raises OSError."""
        self._root = (data_dir / "work").absolute()
        self.directory = self._root / worker_id
        try:
            self._lock = DirectoryLock(self.directory, patience=LOCK_PATIENCE)
        except DirectoryInUseError as error:
            raise OSError(str(error)) from error

    def clear_leftovers(self) -> None:
        """Remove the directories of dead workers, and kill processes that outlived them."""
        for directory in self._root.iterdir():
            if directory == self.directory or not directory.is_dir():
                continue
            try:
                handle = take(directory / "lock", make=True)
            except FileNotFoundError:  # removed at this moment by another worker that starts
                continue
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
        """Make an empty directory for one attempt, which is removed at the end."""
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
        self._lock.release()
