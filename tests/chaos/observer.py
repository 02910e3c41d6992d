"""Looks at the jobs all the time, past all proxies, and says when a fault is overcome."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import Database
from api.store.tables.jobs import ACTIVE, TERMINAL, Job, Status
from tests.chaos.checks.witness import stands_still
from tests.chaos.cluster import marked
from tests.chaos.memory import Memory

LOOK_SECONDS = 0.15


@dataclass(frozen=True, kw_only=True)
class Look:
    """A job as it was seen."""

    status: str
    attempt: int
    step: int
    worker_id: str | None


@dataclass(kw_only=True)
class Watch:
    """A fault, and what has to happen until it is overcome."""

    kind: str
    since: float
    jobs: dict[str, Look]  # those that trained
    service: Callable[[], bool] | None  # that the service as a whole is there again
    ends_attempts: bool = False  # its jobs go on with another attempt only
    hit_again: bool = False  # nothing to measure: another fault came before, or no job was hit
    healed: bool = True  # a fault that lasts is watched from its end on
    seconds: float | None = None

    def is_over(self, looks: dict[str, Look]) -> bool:
        """Each job has ended, rests on request, or is further than it was."""
        for job_id, before in self.jobs.items():
            look = looks.get(job_id)
            if look is None or look.status in (*TERMINAL, Status.paused):
                continue
            if not self._is_further(look, before):
                return False
        return self.service is None or self.service()

    def _is_further(self, look: Look, before: Look) -> bool:
        if self.ends_attempts and look.attempt == before.attempt:
            return False  # what a dead process had said may still come in
        if look.status == Status.converting:
            return before.status != Status.converting or look.attempt > before.attempt
        return look.status == Status.running and look.step > before.step


@dataclass(kw_only=True)
class Observer:
    """What was seen last, and the faults that are not overcome yet."""

    database: Database
    memory: Memory
    machines: Path
    looks: dict[str, Look] = field(default_factory=dict)
    watches: list[Watch] = field(default_factory=list)
    _ended: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: float = 0.0

    def in_status(self, *statuses: str) -> list[str]:
        """The jobs that were in one of these when looked at last."""
        with self._lock:
            return [job_id for job_id, look in self.looks.items() if look.status in statuses]

    def not_ended(self) -> int:
        """How many jobs have not ended; those that were accepted and not seen yet count."""
        with self._lock:
            seen = sum(look.status not in TERMINAL for look in self.looks.values())
            unseen = self.memory.jobs() - self.looks.keys() - self._ended.keys()
        return seen + len(unseen)

    def active(self) -> dict[str, Look]:
        """The jobs that a worker holds."""
        with self._lock:
            return {job: look for job, look in self.looks.items() if look.status in ACTIVE}

    def watch(self, watch: Watch) -> None:
        """Measure how long it takes from here.

        A job that an earlier fault had hit counts for the later one alone from now on, and there
        is nothing to measure where no job was hit.
        """
        watch.hit_again = not watch.jobs and watch.service is None
        for earlier in self.watches:
            if earlier.seconds is None and earlier.jobs.keys() & watch.jobs.keys():
                for job_id in watch.jobs:
                    earlier.jobs.pop(job_id, None)
                earlier.hit_again = not earlier.jobs and earlier.service is None
        self.watches.append(watch)

    def not_overcome(self) -> int:
        """How many faults last, or have jobs that are not yet where they were."""
        return sum(not watch.hit_again and watch.seconds is None for watch in self.watches)

    def look(self) -> None:
        """Look, if it is time to; a database that is away is looked at again later."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK_SECONDS
        columns = (Job.id, Job.status, Job.attempt, Job.step, Job.worker_id)
        with contextlib.suppress(SQLAlchemyError):
            with self.database.reading() as session:
                rows = session.execute(select(*columns)).all()
            self._take(
                {
                    row.id: Look(
                        status=str(row.status),
                        attempt=row.attempt,
                        step=row.step,
                        worker_id=row.worker_id,
                    )
                    for row in rows
                }
            )

    def _take(self, looks: dict[str, Look]) -> None:
        with self._lock:
            self.looks = looks
        for job_id, look in looks.items():
            before = self._ended.get(job_id)
            if before is not None and look.status != before:
                self.memory.violated(
                    "terminal state left", job_id, f"was {before}, is {look.status}"
                )
            if before is None and look.status in TERMINAL:
                self._ended[job_id] = look.status
                self._check_nothing_runs(job_id, look.status)
        now = time.monotonic()
        for watch in self.watches:
            if (
                watch.healed
                and not watch.hit_again
                and watch.seconds is None
                and watch.is_over(looks)
            ):
                watch.seconds = now - watch.since

    def _check_nothing_runs(self, job_id: str, status: str) -> None:
        if job_id in self.memory.cut_off:  # its worker ends it once it reaches the database
            return
        for pid, scratch in marked(self.machines):
            if Path(scratch).name.rpartition("-")[0] == job_id and not stands_still(pid):
                self.memory.violated(
                    f"{status} while a process lives", job_id, f"{pid} in {scratch}"
                )
