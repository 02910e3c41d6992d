"""Random interleavings of people, workers and sweepers against the invariants of a job's life."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api.errors import ConflictError
from api.store import lifecycle, metrics
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables import ACTIVE, TERMINAL, WAITING, Event, Job, Status, new_id

MAX_LOSSES = 3


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

    def teardown(self) -> None:
        self.database.dispose()
        self.directory.cleanup()

    @rule(target=jobs, priority=st.integers(0, 9))
    def submit(self, priority: int) -> str:
        job = Job(
            id=new_id("job"),
            name="",
            specification={},
            method="saf-f",
            network="convnet",
            dataset="digits",
            priority=priority,
            parameters=1,
            memory_bytes=1,
            latest={},
        )
        with self.database.writing() as session:
            lifecycle.submit(session, job)
        return job.id

    @rule(target=claims)
    def claim(self) -> object:
        with self.database.reading() as session:
            waiting = session.execute(
                select(Job.priority, Job.queued_at, Job.id).where(Job.status.in_(WAITING))
            ).all()
        with self.database.writing() as session:
            found = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=100)
        if found is None:
            assert not waiting
            return multiple()
        assert found.job_id == min(waiting)[2]
        return found

    @rule(held=claims, verb=st.sampled_from(["renew", "running", "converting", "progress"]))
    def work(self, held: lifecycle.Claim, verb: str) -> None:
        calls: dict[str, Callable[[Session], object]] = {
            "renew": lambda s: lifecycle.renew(s, held, lease_seconds=100),
            "running": lambda s: lifecycle.running(s, held, step=0, steps_total=9),
            "converting": lambda s: lifecycle.converting(s, held),
            "progress": lambda s: lifecycle.progress(s, held, step=1, epoch=1.0, latest={}),
        }
        self.as_worker(held, calls[verb])

    @rule(held=claims, verb=st.sampled_from(["succeed", "fail", "stopped", "lost"]))
    def end(self, held: lifecycle.Claim, verb: str) -> None:
        calls: dict[str, Callable[[Session], object]] = {
            "succeed": lambda s: lifecycle.succeed(s, held),
            "fail": lambda s: lifecycle.fail(s, held, code="data", message="m", hint="h"),
            "stopped": lambda s: lifecycle.stopped(s, held),
            "lost": lambda s: lifecycle.lost(s, held, reason="gone", max_losses=MAX_LOSSES),
        }
        self.as_worker(held, calls[verb])

    @rule(held=claims, step=st.integers(1, 50))
    def write_metrics(self, held: lifecycle.Claim, step: int) -> None:
        def write(session: Session) -> None:
            lifecycle.progress(session, held, step=step, epoch=0.0, latest={})
            metrics.append(session, held.job_id, held.attempt, {"loss": [(step, 1.0)]})

        self.as_worker(held, write)

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

    def as_worker(self, held: lifecycle.Claim, call: Callable[[Session], object]) -> None:
        with self.database.reading() as session:
            row = session.execute(
                select(Job.status, Job.attempt).where(Job.id == held.job_id)
            ).one_or_none()
        may = row is not None and row.attempt == held.attempt and row.status in ACTIVE
        try:
            with self.database.writing() as session:
                call(session)
        except lifecycle.Fenced:
            assert not may
        else:
            assert may

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
            if job.status in TERMINAL:
                assert self.ended.setdefault(job.id, job.status) == job.status
            else:
                assert job.id not in self.ended


TestInterleavings = JobsAndWorkers.TestCase
TestInterleavings.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
