"""What people write on a job: its name, notes, tags, and whether it is a favourite. None of it
changes the training, its specification or the fingerprint of that."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api.errors import NotFoundError
from api.store.database import clock
from api.store.tables.jobs import Job, JobTag


def change(session: Session, job_id: str, changes: Mapping[str, Any]) -> Job:
    """Write some of `name`, `notes`, `tags` (all that it has from then on) and `favourite` on a
    job. Raises NotFoundError."""
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    if "name" in changes:
        job.name = changes["name"]
    if "notes" in changes:
        job.notes = changes["notes"] or None
    if "favourite" in changes and changes["favourite"] != (job.favourite_at is not None):
        job.favourite_at = clock(session) if changes["favourite"] else None
    if "tags" in changes:
        session.execute(delete(JobTag).where(JobTag.job_id == job_id))
        session.add_all(JobTag(job_id=job_id, tag=tag) for tag in dict.fromkeys(changes["tags"]))
    job.version += 1
    session.flush()
    return job


def tags_of(session: Session, job_ids: Collection[str]) -> dict[str, Sequence[str]]:
    """The tags of some jobs in order of the alphabet, by the jobs' ids, in one query."""
    if not job_ids:
        return {}
    rows = session.execute(
        select(JobTag.job_id, JobTag.tag).where(JobTag.job_id.in_(job_ids)).order_by(JobTag.tag)
    )
    found: dict[str, list[str]] = {}
    for job_id, tag in rows:
        found.setdefault(job_id, []).append(tag)
    return {job_id: sorted(tags) for job_id, tags in found.items()}
