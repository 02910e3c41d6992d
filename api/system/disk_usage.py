"""Disk usage of the service, and free space, cached for a while."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url

from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.database import Database
from api.store.tables.base import Blob

REMEMBERED_SECONDS = 30.0
MOST_ENTRIES = 20_000  # of the working folders; beyond, their size is a lower bound


@dataclass(frozen=True, kw_only=True)
class StorageUse:
    """Bytes on disk; None where they cannot be told from here."""

    database: int | None
    artifacts: int
    files: int
    """How many artifacts there are, each content once."""
    work: int | None
    """What the workers of this machine write while they train."""
    copies: int | None
    """What this machine has fetched from a bucket and keeps for a while."""
    place: str
    """Where the artifacts are."""
    free: int | None
    """Room left for artifacts."""
    total: int | None
    """Of the file system of the artifacts."""

    @property
    def is_scarce(self) -> bool:
        """Less than 5 % or 1 GiB is left."""
        return self.free is not None and self.free < max(2**30, 0.05 * (self.total or 0))


class Storage:
    """Asks at most once in `REMEMBERED_SECONDS`, however many pages are open."""

    def __init__(self, database: Database, store: ArtifactStore, settings: Settings) -> None:
        self._database = database
        self._store = store
        self._settings = settings
        self._lock = threading.Lock()
        self._use: StorageUse | None = None
        self._asked = 0.0

    def use(self) -> StorageUse:
        """What is used, as of now or shortly before."""
        with self._lock:
            if self._use is None or time.monotonic() - self._asked > REMEMBERED_SECONDS:
                self._use = self._look()
                self._asked = time.monotonic()
            return self._use

    def _look(self) -> StorageUse:
        with self._database.reading() as session:
            files, artifacts = session.execute(
                select(func.count(), func.coalesce(func.sum(Blob.bytes), 0))
            ).one()
            if self._database.is_sqlite:
                database = _sqlite_bytes(self._settings.database)
            else:
                asked = text("SELECT pg_database_size(current_database())")
                database = int(session.execute(asked).scalar_one())
        free, total = self._store.room() or (None, None)
        return StorageUse(
            database=database,
            artifacts=int(artifacts),
            files=files,
            work=_folder_bytes(self._settings.data_dir / "work"),
            copies=_folder_bytes(self._settings.data_dir / "cache"),
            place=self._store.address,
            free=free,
            total=total,
        )


def _sqlite_bytes(url: str) -> int | None:
    path = make_url(url).database
    if not path:
        return None
    parts = (Path(path + suffix) for suffix in ("", "-wal", "-shm"))
    return sum(part.stat().st_size for part in parts if part.exists())


def _folder_bytes(folder: Path) -> int | None:
    """The size of the files below a folder; files that vanish meanwhile do not count."""
    if not folder.is_dir():
        return None
    size = entries = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            entries += 1
            try:
                size += os.lstat(os.path.join(directory, name)).st_size
            except OSError:
                continue
        if entries > MOST_ENTRIES:
            break
    return size
