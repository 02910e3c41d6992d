"""Data sets in the database: one that was interrupted, one that goes."""

from __future__ import annotations

from sqlalchemy import (
    delete,
    select,
    update,
)
from sqlalchemy.orm import Session

from api.store.tables import (
    Dataset,
    DatasetPreview,
    Job,
)

INTERRUPTED = {
    "message": "the check was interrupted and the upload is gone",
    "hint": "Upload the file again.",
}


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
