"""Limits in the database: those of a user or a project, and the defaults of all.

The API writes the defaults of its settings into the database when it starts, so that workers, which
hold jobs back, know of no other ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store.database import Database
from api.store.limits import kinds
from api.store.limits.kinds import Name, Side
from api.store.limits.tables import Limit

_LOCK = 0x117  # an advisory lock of PostgreSQL: the first number; the second is whose limits
SIDES: tuple[Side, ...] = ("users", "projects")


def publish(database: Database, settings: Settings) -> None:
    """Write the defaults of the settings down where they are others than those that are there."""
    with database.reading() as session:
        told = {side: own(session, side) for side in SIDES}
    due = {side: kinds.defaults(settings, side) for side in SIDES}
    if told == due:
        return
    with database.writing() as session:
        count_alone(session, "defaults")
        for side in SIDES:
            for name, most in due[side].items():
                session.merge(Limit(subject_id=side, name=name, most=most))


def own(session: Session, subject_id: str) -> dict[str, float]:
    """The numbers that were said for this user or project alone, by the names of limits."""
    rows = session.execute(select(Limit.name, Limit.most).where(Limit.subject_id == subject_id))
    return {row.name: row.most for row in rows}


def of(session: Session, side: Side, subject_id: str) -> dict[str, float]:
    """The numbers that hold for a user or a project; 0, or what is missing: any number."""
    rows = session.execute(
        select(Limit.subject_id, Limit.name, Limit.most).where(
            Limit.subject_id.in_((side, subject_id))
        )
    ).all()
    found = {row.name: row.most for row in rows if row.subject_id == side}
    return found | {row.name: row.most for row in rows if row.subject_id == subject_id}


def change(session: Session, subject_id: str, numbers: Mapping[Name, float | None]) -> None:
    """Say other numbers for a user or a project; None: the default again."""
    for name, most in numbers.items():
        row = session.get(Limit, (subject_id, name), with_for_update=True)
        if most is None:
            if row is not None:
                session.delete(row)
        elif row is None:
            session.add(Limit(subject_id=subject_id, name=name, most=most))
        else:
            row.most = most
    session.flush()


def count_alone(session: Session, subject: str) -> None:
    """Until the end of this transaction no other one counts what that user or project has, so that
    two that find room for one do not both take it. On SQLite one transaction writes at a time."""
    if session.get_bind().dialect.name == "postgresql":
        key = func.hashtext(subject)
        session.execute(select(func.pg_advisory_xact_lock(_LOCK, key)))
