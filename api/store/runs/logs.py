"""Logs of jobs, appended in pieces and read by position."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.store.database import clock
from api.store.search import folded
from api.store.tables.results import LogChunk
from saf.printable import lines

MAX_CHUNK = 64_000
FEWEST_CHUNKS, MOST_CHUNKS = 2, 256  # that are read at once: they may be large, or many
PIECE = 2**17  # characters, about, of a log that are sent at once
MOST_TAIL = 2**23


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
    """Number of characters in the log of one attempt."""
    found = select(func.sum(func.length(LogChunk.text))).where(
        LogChunk.job_id == job_id, LogChunk.attempt == attempt
    )
    return int(session.scalar(found) or 0)


def read(session: Session, job_id: str, *, after: int = 0, until: int | None = None) -> LogText:
    """Text after a position (0: the start), some `PIECE` characters of it, or less at the end or
    at `until`."""
    query = select(LogChunk.id, LogChunk.text).where(LogChunk.job_id == job_id)
    if until is not None:
        query = query.where(LogChunk.id <= until)
    texts: list[str] = []
    size, count = 0, FEWEST_CHUNKS
    while size < PIECE:
        more = query.where(LogChunk.id > after).order_by(LogChunk.id).limit(count)
        found = session.execute(more).all()
        if not found:
            break
        texts += [row.text for row in found]
        size += sum(len(row.text) for row in found)
        after = found[-1].id
        count = min(2 * count, MOST_CHUNKS)
    return LogText("".join(texts), after)


def newest(session: Session, job_id: str) -> int:
    """Position of the end of a log."""
    return session.scalar(select(func.max(LogChunk.id)).where(LogChunk.job_id == job_id)) or 0


def tail(session: Session, job_id: str, lines: int) -> LogText:
    """Last `lines` lines, at most `MOST_TAIL` characters of them."""
    end = newest(session, job_id)
    backwards = select(LogChunk.id, LogChunk.text).where(LogChunk.job_id == job_id)
    texts: list[str] = []
    there = size = 0
    before, count = end + 1, FEWEST_CHUNKS
    while 0 < lines >= there and size < MOST_TAIL:
        more = backwards.where(LogChunk.id < before).order_by(LogChunk.id.desc())
        found = session.execute(more.limit(count)).all()
        if not found:
            break
        texts += [row.text for row in found]
        there += sum(row.text.count("\n") for row in found)
        size += sum(len(row.text) for row in found)
        before = found[-1].id
        count = min(2 * count, MOST_CHUNKS)
    kept = "".join(reversed(texts)).splitlines(keepends=True)[-lines:] if lines > 0 else []
    return LogText("".join(kept)[-MOST_TAIL:], end)


def search(session: Session, job_id: str, part: str, *, most: int) -> LogText:
    """The last `most` lines that hold `part` in any case, each after its number in the log, at
    most `MOST_TAIL` characters of them."""
    wanted = folded(part)
    found: deque[str] = deque(maxlen=most)
    end = newest(session, job_id)
    for number, line in enumerate(_lines(session, job_id, end), 1):
        if wanted in folded(line):
            found.append(f"{number:>6}  {line}\n")
    return LogText("".join(found)[-MOST_TAIL:], end)


def _lines(session: Session, job_id: str, end: int) -> Iterator[str]:
    """The lines of a log up to a position, some of it in memory at a time."""
    after = 0
    begun: list[str] = []  # a line whose end has not come yet
    while after < end:
        text, after = read(session, job_id, after=after, until=end)
        if not text:
            break
        begun.append(text)
        if "\n" in text:
            *whole, last = "".join(begun).splitlines(keepends=True)
            begun = [last]
            if last.endswith("\n"):
                whole, begun = [*whole, last], []
            yield from (line.splitlines()[0] for line in whole)
    yield from "".join(begun).splitlines()
