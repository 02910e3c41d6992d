"""References to files: rows of other tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, exists, not_, or_, select
from sqlalchemy.orm import Session

from api.store.tables.base import Base, Blob
from api.store.tables.results import Artifact, Checkpoint

REFERRING: tuple[Column[Any], ...] = tuple(
    key.parent
    for table in Base.metadata.sorted_tables
    for key in table.foreign_keys
    if key.column.table is Blob.__table__
)
"""The columns that name a file, whatever table they are in."""


def unreferenced(sha256: Any) -> ColumnElement[bool]:
    """No row of any table refers to the file."""
    return not_(or_(*(exists().where(column == sha256) for column in REFERRING)))


def hashes_of_job(session: Session, job_id: str) -> list[str]:
    """The files that a job's rows refer to."""
    return [
        *session.scalars(select(Artifact.sha256).where(Artifact.job_id == job_id)),
        *session.scalars(select(Checkpoint.sha256).where(Checkpoint.job_id == job_id)),
    ]
