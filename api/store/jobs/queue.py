"""The queue of jobs that wait for a worker: by priority, fairly between users, then by age."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, ScalarSelect, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from api.store.database import now
from api.store.jobs import fairness
from api.store.limits.full import Full, full
from api.store.tables.jobs import WAITING, Job
from api.store.tables.workers import Worker
from api.store.visibility import EVERYTHING


def ready() -> ColumnElement[bool]:
    """Condition on a job's row: it is queued, and its wait, if any, is over."""
    return and_(Job.status.in_(WAITING), or_(Job.retry_at.is_(None), Job.retry_at <= now()))


def jobs_ahead(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """For each of the queued jobs the number that are served before it, in one query.

    A job that is tried again at a later time, or that a limit holds back, is ahead of none. Those
    of others count, too.
    """
    waiting = [job.id for job in jobs if job.status in WAITING]
    if not waiting:
        return {}
    if fairness.has_users(session):
        line = fairness.places(and_(ready(), full(session).takes())).subquery()
    else:
        place = func.row_number().over(order_by=(Job.priority, Job.queued_at, Job.id))
        line = select(Job.id, place.label("place")).where(ready()).subquery()
    places = select(line.c.id, line.c.place).where(line.c.id.in_(waiting))
    found = session.execute(places.execution_options(**EVERYTHING))
    return {job_id: number - 1 for job_id, number in found}


def first(session: Session, *, limit: int) -> list[Job]:
    """The jobs that are served next, in order; those that are tried again later follow in the
    order of their times, and then what a limit holds back."""
    later = case((ready(), 0.0), else_=Job.retry_at)
    ordered = select(Job).where(Job.status.in_(WAITING))
    if fairness.has_users(session):
        ordered = ordered.order_by(case((full(session).takes(), 0), else_=1), later)
        ordered = fairness.by_turn(ordered)
    else:
        ordered = ordered.order_by(later, Job.priority, Job.queued_at, Job.id)
    return list(session.scalars(ordered.limit(limit)))


def next_in_line(session: Session, held: Full) -> ScalarSelect[str]:
    """The job that is served next and that no limit holds back, locked; other transactions go on to
    the one behind it."""
    waiting = select(Job.id).where(ready(), held.takes())
    if fairness.has_users(session):
        waiting = fairness.by_turn(waiting)
    else:
        waiting = waiting.order_by(Job.priority, Job.queued_at, Job.id)
    first = waiting.limit(1).with_for_update(skip_locked=True, of=Job)
    return first.correlate(None).scalar_subquery()


def announce(session: Session, *, after_seconds: float, limit: int = 10) -> list[str]:
    """Jobs whose wake-up may be lost: queued for long although a live worker has a free slot.

    Also those whose time for another try has come. A wake-up in the future was sent by a clock that
    has been put back since.
    """
    live = and_(
        Worker.stopped_at.is_(None),
        Worker.draining.is_(None),
        Worker.seen_at > now() - 3 * after_seconds,
    )
    free = select(Worker.id).where(live, Worker.busy < Worker.slots).exists()
    unheard = or_(
        Job.announced_at.is_(None),
        Job.announced_at < now() - after_seconds,
        Job.announced_at < Job.retry_at,
        Job.announced_at > now(),
    )
    first = (
        select(Job.id)
        .where(ready(), full(session).takes(), unheard, free)
        .order_by(Job.priority, Job.queued_at)
        .limit(limit)
    )
    return list(
        session.scalars(
            update(Job)
            .where(Job.id.in_(first), unheard)
            .values(announced_at=now())
            .returning(Job.id)
            .execution_options(synchronize_session=False)
        )
    )
