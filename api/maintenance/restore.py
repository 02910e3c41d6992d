"""A service out of a backup: everything is checked before anything is at its place.

A backup may come from anywhere. Names in it never become paths: only the manifest's order, lengths
and hashes count. Its database must have the tables of this program's migrations and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from api.maintenance.backup import (
    BLOBS,
    DATABASE,
    KIND,
    MANIFEST,
    VERSION,
    BackupError,
    Entry,
    Manifest,
)
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.blobs.references import REFERRING
from api.store.database import Database, why_away
from api.store.datasets import INTERRUPTED
from api.store.jsonvalues import read_json
from api.store.migrate import migrate, revisions
from api.store.soundness import unsound_rows
from saf import files

MANIFEST_BYTES = 2**28
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def restore(settings: Settings, source: Path, *, keep_unreadable: bool = False) -> Manifest:
    """Make `settings.data_dir` from the backup; it must not be there, or be empty.

    All of it appears, or nothing. Rows with values that this program does not write are refused,
    unless `keep_unreadable`; the service shows them as unreadable. Raises BackupError in one line,
    and OSError.
    """
    if settings.database_url or settings.artifacts_url:
        raise BackupError(
            "a backup is restored into one directory: unset DATABASE_URL and ARTIFACTS_URL"
        )
    target = settings.data_dir.absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target} is not empty; name another directory with --data-dir")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-restore-", dir=target.parent))
    try:
        store = DirectoryStore(str(work / "artifacts"))
        with source.open("rb") as file:
            manifest = _unpack(file, work, store)
        _check_database(work / Path(settings.database).name, manifest, work)
        if not keep_unreadable:
            _check_values(work / Path(settings.database).name)
        _interrupt_checks(work / Path(settings.database).name)
        _sync_tree(work)
        os.rename(work, target)  # onto an empty directory, or none
    except BackupError as error:
        raise BackupError(f"{source} cannot be restored: {error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    files.sync_folder(target.parent)
    return manifest


def _unpack(file: IO[bytes], work: Path, store: DirectoryStore) -> Manifest:
    """Write the files of the backup below `work`, under names of our own."""
    try:
        with tarfile.open(fileobj=file, mode="r|", errorlevel=2) as archive:
            members = _members(archive)
            manifest = _read_manifest(archive, members)
            for entry in manifest.entries:
                content = _next(archive, members, entry.name, entry.bytes)
                if entry is manifest.database:
                    path = work / "saf.sqlite3"
                else:
                    path = store.path(entry.sha256)
                    path.parent.mkdir(parents=True, exist_ok=True)
                _write(content, entry, path)
            if (extra := next(members, None)) is not None:
                raise BackupError(f"it holds {extra.name[:80]!r}, which its manifest does not name")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise BackupError(f"it is damaged or no backup: {error}") from error
    return manifest


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member


def _next(
    archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo], name: str, size: int
) -> IO[bytes]:
    member = next(members, None)
    if member is None:
        raise BackupError(f"it ends before {name}; fetch it again, whole")
    if member.name != name:
        raise BackupError(f"it holds {member.name[:80]!r} where {name} should be")
    content = archive.extractfile(member) if member.type == tarfile.REGTYPE else None
    if content is None or member.issparse():
        raise BackupError(f"{name} in it is a link or a device, and no file")
    if member.size != size:
        raise BackupError(f"{name} has {member.size} bytes where {size} should be")
    return content


def _read_manifest(archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo]) -> Manifest:
    first = next(members, None)
    if first is None or first.name != MANIFEST or first.type != tarfile.REGTYPE:
        raise BackupError(f"it does not begin with {MANIFEST}; is it a file of `saf backup`?")
    if first.size > MANIFEST_BYTES:
        raise BackupError(f"its {MANIFEST} has {first.size} bytes, too many to be one")
    content = archive.extractfile(first)
    assert content is not None
    try:
        document: Any = json.loads(content.read())
        if not isinstance(document, dict) or document.pop("kind", None) != KIND:
            raise BackupError(f"its {MANIFEST} is not that of a backup")
        if (version := document.pop("version", None)) != VERSION:
            raise BackupError(f"it has version {str(version)[:20]}; this program reads {VERSION}")
        manifest = _MANIFEST.validate_python(document)
    except (ValidationError, ValueError, RecursionError) as error:
        raise BackupError(f"its {MANIFEST} is damaged") from error
    names = [entry.sha256 for entry in manifest.blobs]
    if (
        manifest.database.name != DATABASE
        or names != sorted(set(names))
        or any(not _SHA256.fullmatch(entry.sha256) for entry in manifest.entries)
        or any(entry.name != f"{BLOBS}{entry.sha256}" for entry in manifest.blobs)
    ):
        raise BackupError(f"its {MANIFEST} is damaged")
    return manifest


def _write(content: IO[bytes], entry: Entry, path: Path) -> None:
    with path.open("xb") as file:
        found = files.digest(files.blocks(content), copy_to=file)
        file.flush()
        os.fsync(file.fileno())
    if found.bytes != entry.bytes:
        raise BackupError(f"it ends inside {entry.name}; fetch it again, whole")
    if found.sha256 != entry.sha256:
        raise BackupError(f"{entry.name} is damaged: its SHA-256 is not the one in {MANIFEST}")


def _check_database(path: Path, manifest: Manifest, work: Path) -> None:
    """The tables are ours, the content is whole, and every file that it refers to is there."""
    known = revisions()
    if manifest.revision not in known:
        raise BackupError(
            f"its tables are of version {manifest.revision[:80]!r}, which this program does not "
            "know; restore it with the version that wrote it, or a newer one"
        )
    expected = work / "expected.sqlite3"
    address = URL.create("sqlite", database=str(expected))
    database = Database(address.render_as_string())
    migrate(database, to=manifest.revision)
    database.dispose()
    try:
        with _open(expected) as ours, _open(path) as theirs:
            if _schema(theirs) != _schema(ours):
                raise BackupError("its database has other tables than the service makes")
            (sound,) = theirs.execute("PRAGMA integrity_check(1)").fetchone()
            if sound != "ok" or theirs.execute("PRAGMA foreign_key_check").fetchone():
                raise BackupError("its database is damaged")
            (revision,) = theirs.execute("SELECT version_num FROM alembic_version").fetchone()
            if revision != manifest.revision:
                raise BackupError(f"its database is not of the version that {MANIFEST} says")
            there = {entry.sha256 for entry in manifest.blobs}
            for column in REFERRING:
                if not _has(ours, column.table.name):
                    continue
                statement = f'SELECT DISTINCT "{column.name}" FROM "{column.table.name}"'
                for (sha256,) in theirs.execute(statement):
                    if sha256 is not None and sha256 not in there:
                        raise BackupError(f"its database refers to {sha256!a}, which is not in it")
            lengths = {entry.sha256: entry.bytes for entry in manifest.blobs}
            for sha256, size in theirs.execute("SELECT sha256, bytes FROM blobs"):
                if lengths.get(sha256, size) != size:
                    raise BackupError(f"its database says that {sha256} has {size!a} bytes")
    except sqlite3.Error as error:
        raise BackupError(f"its database is damaged: {error}") from error
    finally:
        for file in work.glob("expected.sqlite3*"):
            file.unlink()


def _check_values(path: Path) -> None:
    """Every value is one that this program writes."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True),
        json_deserializer=read_json,
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            rows = unsound_rows(connection)
            first = next(rows, None)
            if first is not None:
                more = sum(1 for _ in rows)
                beside = f", and {more} more rows" if more else ""
                raise BackupError(
                    f"its database holds what this program does not write: {first}{beside}; "
                    "--keep-unreadable restores it all the same, and such rows are shown as "
                    "unreadable"
                )
    except SQLAlchemyError as error:
        raise BackupError(f"its database is damaged: {why_away(error)}") from error


def _interrupt_checks(path: Path) -> None:
    """What was being checked is not in the backup, only its row: say so at once."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(
            "UPDATE datasets SET status = 'invalid', problems = ?, checked_at = created_at "
            "WHERE status IN ('checking', 'needs_choice')",
            (json.dumps([INTERRUPTED]),),
        )
    finally:
        connection.close()


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )
    try:
        # What the file itself might define is not run.
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
    return [(type_, name, " ".join((sql or "").split())) for type_, name, sql in found]


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
    return found.fetchone() is not None


def _sync_tree(directory: Path) -> None:
    for folder in [directory, *(path for path in directory.rglob("*") if path.is_dir())]:
        files.sync_folder(folder)
