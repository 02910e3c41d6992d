"""Hours of devices: of each attempt from its claim until its worker had stopped, or was last heard
of. A training takes one device, or the slot of a worker without any."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from api.store.database import clock, now
from api.store.limits.tables import Attempt
from api.store.tables.jobs import ACTIVE, Job
from api.store.visibility import EVERYTHING

DAY, HOUR = 86_400.0, 3600.0
KEPT_DAYS = 366.0  # that an attempt stays: no limit looks back further


def begin(
    session: Session, job_id: str, attempt: int, *, owner_id: str | None, project_id: str | None
) -> None:
    """A worker took a job just now."""
    session.add(
        Attempt(
            job_id=job_id,
            attempt=attempt,
            owner_id=owner_id,
            project_id=project_id,
            began_at=clock(session),
        )
    )
    session.flush()


def end(session: Session, job_id: str, attempt: int, at: float | None = None) -> None:
    """An attempt is over, just now or since it was last heard of."""
    last: Any = now() if at is None else case((Attempt.began_at > at, Attempt.began_at), else_=at)
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.attempt == attempt, Attempt.ended_at.is_(None))
        .values(ended_at=last)
        .execution_options(synchronize_session=False)
    )


def used(
    session: Session, of: InstrumentedAttribute[str | None], days: float, one: str = ""
) -> dict[str, float]:
    """Hours within the last days, those of what runs among them, by `Attempt.owner_id` or
    `Attempt.project_id`: of all that have any, or of one."""
    at = clock(session)
    start = at - days * DAY
    runs = select(Job.id).where(
        Job.id == Attempt.job_id, Job.attempt == Attempt.attempt, Job.status.in_(ACTIVE)
    )
    counts: ColumnElement[bool] = or_(
        Attempt.ended_at > start, Attempt.ended_at.is_(None) & runs.exists()
    )
    began = case((Attempt.began_at < start, start), else_=Attempt.began_at)
    seconds = func.sum(func.coalesce(Attempt.ended_at, at) - began)
    query = select(of, seconds).where(counts, of == one if one else of.is_not(None)).group_by(of)
    rows = session.execute(query.execution_options(**EVERYTHING))
    return {str(subject): max(0.0, total or 0.0) / HOUR for subject, total in rows}


def forget_old(session: Session) -> None:
    """Remove attempts that count for nothing any more."""
    session.execute(delete(Attempt).where(Attempt.ended_at < clock(session) - KEPT_DAYS * DAY))
