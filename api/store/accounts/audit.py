"""The record of who changed what: lines that are only ever added, each with the hash of the one
before, so that a line that is changed, taken out or put in breaks the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from api.store.accounts.tables import AuditLine
from api.store.database import clock

FIRST = 64 * "0"
"""What the first line has for the hash of the one before."""
HASHED = ("number", "at_ms", "user", "user_id", "key_id", "address", "action", "thing_id", "status",
          "request_id", "previous")  # fmt: skip
_LOCK = 0xA0D  # an advisory lock of PostgreSQL: lines are added one after the other
_AT_ONCE = 1000
_SHOWN = 50


def append(
    session: Session,
    *,
    user: str,
    user_id: str | None,
    key_id: str | None,
    address: str,
    action: str,
    thing_id: str | None,
    status: int,
    request_id: str,
) -> AuditLine:
    """Add a line at the end of the chain."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    last = session.scalar(select(AuditLine).order_by(AuditLine.number.desc()).limit(1))
    line = AuditLine(
        number=1 if last is None else last.number + 1,
        at_ms=round(1000 * clock(session)),
        user=user,
        user_id=user_id,
        key_id=key_id,
        address=address[:64],
        action=action[:200],
        thing_id=None if thing_id is None else thing_id[:200],
        status=status,
        request_id=request_id[:100],
        previous=FIRST if last is None else last.sha256,
    )
    line.sha256 = digest(line)
    session.add(line)
    session.flush()
    return line


def digest(line: AuditLine) -> str:
    """The hash of a line, which holds that of the one before."""
    content = json.dumps([getattr(line, name) for name in HASHED], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def lines(session: Session, *, after: int = 0) -> Iterator[AuditLine]:
    """All lines after a number, in their order."""
    while found := session.scalars(
        select(AuditLine).where(AuditLine.number > after).order_by(AuditLine.number).limit(_AT_ONCE)
    ).all():
        yield from found
        after = found[-1].number
        session.expunge_all()


def verify(session: Session) -> tuple[int, str, str]:
    """How many lines there are up to the first that is wrong, the hash of the last good one, and
    what is wrong; empty where nothing is."""
    number, previous = 0, FIRST
    for line in lines(session):
        if line.number != number + 1:
            return number, previous, f"line {number + 1} is missing"
        if line.previous != previous:
            return number, previous, f"line {line.number} does not follow the one before it"
        if line.sha256 != digest(line):
            return number, previous, f"line {line.number} is not what was written"
        number, previous = line.number, line.sha256
    return number, previous, ""


@dataclass(frozen=True)
class Done:
    """What somebody did to a thing, in a few words."""

    at: float
    user: str
    action: str


def history(
    session: Session, id_: str, *, name: str = "", parameter: str = "", since: float = 0.0
) -> list[Done]:
    """What was done to a thing, the newest fifty first; without what was refused or failed. What
    can be addressed by its name too, as the `parameter` of routes, was so since it was made."""
    is_it = AuditLine.thing_id == id_
    if name:
        by_name = AuditLine.action.contains(f"/{{{parameter}}}", autoescape=True)
        is_new = AuditLine.at_ms >= 1000 * since
        is_it = or_(is_it, and_(AuditLine.thing_id == name, by_name, is_new))
    found = select(AuditLine).where(is_it, AuditLine.status < 400)
    rows = session.scalars(found.order_by(AuditLine.number.desc()).limit(_SHOWN))
    return [Done(row.at_ms / 1000, row.user, _said(row.action)) for row in rows]


def _said(action: str) -> str:
    """What was done, from the route: `cancel` of `POST /v1/jobs/{job_id}/cancel`."""
    method, _, template = action.partition(" ")
    last = template.rpartition("/")[2]
    if method == "POST":
        return {"jobs": "submit", "sweeps": "submit", "datasets": "upload"}.get(last, last)
    what = {"PATCH": "change"}.get(method, method.lower())
    return what if last.startswith("{") else f"{what} {last}"


def newest(
    session: Session, *, limit: int, before: int = 0, thing_id: str = "", user: str = ""
) -> list[AuditLine]:
    """Lines, the newest first."""
    query = select(AuditLine).order_by(AuditLine.number.desc()).limit(limit)
    if before:
        query = query.where(AuditLine.number < before)
    if thing_id:
        query = query.where(AuditLine.thing_id == thing_id)
    if user:
        query = query.where(AuditLine.user == user)
    return list(session.scalars(query))


def as_json(line: AuditLine) -> dict[str, Any]:
    """A line as it is exported: all that the hash is of, and the hash."""
    return {name: getattr(line, name) for name in (*HASHED, "sha256")}
