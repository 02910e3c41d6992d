"""Files by content hash. A row in `blobs` says that a file is there, and its lock guards it.

A file is written under its SHA-256, so the same content is stored once; it is removed after the
commit that took the last row which refers to it, never before: a process that is killed in between
leaves a file too many, and `garbage` finds it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Column, ColumnElement, delete, exists, not_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.store.database import Database, clock, now
from api.store.tables import Artifact, Base, Blob, Checkpoint, new_id

BLOCK = 2**20
INCOMING = ".incoming-"  # files that are being received
BACKUP = ".backup-"  # folders of links, of a backup under way
REFERRING: tuple[Column[Any], ...] = tuple(
    key.parent
    for table in Base.metadata.sorted_tables
    for key in table.foreign_keys
    if key.column.table is Blob.__table__
)
"""The columns that name a file, whatever table they are in."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A file that lies in the store's directory and has no row yet."""

    sha256: str
    bytes: int
    copy: Path


class ArtifactStore:
    """A directory of files by content: `ab/ab12…`. Several machines may share it."""

    def __init__(self, url: str) -> None:
        """`url` is a directory, plain or as `file:///…`; ValueError for any other address."""
        parts = urlsplit(url)
        if parts.scheme not in ("", "file"):
            raise ValueError(
                f"ARTIFACTS_URL has the scheme {parts.scheme!r}; give a directory, plain or as "
                "file:///…, that the API and all workers share"
            )
        self.directory = Path(unquote(parts.path) if parts.scheme else url).absolute()

    def path(self, sha256: str) -> Path:
        """Where the file with this hash is, or would be."""
        return self.directory / sha256[:2] / sha256

    def check(self) -> None:
        """Raise OSError unless files can be written."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.directory) as file:
            file.write(b"x")

    def receive(self, source: Path) -> Incoming:
        """Copy a file into the store's directory, outside any transaction; `keep` it next.

        Raises OSError when it cannot be written; then nothing is left behind.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(prefix=INCOMING, dir=self.directory)
        copy = Path(name)
        try:
            with os.fdopen(handle, "wb") as target, source.open("rb") as origin:
                while block := origin.read(BLOCK):
                    digest.update(block)
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
        copy.chmod(0o644)
        return Incoming(sha256=digest.hexdigest(), bytes=size, copy=copy)

    def keep(self, session: Session, incoming: Incoming) -> str:
        """Give a received file its name and its row, in the session's transaction; its SHA-256."""
        insert = _insert(session)(Blob).values(
            sha256=incoming.sha256, bytes=incoming.bytes, created_at=now()
        )
        session.execute(
            insert.on_conflict_do_update(
                index_elements=[Blob.sha256], set_={"bytes": incoming.bytes}
            )
        )  # takes the row's lock, also when the row is there already
        target = self.path(incoming.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(incoming.copy, target)
        sync_directory(target.parent)
        return incoming.sha256

    def remove_unused(self, session: Session, hashes: Iterable[str]) -> int:
        """Remove those of the files that no row refers to; returns the bytes freed.

        In a transaction of its own, after the rows that referred to them are gone for good.
        """
        freed = 0
        for sha256 in sorted(set(hashes)):
            blob = session.scalar(select(Blob).where(Blob.sha256 == sha256).with_for_update())
            if blob is None or not session.scalar(select(unreferenced(sha256))):
                continue
            freed += blob.bytes
            session.execute(delete(Blob).where(Blob.sha256 == sha256))
            # Under the row's lock, before the commit: a copy that is stored at the same moment
            # waits for the lock and then writes the file anew.
            self.path(sha256).unlink(missing_ok=True)
        return freed

    def remove_unused_of(self, database: Database, hashes: Iterable[str]) -> None:
        """`remove_unused` once the caller has committed; what fails is left to `saf gc`."""
        try:
            if hashes := list(hashes):
                with database.writing() as session:
                    self.remove_unused(session, hashes)
        except (SQLAlchemyError, OSError) as error:
            log.warning("files that nothing refers to stay for now: %s", type(error).__name__)

    def remove_orphan(self, session: Session, sha256: str) -> bool:
        """Remove a file that has no row; False when it has one.

        The row is made for a moment: who stores the same content meanwhile waits for its key, and
        writes the file after this transaction.
        """
        insert = _insert(session)(Blob).values(sha256=sha256, bytes=0, created_at=now())
        made = session.scalar(insert.on_conflict_do_nothing().returning(Blob.sha256))
        if made is None:
            return False
        self.path(sha256).unlink(missing_ok=True)
        session.execute(delete(Blob).where(Blob.sha256 == sha256))
        return True


def unreferenced(sha256: Any) -> ColumnElement[bool]:
    """No row of any table refers to the file."""
    return not_(or_(*(exists().where(column == sha256) for column in REFERRING)))


def register(session: Session, *, job_id: str, name: str, kind: str, sha256: str) -> Artifact:
    """Say that a job left a file behind; a file of the same name is replaced."""
    artifact = session.scalar(
        select(Artifact).where(Artifact.job_id == job_id, Artifact.name == name)
    )
    if artifact is None:
        artifact = Artifact(id=new_id("art"), job_id=job_id, name=name)
        session.add(artifact)
    artifact.kind = kind
    artifact.sha256 = sha256
    artifact.created_at = clock(session)
    session.flush()
    return artifact


def hashes_of_job(session: Session, job_id: str) -> list[str]:
    """The files that a job's rows refer to."""
    return [
        *session.scalars(select(Artifact.sha256).where(Artifact.job_id == job_id)),
        *session.scalars(select(Checkpoint.sha256).where(Checkpoint.job_id == job_id)),
    ]


def sync_directory(directory: Path) -> None:
    """Wait until the names in `directory` are on the disk. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _insert(session: Session) -> Callable[[Any], Any]:
    dialect = session.get_bind().dialect.name
    return postgresql.insert if dialect == "postgresql" else sqlite.insert
