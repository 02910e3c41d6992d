"""`saf scrub`: compares every stored file with its name, and reports what is lost.

What can be made again is told beside it: files of a job by training again, which gives the same
bits, those of a data set by uploading it again, copies of a bucket's files by fetching them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.store.blobs.base import ArtifactStore
from api.store.blobs.cache import Cache
from api.store.blobs.damage import DamageRecord
from api.store.database import Database
from api.store.soundness import unsound_rows
from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.results import Artifact, Checkpoint
from api.store.tables.uploads import Dataset, DatasetPreview, UploadedNetwork
from saf import files

_ROWS_AT_ONCE = 500
State = Literal["whole", "damaged", "missing"]


@dataclass(frozen=True, kw_only=True)
class Use:
    """What needs a file, and how to get it again."""

    what: str
    """`lif.safetensors of job_…`, `data set mine`, …"""
    again: str
    """What makes it anew; empty where nothing needs to be done."""
    can_be_made_again: bool
    """From what the service still has."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A file whose content is not there any more."""

    sha256: str
    bytes: int
    state: State
    reason: str
    uses: tuple[Use, ...]


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """Numbers of files that were checked, and what was found."""

    files: int
    bytes: int
    lost: tuple[Lost, ...]
    healed: tuple[str, ...]
    """Hashes of files that were damaged and are whole again."""
    copies_removed: tuple[str, ...]
    """Hashes of copies in the cache of this machine that were damaged; they are fetched again."""
    database: tuple[str, ...]
    """What is wrong with the database and with the values in its rows."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost and every row can be read."""
        return not self.lost and not self.database

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"is_sound": self.is_sound, **asdict(self)}


def scrub(database: Database, store: ArtifactStore, cache: Path) -> Scrubbed:
    """Read every file of the store once and compare it with its name; the service may run.

    Files that are damaged are marked, so that the service says so and does not use them; marks of
    files that are whole again go. Raises what the database raises, and OSError where the store
    cannot be reached.
    """
    record = DamageRecord(database)
    files = size = 0
    lost: list[Lost] = []
    healed: list[str] = []
    for sha256, length, was_damaged in _rows(database):
        state, reason, read = _look(store, sha256, length)
        if state != "whole" and not _is_there(database, sha256):
            continue  # it was removed meanwhile
        files += 1
        size += read
        if state == "whole":
            if was_damaged:
                record.whole(sha256)
                healed.append(sha256)
            continue
        if state == "damaged":
            record.found(sha256)
        with database.reading() as session:
            uses = tuple(_uses(session, sha256))
        lost.append(Lost(sha256=sha256, bytes=length, state=state, reason=reason, uses=uses))
    with database.reading() as session:
        wrong = (*_integrity(session), *unsound_rows(session.connection()))
    return Scrubbed(
        files=files,
        bytes=size,
        lost=tuple(lost),
        healed=tuple(healed),
        copies_removed=tuple(Cache(cache, 0).remove_damaged()),
        database=wrong,
    )


def _rows(database: Database) -> Iterator[tuple[str, int, bool]]:
    """Every file that should be there, a few at a time: their number has no bound."""
    after = ""
    while True:
        query = (
            select(Blob.sha256, Blob.bytes, Blob.damaged_at)
            .where(Blob.sha256 > after)
            .order_by(Blob.sha256)
            .limit(_ROWS_AT_ONCE)
        )
        with database.reading() as session:
            rows = session.execute(query).all()
        if not rows:
            return
        for row in rows:
            yield row.sha256, row.bytes, row.damaged_at is not None
        after = rows[-1].sha256


def _look(store: ArtifactStore, sha256: str, length: int) -> tuple[State, str, int]:
    try:
        with store.read(sha256) as file:
            found = files.digest(files.blocks(file))
    except FileNotFoundError:
        return "missing", "it is not in the store", 0
    size = found.bytes
    if found.sha256 != sha256:
        how = "" if size == length else f", and {size} bytes instead of {length}"
        return "damaged", f"it has the SHA-256 {found.sha256}{how}", size
    if size != length:
        return "damaged", f"it has {size} bytes, and its row says {length}", size
    return "whole", "", size


def _is_there(database: Database, sha256: str) -> bool:
    with database.reading() as session:
        return session.get(Blob, sha256) is not None


def _uses(session: Session, sha256: str) -> Iterator[Use]:
    artifacts = select(Artifact.name, Artifact.job_id).where(Artifact.sha256 == sha256)
    for name, job_id in session.execute(artifacts):
        trainable = _can_train(session, job_id)
        again = f"submit the specification of {job_id} again, which gives the same network"
        if not trainable:
            again = f"upload its data set again, then {again}"
        yield Use(what=f"{name} of {job_id}", again=again, can_be_made_again=trainable)
    checkpoints = select(Checkpoint.step, Checkpoint.job_id).where(Checkpoint.sha256 == sha256)
    for step, job_id in session.execute(checkpoints):
        what = f"checkpoint of {job_id} at step {step}"
        yield Use(what=what, again="", can_be_made_again=_can_train(session, job_id))
    for name in session.scalars(select(Dataset.name).where(Dataset.sha256 == sha256)):
        yield Use(
            what=f"data set {name}",
            again="upload the original files again, under any name: the same data take its place",
            can_be_made_again=False,
        )
    networks = select(UploadedNetwork.name).where(UploadedNetwork.sha256 == sha256)
    for name in session.scalars(networks):
        yield Use(
            what=f"uploaded network {name}",
            again="upload the same file again, under any name: it takes its place",
            can_be_made_again=False,
        )
    pictures = select(Dataset.name).join(DatasetPreview).where(DatasetPreview.sha256 == sha256)
    for name in session.scalars(pictures):
        yield Use(
            what=f"picture of the data set {name}",
            again="upload the original files again, under any name",
            can_be_made_again=False,
        )


def _can_train(session: Session, job_id: str) -> bool:
    """Whether the data that a job trained on are there, as far as is known."""
    job = session.get(Job, job_id)
    if job is None:
        return False
    if job.dataset_id is None:
        return True
    dataset = session.get(Dataset, job.dataset_id)
    blob = None if dataset is None or not dataset.sha256 else session.get(Blob, dataset.sha256)
    return blob is not None and blob.damaged_at is None


def _integrity(session: Session) -> Sequence[str]:
    """Result of SQLite's integrity check; PostgreSQL checks its own files."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    connection = session.connection()
    said = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
    found = [f"database: {line}" for line in said if line != "ok"]
    for table, row, other, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        found.append(f"{table}, row {row}: refers to a row of {other} that is not there")
    return found
