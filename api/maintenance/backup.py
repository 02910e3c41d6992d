"""Backup: one file with all data of the one-machine service, written while it runs.

The file is a tar archive without compression: `manifest.json`, `database.sqlite3`, then
`blobs/SHA-256` for every file that a row refers to. The manifest tells length and SHA-256 of all
that follows.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.engine import make_url

from api.host.lock import DirectoryLock
from api.settings import Settings
from api.store.blobs.directory import BACKUP, DirectoryStore
from api.store.blobs.open import open_store
from api.store.blobs.references import REFERRING
from saf import files

KIND = "saf-backup"
VERSION = 1
MANIFEST = "manifest.json"
DATABASE = "database.sqlite3"
BLOBS = "blobs/"
BUSY_SECONDS = 30.0
ELSEWHERE = (
    "saf backup and saf restore are for the one-machine service, whose database is SQLite; for "
    "PostgreSQL use pg_dump and pg_restore, see docs/operating/backup.md"
)
IN_A_BUCKET = (
    "saf backup holds files of a directory, and these are in {address}; copy the database first, "
    "then the bucket, see docs/operating/backup.md"
)


class BackupError(Exception):
    """A backup cannot be written, or must not be restored; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the backup."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of a backup."""

    revision: str  # of the tables
    created_at: float  # seconds since 1970, by this machine's clock
    database: Entry
    blobs: tuple[Entry, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All files, in the order in which they follow."""
        return (self.database, *self.blobs)


def write(settings: Settings, target: Path) -> Manifest:
    """Write the backup of `settings.data_dir`, whether or not the service runs.

    What is committed when it begins is in it, and nothing that comes later. All of the file appears
    at `target`, or nothing. Raises BackupError, and OSError where it cannot be written.
    """
    database = _database_file(settings)
    store = _directory(settings)
    if not database.is_file():
        raise BackupError(
            f"there is no service in {settings.data_dir}: {database.name} is missing; name its "
            "directory with --data-dir"
        )
    if target.exists():
        raise BackupError(f"{target} is there already; choose another name")
    store.directory.mkdir(parents=True, exist_ok=True)
    try:
        with _workplace(store.directory) as work:
            hashes = _snapshot(database, store, work)
            manifest = _manifest(work, hashes)
            with files.written(target, replace=False, mode=0o600) as file:
                _pack(manifest, work, file)
    except FileExistsError:
        raise BackupError(f"{target} is there already; choose another name") from None
    except sqlite3.Error as error:
        raise BackupError(f"the database cannot be read: {error}") from error
    return manifest


def check_elsewhere(settings: Settings) -> None:
    """BackupError where the database is not SQLite."""
    if make_url(settings.database).get_backend_name() != "sqlite":
        raise BackupError(ELSEWHERE)


def _directory(settings: Settings) -> DirectoryStore:
    store = open_store(settings)
    if not isinstance(store, DirectoryStore):
        raise BackupError(IN_A_BUCKET.format(address=store.address))
    return store


def _database_file(settings: Settings) -> Path:
    check_elsewhere(settings)
    return Path(make_url(settings.database).database or "")


@contextmanager
def _workplace(directory: Path) -> Iterator[Path]:
    """A folder beside the files, so that they can be linked; `saf gc` leaves it alone while it is
    locked, and takes it away when it was left behind."""
    work = Path(tempfile.mkdtemp(prefix=BACKUP, dir=directory))
    lock = DirectoryLock(work)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _snapshot(database: Path, store: DirectoryStore, work: Path) -> list[str]:
    """The database in `work/database.sqlite3`, and links to the files that its rows refer to.

    While the files are linked nobody writes: a file goes only in a writing transaction. The copy
    of the database takes longer, and is of the state that its reader saw then.
    """
    reader = _connect(database)
    try:
        guard = _connect(database)
        try:
            guard.execute("BEGIN IMMEDIATE")
            reader.execute("BEGIN")
            hashes = sorted(_referenced(reader))
            missing = [sha256 for sha256 in hashes if not _link(store, sha256, work)]
        finally:
            guard.close()
        if missing:
            raise BackupError(
                f"{len(missing)} files that the database refers to are missing in "
                f"{store.directory}, the first is {missing[0]}; find them, or delete the jobs and "
                "data sets that need them"
            )
        copy = sqlite3.connect(work / DATABASE, isolation_level=None)
        try:
            reader.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, no -wal beside it
        finally:
            copy.close()
        return hashes
    finally:
        reader.close()


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None)


def _referenced(connection: sqlite3.Connection) -> set[str]:
    found: set[str] = set()
    for column in REFERRING:
        statement = f'SELECT DISTINCT "{column.name}" FROM "{column.table.name}"'
        found |= {sha256 for (sha256,) in connection.execute(statement) if sha256 is not None}
    return found


def _link(store: DirectoryStore, sha256: str, work: Path) -> bool:
    try:
        os.link(store.path(sha256), work / sha256)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without links
        shutil.copyfile(store.path(sha256), work / sha256)
    return True


def _manifest(work: Path, hashes: list[str]) -> Manifest:
    blobs = []
    for sha256 in hashes:
        found = files.digest_of(work / sha256)
        if found.sha256 != sha256:
            raise BackupError(
                f"the file {sha256} is damaged: its SHA-256 is {found.sha256}; delete the job "
                "or data set that it belongs to, or put the file back"
            )
        blobs.append(Entry(name=f"{BLOBS}{sha256}", bytes=found.bytes, sha256=sha256))
    found = files.digest_of(work / DATABASE)
    connection = sqlite3.connect(work / DATABASE)
    try:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    finally:
        connection.close()
    return Manifest(
        revision=str(revision),
        created_at=time.time(),
        database=Entry(name=DATABASE, bytes=found.bytes, sha256=found.sha256),
        blobs=tuple(blobs),
    )


def _pack(manifest: Manifest, work: Path, file: BinaryIO) -> None:
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        text = json.dumps({"kind": KIND, "version": VERSION, **asdict(manifest)}).encode()
        archive.addfile(_info(MANIFEST, len(text)), io.BytesIO(text))
        for entry in manifest.entries:
            with (work / entry.name.removeprefix(BLOBS)).open("rb") as content:
                archive.addfile(_info(entry.name, entry.bytes), content)


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info
