"""Data sets in the database: one that was interrupted, one that goes."""

from __future__ import annotations

from sqlalchemy import (
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session

from api.store.tables import (
    Blob,
    Dataset,
    DatasetPreview,
    Job,
)

INTERRUPTED = {
    "message": "the check was interrupted and the upload is gone",
    "hint": "Upload the file again.",
}


def kept_bytes(session: Session, user: str | None = None) -> int:
    """Bytes that data sets take unpacked, those of one user or all of them; each content once."""
    used = select(Dataset.sha256).where(Dataset.sha256.is_not(None))
    if user is not None:
        used = used.where(Dataset.uploaded_by == user)
    found = session.scalar(select(func.sum(Blob.bytes)).where(Blob.sha256.in_(used)))
    return int(found or 0)


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
