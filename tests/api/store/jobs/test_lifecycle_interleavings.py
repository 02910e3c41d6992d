"""Random interleavings of people, workers and sweepers against the invariants of a job's life."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from api.errors import ConflictError
from api.store import workers
from api.store.database import Database, now
from api.store.ids import new_id
from api.store.jobs import leases, lifecycle, progress, queue
from api.store.migrate import migrate
from api.store.runs import metrics
from api.store.tables.jobs import ACTIVE, TERMINAL, WAITING, Job, Status
from api.store.tables.results import Event
from api.store.workers import Drain

MAX_LOSSES = 3


def key(held: leases.Claim) -> tuple[str, int]:
    return held.job_id, held.attempt


class JobsAndWorkers(RuleBasedStateMachine):
    """Claims stay usable after they are fenced: a zombie may try anything at any time."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.directory.name) / 'x.sqlite3'}")
        migrate(self.database)
        self.ended: dict[str, str] = {}
        self.points: dict[str, list[int]] = {}  # that were accepted, by job
        self.checkpoints: dict[str, list[int]] = {}
        self.at: dict[tuple[str, int], int] = {}  # the step that each attempt is at
        self.parts: dict[str, int] = {}

    def teardown(self) -> None:
        self.database.dispose()
        self.directory.cleanup()

    @rule(target=jobs, priority=st.integers(0, 9))
    def submit(self, priority: int) -> str:
        return self.submit_one(priority)

    def submit_one(self, priority: int, retry_of: str | None = None) -> str:
        job = Job(
            id=new_id("job"),
            name="",
            specification={"seed": 0},
            method="saf-f",
            network="convnet",
            dataset="digits",
            priority=priority,
            parameters=1,
            memory_bytes=1,
            latest={},
            retry_of=retry_of,
        )
        with self.database.writing() as session:
            lifecycle.submit(session, job)
        return job.id

    @rule(target=claims)
    def claim(self) -> object:
        with self.database.reading() as session:
            waiting = session.execute(
                select(Job.priority, Job.queued_at, Job.id).where(
                    Job.status.in_(WAITING), or_(Job.retry_at.is_(None), Job.retry_at < now())
                )
            ).all()
        with self.database.writing() as session:
            found = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=100)
        if found is None:
            assert not waiting
            return multiple()
        assert found.job_id == min(waiting)[2]
        assert found.specification.get("micro_batches") == self.parts.get(found.job_id)
        return found

    @rule(held=claims, verb=st.sampled_from(["renew", "converting"]))
    def work(self, held: leases.Claim, verb: str) -> None:
        calls: dict[str, Callable[[Session], object]] = {
            "renew": lambda s: leases.renew(s, held, lease_seconds=100),
            "converting": lambda s: lifecycle.converting(s, held),
        }
        self.as_worker(held, calls[verb])

    @rule(held=claims, verb=st.sampled_from(["succeed", "fail", "stopped", "lost"]))
    def end(self, held: leases.Claim, verb: str) -> None:
        calls: dict[str, Callable[[Session], object]] = {
            "succeed": lambda s: lifecycle.succeed(s, held),
            "fail": lambda s: lifecycle.fail(s, held, code="data", message="m", hint="h"),
            "stopped": lambda s: lifecycle.stopped(s, held),
            "lost": lambda s: lifecycle.lost(
                s, held, reason="gone", max_losses=MAX_LOSSES, retry_seconds=3600.0
            ),
        }
        self.as_worker(held, calls[verb])

    @rule(held=claims, micro_batches=st.none() | st.integers(2, 8))
    def meet_an_error_that_may_pass(self, held: leases.Claim, micro_batches: int | None) -> None:
        def again(session: Session) -> None:
            lifecycle.try_again(
                session,
                held,
                code="out_of_memory" if micro_batches else "internal",
                message="m",
                hint="h",
                max_losses=MAX_LOSSES,
                retry_seconds=3600.0,
                micro_batches=micro_batches,
            )

        if self.as_worker(held, again) and micro_batches:
            self.parts[held.job_id] = micro_batches

    @rule(held=claims)
    def begin(self, held: leases.Claim) -> None:
        """As the recorder of a worker: what an attempt before wrote after its start is cut off."""
        start = max((s for s in self.checkpoints.get(held.job_id, ()) if s > 0), default=0)

        def started(session: Session) -> None:
            metrics.cut(session, held.job_id, after_step=start)
            lifecycle.running(session, held, step=start, steps_total=99)

        if key(held) not in self.at and self.as_worker(held, started):
            self.at[key(held)] = start
            kept = self.points.get(held.job_id, [])
            self.points[held.job_id] = [step for step in kept if step <= start]

    @rule(held=claims, steps=st.integers(1, 5))
    def train(self, held: leases.Claim, steps: int) -> None:
        if key(held) not in self.at:
            return
        at = self.at[key(held)]
        new = list(range(at + 1, at + steps + 1))

        def write(session: Session) -> None:
            progress.trained(session, held, step=at + steps, epoch=0.0, latest={})
            points = {"loss": [(step, 1.0) for step in new]}
            metrics.append(session, held.job_id, held.attempt, points)

        if self.as_worker(held, write):
            self.at[key(held)] += steps
            self.points.setdefault(held.job_id, []).extend(new)

    @rule(held=claims)
    def write_a_checkpoint(self, held: leases.Claim) -> None:
        if key(held) in self.at and self.as_worker(held, lambda s: progress.secured(s, held)):
            self.checkpoints.setdefault(held.job_id, []).append(self.at[key(held)])

    @rule(job_id=jobs)
    def let_the_wait_pass(self, job_id: str) -> None:
        with self.database.writing() as session:
            session.execute(
                update(Job).where(Job.id == job_id, Job.retry_at.is_not(None)).values(retry_at=1.0)
            )

    @rule(job_id=jobs, seconds=st.sampled_from([-7200.0, 7200.0]))
    def set_the_clock(self, job_id: str, seconds: float) -> None:
        """To a job it looks as if all its times had moved."""
        with self.database.writing() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(lease_until=Job.lease_until + seconds, retry_at=Job.retry_at + seconds)
            )
            leases.correct_times(session, lease_seconds=100)

    @rule(target=jobs, job_id=jobs)
    def retry(self, job_id: str) -> object:
        if self.ended.get(job_id) not in (Status.failed, Status.cancelled):
            return multiple()
        return self.submit_one(5, retry_of=job_id)

    @rule(how=st.sampled_from(Drain))
    def drain(self, how: Drain) -> None:
        """All workers are asked to end; those that take jobs here were started after that."""
        with self.database.writing() as session:
            workers.register(
                session, worker_id="w", host="h", pid=1, version="0", devices=["cpu"], slots=1
            )
            before = workers.draining(session, "w")
            workers.drain(session, how)
            now_ = workers.draining(session, "w")
            assert now_ is (Drain.hand_back if before is Drain.hand_back else how)
            assert queue.announce(session, after_seconds=0.0) == [], "nobody is free"

    @rule(job_id=jobs, verb=st.sampled_from([lifecycle.cancel, lifecycle.pause, lifecycle.resume]))
    def ask(self, job_id: str, verb: Callable[[Session, str], Job]) -> None:
        try:
            with self.database.writing() as session:
                verb(session, job_id)
        except ConflictError:
            pass

    @rule(job_id=jobs)
    def let_the_lease_run_out(self, job_id: str) -> None:
        with self.database.writing() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.lease_until.is_not(None))
                .values(lease_until=1.0)
            )

    @rule()
    def sweep(self) -> None:
        with self.database.writing() as session:
            lifecycle.expire_leases(session, max_losses=MAX_LOSSES)

    @rule(job_id=consumes(jobs))
    def delete(self, job_id: str) -> None:
        try:
            with self.database.writing() as session:
                lifecycle.delete(session, job_id)
        except ConflictError:
            assert job_id not in self.ended
        else:
            self.ended.pop(job_id, None)
            self.points.pop(job_id, None)

    def as_worker(self, held: leases.Claim, call: Callable[[Session], object]) -> bool:
        with self.database.reading() as session:
            row = session.execute(
                select(Job.status, Job.attempt).where(Job.id == held.job_id)
            ).one_or_none()
        may = row is not None and row.attempt == held.attempt and row.status in ACTIVE
        try:
            with self.database.writing() as session:
                call(session)
        except leases.Fenced:
            assert not may
        else:
            assert may
        return may

    @invariant()
    def holds(self) -> None:
        with self.database.reading() as session:
            jobs = session.scalars(select(Job)).all()
            events = session.execute(
                select(Event.job_id, Event.sequence, Event.type).order_by(
                    Event.job_id, Event.sequence
                )
            ).all()
        for job in jobs:
            mine = [event for event in events if event.job_id == job.id]
            assert [event.sequence for event in mine] == list(range(1, job.events_count + 1))
            assert mine[-1].type == job.status, "the timeline ends where the job stands"
            assert sum(event.type in TERMINAL for event in mine) <= 1
            assert (job.lease_until is not None) == (job.status in ACTIVE)
            assert (job.finished_at is not None) == (job.status in TERMINAL)
            assert (job.error is not None) == (job.status == Status.failed)
            assert job.losses <= MAX_LOSSES + 1
            assert job.retry_at is None or job.status == Status.recovering
            if job.status in TERMINAL:
                assert self.ended.setdefault(job.id, job.status) == job.status
            else:
                assert job.id not in self.ended
        self.no_point_is_lost_or_doubled()

    def no_point_is_lost_or_doubled(self) -> None:
        with self.database.reading() as session:
            for job_id, steps in self.points.items():
                assert [step for _, _, step, _ in metrics.rows(session, job_id)] == steps


pytestmark = pytest.mark.slow

TestInterleavings = JobsAndWorkers.TestCase
TestInterleavings.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
