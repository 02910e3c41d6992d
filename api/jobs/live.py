"""Live streams (server-sent events): one poller per watched thing, with fan-out to its viewers.

A poller looks into the database from a thread twice a second, begins with the first viewer and
ends after the last. What it finds lies in its watch; a viewer keeps its own position in it, so a
slow viewer misses nothing and one that reconnects goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol, TypeVar

import anyio
from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from api.jobs.schemas import event_document, job_document, job_documents, job_progress
from api.store import viewer
from api.store.database import Database
from api.store.runs import logs
from api.store.tables.jobs import ACTIVE, TERMINAL, Job
from api.store.tables.results import Event, LogChunk
from api.web.dependencies import ServiceDependency
from api.web.limits import UserDependency
from api.web.problems.documents import responses
from api.web.sse import EVENT_STREAM, STILL_HERE, comment, event_stream, message

router = APIRouter(prefix="/v1", tags=["jobs"])

POLL_SECONDS = 0.5  # also the least time between two `progress` messages
COMMENT_SECONDS = 15.0
LISTED_JOBS = 200  # the newest jobs, whose changes the stream of the list sends
REMEMBERED_TICKS = 100  # of the list, in which a slow viewer is told of what left it
POLLING_THREADS = 4
log = logging.getLogger(__name__)


class Watch(Protocol):
    """What one poller reads."""

    def look(self) -> bool:
        """Look into the database (in a thread); True when something changed."""


class JobWatch:
    """A job and its whole timeline."""

    def __init__(self, database: Database, job_id: str) -> None:
        self._database = database
        self._job_id = job_id
        self.version = -1
        self.events: list[tuple[int, str]] = []  # (sequence, JSON), 1, 2, 3 …
        self.progress = ""
        self.done: str | None = None  # the job's JSON once it is terminal
        self.gone = False  # deleted

    def look(self) -> bool:
        with self._database.reading() as session:
            version = session.scalar(select(Job.version).where(Job.id == self._job_id))
            if version == self.version:
                return False
            job = session.get(Job, self._job_id)
            if job is None:
                self.gone = True
                return True
            document = job_document(session, job)
            # After the row: what is terminal there has its last event here.
            newer = session.scalars(
                select(Event)
                .where(Event.job_id == self._job_id, Event.sequence > len(self.events))
                .order_by(Event.sequence)
            ).all()
        self.events += [
            (event.sequence, event_document(event).model_dump_json()) for event in newer
        ]
        self.progress = job_progress(document).model_dump_json()
        if document.status in TERMINAL:
            self.done = document.model_dump_json()
        self.version = job.version
        return True


class JobsWatch:
    """The newest jobs and those that workers hold: which of them changed, which were deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._versions: dict[str, int] = {}
        self.tick = 0
        # id → (tick of its last change, JSON; None once it is deleted)
        self.changes: dict[str, tuple[int, str | None]] = {}

    def look(self) -> bool:
        newest = select(Job.id).order_by(Job.id.desc()).limit(LISTED_JOBS)
        before = self._versions
        with self._database.reading() as session:
            watched = or_(Job.id.in_(newest), Job.status.in_(ACTIVE))
            versions = _versions(session, watched)
            # Those that no worker holds any more, and those that newer ones pushed out.
            left = before.keys() - versions.keys()
            there = _versions(session, Job.id.in_(left)) if left else {}
            found = versions | there
            changed = [job_id for job_id in found if before.get(job_id) != found[job_id]]
            jobs = session.scalars(select(Job).where(Job.id.in_(changed)).order_by(Job.id)).all()
            documents = job_documents(session, jobs)
        if not changed and versions.keys() == before.keys():
            return False
        self.tick += 1
        kept = {
            job_id: (tick, text)
            for job_id, (tick, text) in self.changes.items()
            if job_id in versions or tick > self.tick - REMEMBERED_TICKS
        }
        for document in documents:
            kept[document.id] = (self.tick, job_progress(document).model_dump_json())
        for job_id in left - there.keys():
            kept[job_id] = (self.tick, None)
        self._versions = versions
        self.changes = kept
        return True


def _versions(session: Session, condition: ColumnElement[bool]) -> dict[str, int]:
    found = session.execute(select(Job.id, Job.version).where(condition))
    return {row.id: row.version for row in found}


class LogWatch:
    """The length of a job's log, and whether it will grow."""

    def __init__(self, database: Database, job_id: str) -> None:
        self._database = database
        self._job_id = job_id
        self.newest = 0
        self.ended = False

    def look(self) -> bool:
        with self._database.reading() as session:
            status = session.scalar(select(Job.status).where(Job.id == self._job_id))
            newest = session.scalar(
                select(func.max(LogChunk.id)).where(LogChunk.job_id == self._job_id)
            )
        before = (self.newest, self.ended)
        self.newest = newest or 0
        self.ended = status is None or status in TERMINAL
        return before != (self.newest, self.ended)


W = TypeVar("W", bound=Watch)


class _Poller:
    """Looks at one watch for as long as somebody views it, and wakes the viewers."""

    def __init__(self, watch: Watch, limiter: anyio.CapacityLimiter) -> None:
        self.watch = watch
        self.viewers = 0
        self.failing = False
        self.looked = asyncio.Event()  # has looked once
        self.changed = asyncio.Event()  # replaced by a new one at each change
        self._limiter = limiter
        self.task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Let all viewers go round once."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        while True:
            try:
                changed = await anyio.to_thread.run_sync(self.watch.look, limiter=self._limiter)
                changed = changed or self.failing or not self.looked.is_set()
                self.failing = False
                self.looked.set()
            except Exception as error:  # viewers must not be left with a dead poller
                changed = not self.failing
                if changed:
                    known = isinstance(error, SQLAlchemyError)
                    log.warning("a live stream cannot read: %s", error, exc_info=not known)
                self.failing = True
            if changed:
                self.wake()
            await asyncio.sleep(POLL_SECONDS)


