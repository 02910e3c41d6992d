"""Users and projects at a limit of running jobs or device hours: no worker takes another job of
theirs until there is room again. Their jobs wait and hold up nobody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session

from api.store.limits import hours, numbers
from api.store.limits.kinds import DAYS, Side
from api.store.limits.tables import Attempt, Limit
from api.store.tables.jobs import ACTIVE, Job, Status
from api.store.visibility import EVERYTHING

HOLDING: tuple[Literal["jobs_running", "device_hours"], ...] = ("jobs_running", "device_hours")
_ALL = "claims"  # of everybody


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A limit, and what is used of it."""

    name: Literal["jobs_running", "device_hours"]
    most: float
    used: float
    days: float = 0.0
    """In which device hours count."""

    def said(self, who: str) -> str:
        """Why the jobs of a user or a project wait."""
        raised = "or an admin of the service raises the limit"
        if self.name == "jobs_running":
            runs = "job runs" if self.used == 1 else "jobs run"
            return (
                f"{self.used:g} {runs} of {who}, and {self.most:g} at once are the limit; it goes "
                f"on when one of them ends, {raised}"
            )
        hours = f"{self.used:.1f} of {self.most:g} device hours within {self.days:g} days"
        return f"{who} has used {hours}; it goes on when enough of them are longer ago, {raised}"


@dataclass(frozen=True, kw_only=True)
class Full:
    """Who is at a limit, by id, and at which."""

    users: Mapping[str, Reached]
    projects: Mapping[str, Reached]

    def takes(self) -> ColumnElement[bool]:
        """The condition on jobs that no limit holds back."""
        return and_(
            true(), *_others(Job.owner_id, self.users), *_others(Job.project_id, self.projects)
        )

    def of(self, job: Any) -> tuple[Side, Reached] | None:
        """What holds a job back, if anything does."""
        if (reached := self.users.get(job.owner_id or "")) is not None:
            return "users", reached
        if (reached := self.projects.get(job.project_id or "")) is not None:
            return "projects", reached
        return None


NOBODY = Full(users={}, projects={})


def full(session: Session, *, alone: bool = False) -> Full:
    """Who is at a limit. With `alone` nobody else claims until this transaction ends, so that two
    workers that find room for one job do not both take one."""
    limits = session.execute(
        select(Limit.subject_id, Limit.name, Limit.most).where(Limit.name.in_((*HOLDING, DAYS)))
    ).all()
    if not any(row.most and row.name != DAYS for row in limits):
        return NOBODY
    if alone:
        numbers.count_alone(session, _ALL)
    days = {row.subject_id: row.most for row in limits if row.name == DAYS}.get("users", 30.0)
    return Full(
        users=_reached(session, "users", limits, days),
        projects=_reached(session, "projects", limits, days),
    )


def running(session: Session, of: Any, one: str = "") -> dict[str, int]:
    """Jobs with workers, as `count`."""
    return count(session, of, ACTIVE, one)


def count(session: Session, of: Any, status: Sequence[Status], one: str = "") -> dict[str, int]:
    """Jobs of a status, by `Job.owner_id` or `Job.project_id`: of all that have any, or of one."""
    query = (
        select(of, func.count())
        .where(Job.status.in_(status), of == one if one else of.is_not(None))
        .group_by(of)
        .execution_options(**EVERYTHING)
    )
    return {str(subject): int(number) for subject, number in session.execute(query)}


def _reached(session: Session, side: Side, limits: Any, days: float) -> dict[str, Reached]:
    prefix = "usr_" if side == "users" else "prj_"
    found: dict[str, Reached] = {}
    for name in HOLDING:
        own = {row.subject_id: row.most for row in limits if row.name == name}
        default = own.get(side, 0.0)
        own = {id_: most for id_, most in own.items() if id_.startswith(prefix)}
        if not default and not any(own.values()):
            continue
        used: Mapping[str, float]
        if name == "jobs_running":
            used = running(session, Job.owner_id if side == "users" else Job.project_id)
        else:
            of = Attempt.owner_id if side == "users" else Attempt.project_id
            used = hours.used(session, of, days)
        for subject, number in used.items():
            most = own.get(subject, default)
            if most and number >= most:
                reached = Reached(name=name, most=most, used=number, days=days)
                found.setdefault(subject, reached)
    return found


def _others(column: Any, ids: Mapping[str, Reached]) -> list[ColumnElement[bool]]:
    return [or_(column.is_(None), column.not_in(sorted(ids)))] if ids else []
