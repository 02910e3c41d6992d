"""Data sets in the database: one that was interrupted, one that goes."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, func, select, true, update
from sqlalchemy.orm import Session

from api.store.tables.base import Blob
from api.store.tables.jobs import Job
from api.store.tables.uploads import Dataset, DatasetPreview
from api.store.visibility import EVERYTHING

INTERRUPTED = {
    "message": "the check was interrupted and the upload is gone",
    "hint": "Upload the file again.",
}


_COUNTING = 0x5B0  # an advisory lock of PostgreSQL


def count_alone(session: Session) -> None:
    """Until the end of this transaction no other one counts, so that two that find room for one
    data set do not both take it. On SQLite one transaction writes at a time anyway. Called before
    rows are locked."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_COUNTING)))


Of = ColumnElement[bool] | None
"""The condition on data sets that count, such as those of one user; None: all of them."""


def kept_bytes(session: Session) -> int:
    """Bytes that all data sets take unpacked; each content once."""
    used = select(Dataset.sha256).where(Dataset.sha256.is_not(None))
    total = select(func.sum(Blob.bytes)).where(Blob.sha256.in_(used))
    found = session.scalar(total.execution_options(**EVERYTHING))
    return int(found or 0)


def waiting_bytes(session: Session, of: Of = None) -> int:
    """Bytes of uploads that are kept as they were sent: until they are checked, and until somebody
    says how they are to be read."""
    waits = Dataset.status.in_(("checking", "needs_choice"))
    waiting = select(func.sum(Dataset.upload_bytes)).where(waits, true() if of is None else of)
    found = session.scalar(waiting.execution_options(**EVERYTHING))
    return int(found or 0)


def is_kept(session: Session, sha256: str) -> bool:
    """Whether one of the data sets has this content."""
    found = select(Dataset.id).where(Dataset.sha256 == sha256).limit(1)
    return session.scalar(found.execution_options(**EVERYTHING)) is not None


def drop_dataset(session: Session, dataset_id: str) -> list[str]:
    """Remove the row of an upload and what belongs to it; jobs that have ended keep its name.
    Returns the files that may go after the commit."""
    hashes = [
        *session.scalars(select(Dataset.sha256).where(Dataset.id == dataset_id)),
        *session.scalars(
            select(DatasetPreview.sha256).where(DatasetPreview.dataset_id == dataset_id)
        ),
    ]
    session.execute(update(Job).where(Job.dataset_id == dataset_id).values(dataset_id=None))
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    return [sha256 for sha256 in hashes if sha256 is not None]