class Streams:
    """All live streams of this process. Use it from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pollers: dict[str, _Poller] = {}
        self._limiter: anyio.CapacityLimiter | None = None
        self._closing = False

    @property
    def watched(self) -> int:
        """How many things are polled."""
        return len(self._pollers)

    def close(self) -> None:
        """End all streams; call it from the event loop."""
        self._closing = True
        for poller in self._pollers.values():
            poller.wake()

    async def job(self, job_id: str, *, after: int = 0) -> AsyncGenerator[str]:
        """The timeline after a sequence number, `progress` at each change, and `done`.

        `progress` comes again in a quiet time too: a browser shows no comments, and so tells a
        connection that is cut from a job that rests.
        """
        sent, version = after, -1
        async with self._viewing(f"job {job_id}", lambda: JobWatch(self._database, job_id)) as (
            poller,
            watch,
        ):
            async for note in self._rounds(poller):
                if note:
                    yield note
                if note == STILL_HERE and watch.progress:
                    version = -1
                for sequence, text in watch.events[sent:]:
                    yield message(text, id_=sequence)
                    sent = sequence
                if watch.done is not None:
                    yield message(watch.done, event="done")
                    return
                if watch.gone:
                    yield message(json.dumps({"id": job_id, "deleted": True}), event="done")
                    return
                if watch.version != version:
                    version = watch.version
                    yield message(watch.progress, event="progress")

    async def jobs(self, *, snapshot: bool = True) -> AsyncGenerator[str]:
        """A `job` message for each job of the list, and again whenever one changes; `deleted` for
        one that is gone; a `beat` now and then.

        Without `snapshot` no more than a `begin` tells from when on every change is sent.
        """
        seen = -1 if snapshot else None
        begun = False
        async with self._viewing("jobs", lambda: JobsWatch(self._database)) as (poller, watch):
            async for note in self._rounds(poller):
                if note:
                    yield note
                if begun and note == STILL_HERE:
                    yield message("{}", event="beat")
                if not poller.looked.is_set():
                    continue
                tick, changes = watch.tick, watch.changes
                for job_id in sorted(changes):
                    changed_at, text = changes[job_id]
                    if seen is None or changed_at <= seen:
                        continue
                    if text is not None:
                        yield message(text, event="job")
                    elif begun:
                        yield message(json.dumps({"id": job_id}), event="deleted")
                seen = tick
                if not begun and not snapshot:
                    yield message("{}", event="begin")
                begun = True

    async def log(self, job_id: str, *, after: int = 0) -> AsyncGenerator[str]:
        """What a job prints after a position, until it has ended."""
        async with self._viewing(f"log {job_id}", lambda: LogWatch(self._database, job_id)) as (
            poller,
            watch,
        ):
            async for note in self._rounds(poller):
                if note:
                    yield note
                ended, newest = watch.ended, watch.newest
                while newest > after:
                    try:
                        piece = await anyio.to_thread.run_sync(self._read_log, job_id, after)
                    except SQLAlchemyError:
                        yield comment("the database does not answer; waiting")
                        break
                    if piece.after == after:  # it was deleted meanwhile
                        newest = after
                        break
                    after = piece.after
                    yield message(json.dumps({"text": piece.text, "after": after}), id_=after)
                if ended and newest <= after:
                    yield message(json.dumps({"after": after}), event="done")
                    return

    def _read_log(self, job_id: str, after: int) -> logs.LogText:
        with self._database.reading() as session:
            return logs.read(session, job_id, after=after)

    @asynccontextmanager
    async def _viewing(self, key: str, make: Callable[[], W]) -> AsyncIterator[tuple[_Poller, W]]:
        """The poller for `key`, started for its first viewer and ended after the last. Each account
        has its own, which sees what is open to it: tasks keep the context that began them."""
        asks = viewer.current()
        if asks is not None and not asks.is_admin:
            key = f"{key} of {asks}"
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(POLLING_THREADS)
        poller = self._pollers.get(key)
        if poller is None:
            poller = self._pollers[key] = _Poller(make(), self._limiter)
        watch: Any = poller.watch
        poller.viewers += 1
        try:
            yield poller, watch
        finally:
            poller.viewers -= 1
            if poller.viewers == 0:
                poller.task.cancel()
                del self._pollers[key]

    async def _rounds(self, poller: _Poller) -> AsyncGenerator[str]:
        """One turn at the beginning and after each change, until the server stops.

        Yields what to send before: a comment, or nothing.
        """
        yield "retry: 1000\n\n"
        while not self._closing:
            changed = poller.changed
            yield comment("the database does not answer; waiting") if poller.failing else ""
            try:
                await asyncio.wait_for(changed.wait(), COMMENT_SECONDS)
            except TimeoutError:
                yield STILL_HERE


@router.get(
    "/stream",
    tags=["jobs"],
    summary="Changes of the newest jobs, live",
    response_class=StreamingResponse,
    responses={
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}},
        **responses(429, 503),
    },
)
def stream_jobs(
    service: ServiceDependency,
    user: UserDependency,
    snapshot: Annotated[
        bool, Query(description="Begin with every job of the list; else only later changes")
    ] = True,
) -> Response:
    """A `job` message (id, name, status, progress, eta_seconds, latest_metrics, …) for each of
    the newest jobs, or a `begin` instead, and from then on `job` for each that changes and
    `deleted` for each that is gone."""
    return event_stream(service.concurrency, user, service.part(Streams).jobs(snapshot=snapshot))
