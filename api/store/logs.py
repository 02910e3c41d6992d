"""What the processes of a job printed, appended in pieces and read back by position."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.printable import lines
from api.store.database import clock
from api.store.search import folded
from api.store.tables import LogChunk

MAX_CHUNK = 64_000


class LogText(NamedTuple):
    """A piece of a log, and the position after which to ask for more."""

    text: str
    after: int


def append(session: Session, job_id: str, attempt: int, text: str) -> None:
    """Add text to the end of a job's log, without what a terminal would obey or a database
    refuse."""
    text = lines(text)
    at = clock(session)
    for begin in range(0, len(text), MAX_CHUNK):
        piece = text[begin : begin + MAX_CHUNK]
        session.add(LogChunk(job_id=job_id, attempt=attempt, text=piece, at=at))
    session.flush()


def length(session: Session, job_id: str, attempt: int) -> int:
    """Characters that the log of one attempt has."""
    found = select(func.sum(func.length(LogChunk.text))).where(
        LogChunk.job_id == job_id, LogChunk.attempt == attempt
    )
    return int(session.scalar(found) or 0)


def read(session: Session, job_id: str, *, after: int = 0) -> LogText:
    """Everything after a position (0: from the start)."""
    found = session.execute(
        select(LogChunk.id, LogChunk.text)
        .where(LogChunk.job_id == job_id, LogChunk.id > after)
        .order_by(LogChunk.id)
    ).all()
    return LogText("".join(row.text for row in found), found[-1].id if found else after)


def tail(session: Session, job_id: str, lines: int) -> LogText:
    """The last `lines` lines."""
    text = ""
    newest = session.scalar(select(func.max(LogChunk.id)).where(LogChunk.job_id == job_id)) or 0
    before = newest + 1
    while text.count("\n") <= lines:
        row = session.execute(
            select(LogChunk.id, LogChunk.text)
            .where(LogChunk.job_id == job_id, LogChunk.id < before)
            .order_by(LogChunk.id.desc())
            .limit(1)
        ).one_or_none()
        if row is None:
            break
        text, before = row.text + text, row.id
    kept = text.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return LogText("".join(kept), newest)


def search(session: Session, job_id: str, part: str, *, most: int) -> LogText:
    """The last `most` lines that hold `part` in any case, each after its number in the log."""
    text, after = read(session, job_id)
    wanted = folded(part)
    found = [
        f"{number:>6}  {line}\n"
        for number, line in enumerate(text.splitlines(), 1)
        if wanted in folded(line)
    ]
    return LogText("".join(found[-most:]), after)
