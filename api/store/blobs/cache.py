"""Copies, on this machine, of files that lie in a bucket: bounded, the least recently used go.

All processes of a machine may use one cache. A copy has its name only once it is whole and has the
content that the name says; one that was damaged since is fetched again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from api.store.blobs.verified import DamagedError, Verified
from saf import files

PART = ".part-"  # files that are being fetched
PART_SECONDS = 3600.0  # one that has not grown for so long is of a process that is gone
LOOK_SECONDS = 0.5
FRESH_SECONDS = 60.0  # a copy that was asked for just now is about to be opened
log = logging.getLogger(__name__)


class Cache:
    """A directory of copies, each under its SHA-256; its time of access is when it was last asked
    for, its time of change that of its content."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """It is made when the first copy comes. One copy may be larger than `max_bytes`."""
        self.directory = directory
        self.verified = Verified()
        self._max_bytes = max_bytes
        self._locks = [threading.Lock() for _ in range(64)]

    def local(
        self,
        sha256: str,
        source: Callable[[], BinaryIO],
        directory: Path | None,
        unwanted: Callable[[], bool],
    ) -> Path:
        """The copy of a file, fetched from `source` unless it is here; in `directory`, if given.

        Raises DamagedError, InterruptedError once `unwanted()`, OSError of the disk, and what
        `source` raises.
        """
        path = self.directory / sha256
        target = None if directory is None else directory / sha256
        with self._turn(sha256, unwanted):
            try:
                if not self._is_whole(path, sha256, unwanted):
                    raise FileNotFoundError
                _put(path, target)
            except FileNotFoundError:
                with self._fetched(sha256, source, unwanted) as part:
                    _put(part, target)
                    os.replace(part, path)
                    self.verified.trust(path, sha256)
                self._make_room()
        return target or path

    def remove_damaged(self) -> Iterator[str]:
        """Remove the copies whose content is not what their name says; their hashes."""
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.directory.iterdir()):
                if len(path.name) != 64 or not path.is_file():
                    continue
                if files.digest_of(path).sha256 != path.name:
                    path.unlink(missing_ok=True)
                    yield path.name

    def _is_whole(self, path: Path, sha256: str, unwanted: Callable[[], bool]) -> bool:
        """Whether there is a copy that can be used; one that is damaged is removed."""
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        try:
            self.verified.check(path, sha256, unwanted)
        except DamagedError as error:
            log.warning("a copy on this machine is fetched again: %s", error)
            path.unlink(missing_ok=True)
            return False
        return True

    @contextlib.contextmanager
    def _turn(self, sha256: str, unwanted: Callable[[], bool]) -> Iterator[None]:
        """Who asks for a file that is being fetched waits for it."""
        lock = self._locks[int(sha256[:8], 16) % len(self._locks)]
        while not lock.acquire(timeout=LOOK_SECONDS):
            if unwanted():
                raise InterruptedError("nobody waits for it any more")
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _fetched(
        self, sha256: str, source: Callable[[], BinaryIO], unwanted: Callable[[], bool]
    ) -> Iterator[Path]:
        """A verified copy under a name of its own, removed unless it was renamed."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PART, dir=self.directory)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file, source() as origin:
                found = files.digest(files.blocks(origin), copy_to=file, unwanted=unwanted)
                file.flush()
                os.fsync(file.fileno())
            if found.sha256 != sha256:
                raise DamagedError(sha256, f"it has the SHA-256 {found.sha256}")
            part.chmod(0o400)
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove the least recently used copies beyond the bound, and parts nobody writes to."""
        found: list[tuple[float, int, Path]] = []
        now = time.time()
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith(PART):
                        found.append((status.st_atime, status.st_size, Path(entry.path)))
                    elif status.st_mtime < now - PART_SECONDS:
                        os.unlink(entry.path)
        excess = sum(size for _, size, _ in found) - self._max_bytes
        for used, size, path in sorted(found):
            if excess <= 0 or used > now - FRESH_SECONDS:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _put(path: Path, target: Path | None) -> None:
    """Link a copy to where it is needed. Raises OSError."""
    if target is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, target)
