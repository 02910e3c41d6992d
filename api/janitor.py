"""Takes away what may go: in the database, the artifact store, this machine's data directory."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.artifacts import ArtifactStore, Item, in_short
from api.store.database import Database
from api.store.directory import file_clock
from api.store.garbage import Garbage
from api.store.retention import Retention
from api.store.space import Space
from api.store.tables import Dataset

FIRST_SECONDS = 60.0  # a service that is started again and again clears up too
HOUR = 3600.0
log = logging.getLogger(__name__)


class Janitor:
    """What `saf gc` does, and a thread that does it every few hours."""

    def __init__(
        self,
        database: Database,
        store: ArtifactStore,
        settings: Settings,
        *,
        whole_database: bool = False,
    ) -> None:
        """`whole_database`: a SQLite file that can only be made smaller as a whole may be, for
        which others wait with their writing."""
        self._database = database
        self._settings = settings
        self._space = Space(database, whole=whole_database)
        grace = settings.gc_grace_hours * HOUR
        self._retention = Retention(database, store, settings)
        self._garbage = Garbage(database, store, grace)
        self._leftovers = Leftovers(database, settings.data_dir.absolute(), grace)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def find(self) -> Iterator[Item]:
        """Everything that may go, and nothing else is touched. Old rows come first: what they
        alone refer to goes with them. Raises what the database raises, and OSError."""
        yield from self._retention.find()
        yield from self._garbage.find()
        yield from self._leftovers.find()
        yield from self._space.find()

    def collect(self) -> Counter[str]:
        """Remove all of it; the bytes of each kind. Raises as `find`."""
        freed: Counter[str] = Counter()
        for item in self.find():
            if self._stop.is_set():
                break
            if item.remove():
                freed[item.kind] += item.bytes
        return freed

    def start(self) -> None:
        """Begin, unless the settings say that only `saf gc` collects."""
        if self._settings.gc_hours:
            self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for the removal that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = self._settings.gc_hours * HOUR
        wait = min(FIRST_SECONDS, pause)
        while not self._stop.wait(wait):
            wait = pause
            try:
                if freed := self.collect():
                    kinds = ", ".join(f"{kind} {size}" for kind, size in sorted(freed.items()))
                    log.info("removed what was no longer kept, in bytes: %s", kinds)
            except (SQLAlchemyError, OSError) as error:
                log.warning("not all could be cleared up: %s", in_short(error))


class Leftovers:
    """Folders of this machine whose process is gone: uploads without a row, what attempts left."""

    def __init__(self, database: Database, data_dir: Path, grace_seconds: float) -> None:
        self._database = database
        self._data_dir = data_dir
        self._grace = grace_seconds

    def find(self) -> Iterator[Item]:
        """Those that nobody holds and that have not changed for the grace time. Raises OSError and
        what the database raises."""
        for kind, folder in (("upload", "uploads"), ("working folder", "work")):
            parent = self._data_dir / folder
            if not parent.is_dir():
                continue
            before = file_clock(parent) - self._grace
            for path in sorted(parent.iterdir()):
                if self._may_go(kind, path, before):
                    size = sum(f.lstat().st_size for f in path.rglob("*") if f.is_file())
                    remove = partial(self._remove, kind, path, before)
                    yield Item(kind=kind, name=path.name, bytes=size, remove=remove)

    def _may_go(self, kind: str, path: Path, before: float) -> bool:
        if path.is_symlink() or not path.is_dir() or path.stat().st_mtime >= before:
            return False
        if kind == "upload" and self._is_checking(path.name):
            return False
        handle = _hold(path)
        if handle is not None:
            os.close(handle)
        return handle is not None

    def _remove(self, kind: str, path: Path, before: float) -> bool:
        handle = _hold(path)
        if handle is None:
            return False
        try:
            if path.stat().st_mtime >= before or (
                kind == "upload" and self._is_checking(path.name)
            ):
                return False
            shutil.rmtree(path)
        finally:
            os.close(handle)
        return True

    def _is_checking(self, dataset_id: str) -> bool:
        with self._database.reading() as session:
            row = select(Dataset.id).where(Dataset.id == dataset_id, Dataset.status == "checking")
            return session.scalar(row) is not None


def _hold(directory: Path) -> int | None:
    """The lock of a folder that has one, as a handle; None while a process holds it.

    Nothing is written: looking must not make a folder younger.
    """
    try:
        handle = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
