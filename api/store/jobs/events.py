"""The timeline of a job: numbered lines, each with the time by the database's clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.tables.jobs import Job
from api.store.tables.results import Event
from api.store.webhooks import outbox


def add(session: Session, job_id: str, type_: str, **data: Any) -> None:
    """The next line; its number is taken under the lock of the job's row."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(events_count=Job.events_count + 1)
        .returning(Job.events_count, Job.attempt)
        .execution_options(synchronize_session=False)
    ).one()
    session.add(
        Event(
            job_id=job_id,
            sequence=row.events_count,
            type=str(type_),
            attempt=row.attempt,
            at=clock(session),
            data=data,
        )
    )
    session.flush()
    outbox.job_became(session, job_id, str(type_))
