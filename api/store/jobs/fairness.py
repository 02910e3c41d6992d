"""Fair share between users: who of them is served next, inside a priority.

Whoever has fewer jobs with workers goes first; of those who have as many, whoever was served longer
ago; of one user's jobs the oldest. So of two users with a hundred jobs each one of either is taken
in turn, whoever came first. Jobs that belong to nobody go before those of users; with accounts the
first admin has adopted them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, select, update
from sqlalchemy.orm import Session, aliased

from api.store.accounts.tables import User
from api.store.database import now
from api.store.tables.jobs import ACTIVE, Job
from api.store.tables.results import Export


def has_users(session: Session) -> bool:
    """Whether there is anybody to be fair to."""
    return session.scalar(select(User.id).limit(1)) is not None


def by_turn(query: Select[Any]) -> Select[Any]:
    """The jobs of a query in the order in which they are served."""
    query, held, served = _shares(query)
    return query.order_by(Job.priority, held, served, Job.queued_at, Job.id)


def places(condition: ColumnElement[bool]) -> Select[tuple[str, int]]:
    """The ids of all jobs that fulfil it, and the place of each in the line: 1, 2, …, if nobody
    else comes and no job ends."""
    in_order = (Job.queued_at, Job.id)
    own = func.row_number().over(partition_by=(Job.priority, Job.owner_id), order_by=in_order)
    waiting: Any = select(Job.id, Job.priority, Job.queued_at)
    query, held, served = _shares(waiting)
    turns = query.add_columns((held + own).label("turn"), served.label("served")).where(condition)
    line = turns.subquery()
    place = func.row_number().over(
        order_by=(line.c.priority, line.c.turn, line.c.served, line.c.queued_at, line.c.id)
    )
    return select(line.c.id, place.label("place"))


def exports_by_turn(query: Select[Any], under_way: ColumnElement[bool]) -> Select[Any]:
    """The exports of a query in the order in which they are made: first of whoever has fewer under
    way, then of whoever had one begun longer ago, by whose jobs they are of; of each the oldest."""
    own = (
        select(
            Job.owner_id,
            func.count(case((under_way, 1))).label("number"),
            func.max(Export.started_at).label("served"),
        )
        .join(Job, Job.id == Export.job_id)
        .where(Job.owner_id.is_not(None))
        .group_by(Job.owner_id)
        .subquery()
    )
    of_job = aliased(Job)
    query = query.join(of_job, of_job.id == Export.job_id)
    query = query.outerjoin(own, own.c.owner_id == of_job.owner_id)
    turn = (func.coalesce(own.c.number, 0), func.coalesce(own.c.served, 0.0))
    return query.order_by(*turn, Export.created_at, Export.id)


def was_served(session: Session, owner_id: str | None) -> None:
    """A job of that user was taken just now."""
    if owner_id is not None:
        session.execute(
            update(User)
            .where(User.id == owner_id)
            .values(served_at=now())
            .execution_options(synchronize_session=False)
        )


def _shares(query: Select[Any]) -> tuple[Select[Any], ColumnElement[int], ColumnElement[float]]:
    """The query with what each owner has: how many jobs with workers, and when they last got
    one."""
    active = (
        select(Job.owner_id, func.count().label("number"))
        .where(Job.status.in_(ACTIVE), Job.owner_id.is_not(None))
        .group_by(Job.owner_id)
        .subquery()
    )
    joined = query.select_from(Job).outerjoin(active, active.c.owner_id == Job.owner_id)
    joined = joined.outerjoin(User, User.id == Job.owner_id)
    return joined, func.coalesce(active.c.number, 0), func.coalesce(User.served_at, 0.0)
