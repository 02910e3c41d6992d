from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from api.errors import ConflictError, NotFoundError
from api.store.database import Database, clock
from api.store.jobs import leases, lifecycle, progress, queue
from api.store.runs import checkpoints, metrics
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Event
from api.store.tables.workers import Worker

Submit = Callable[..., str]


def claim(database: Database, worker: str = "wrk_1", lease: float = 30.0) -> leases.Claim:
    with database.writing() as session:
        found = lifecycle.claim(session, worker_id=worker, device="cpu", lease_seconds=lease)
    assert found is not None
    return found


def status(database: Database, job_id: str) -> str:
    with database.reading() as session:
        return session.scalars(select(Job.status).where(Job.id == job_id)).one()


def timeline(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        events = session.scalars(
            select(Event).where(Event.job_id == job_id).order_by(Event.sequence)
        ).all()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return [event.type for event in events]


def expire(database: Database, job_id: str) -> None:
    with database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=1.0))


def sweep(database: Database, max_losses: int = 5) -> list[str]:
    with database.writing() as session:
        return lifecycle.expire_leases(session, max_losses=max_losses)


def test_a_job_goes_from_queued_to_succeeded(database: Database, submit: Submit) -> None:
    job_id = submit()
    held = claim(database)
    with database.writing() as session:
        lifecycle.running(session, held, step=0, steps_total=100)
    with database.writing() as session:
        progress.trained(
            session, held, step=60, epoch=0.6, latest={"loss": 1.5}, best_accuracy=0.95
        )
        progress.trained(
            session, held, step=100, epoch=1.0, latest={"accuracy": 0.5}, best_accuracy=0.9
        )
        progress.trained(session, held, step=100, epoch=1.0, latest={})
    with database.writing() as session:
        lifecycle.converting(session, held)
        progress.checked(session, held, done=32, total=360)
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert (job.checked, job.to_check, job.lif_accuracy, job.verdict) == (32, 360, None, None)
    with database.writing() as session:
        found = {"lif_accuracy": 0.875, "verdict": "differs", "rounding_cost_points": 2.5}
        lifecycle.succeed(session, held, summary={**found, "parameters": 7})
    assert timeline(database, job_id) == [
        "queued",
        "starting",
        "running",
        "converting",
        "succeeded",
    ]
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert job.latest == {"loss": 1.5, "accuracy": 0.5}
        assert job.best_accuracy == 0.9
        assert (job.lif_accuracy, job.verdict) == (0.875, "differs")
        assert job.rounding_cost_points == 2.5
        assert (job.step, job.attempt, job.lease_until) == (100, 1, None)
        assert job.finished_at is not None


def test_the_queue_is_served_by_priority_then_age(database: Database, submit: Submit) -> None:
    late, urgent, later = submit(priority=5), submit(priority=0), submit(priority=5)
    with database.reading() as session:
        ahead = queue.jobs_ahead(session, session.scalars(select(Job)).all())
    assert ahead == {urgent: 0, late: 1, later: 2}
    assert [claim(database).job_id for _ in range(3)] == [urgent, late, later]
    with database.writing() as session:
        nothing = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=30)
    assert nothing is None


def test_a_job_is_claimed_once_by_many_workers_at_the_same_moment(
    database: Database, submit: Submit
) -> None:
    jobs = {submit() for _ in range(5)}
    barrier = threading.Barrier(8)
    claimed: list[str] = []

    def work(number: int) -> None:
        barrier.wait()
        with database.writing() as session:
            found = lifecycle.claim(
                session, worker_id=f"wrk_{number}", device="cpu", lease_seconds=30
            )
        if found is not None:
            claimed.append(found.job_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(set(claimed))
    while len(claimed) < 5:  # one that lost a race for a row looks again, as a worker does
        claimed.append(claim(database).job_id)
    assert set(claimed) == jobs


def test_an_expired_lease_is_recovered_and_the_old_attempt_is_fenced(
    database: Database, submit: Submit
) -> None:
    job_id = submit()
    old = claim(database)
    with database.writing() as session:
        lifecycle.running(session, old, step=0, steps_total=10)
    expire(database, job_id)
    assert sweep(database) == [job_id]
    assert sweep(database) == []
    assert status(database, job_id) == Status.recovering
    new = claim(database, "wrk_2")
    assert new.attempt == 2
    writes: list[Callable[..., object]] = [
        lambda session: leases.renew(session, old, lease_seconds=30),
        lambda session: lifecycle.running(session, old, step=0, steps_total=10),
        lambda session: progress.trained(session, old, step=1, epoch=0.1, latest={}),
        lambda session: checkpoints.add(session, old, step=1, sha256="0" * 64),
        lambda session: lifecycle.converting(session, old),
        lambda session: lifecycle.succeed(session, old),
        lambda session: lifecycle.fail(session, old, code="internal", message="", hint=""),
        lambda session: lifecycle.stopped(session, old),
        lambda session: lifecycle.lost(session, old, reason="", max_losses=5),
        lambda session: progress.noted(session, old, "anything"),
    ]
    for write in writes:
        with pytest.raises(leases.Fenced), database.writing() as session:
            write(session)
    assert status(database, job_id) == Status.starting


def test_a_live_lease_is_left_alone(database: Database, submit: Submit) -> None:
    job_id = submit()
    held = claim(database)
    assert sweep(database) == []
    with database.writing() as session:
        assert leases.renew(session, held, lease_seconds=30) is Status.starting
        job = session.get_one(Job, job_id)
        assert job.lease_until == pytest.approx(clock(session) + 30, abs=5)


def test_a_job_that_keeps_losing_its_worker_fails_with_worker_lost(
    database: Database, submit: Submit
) -> None:
    job_id = submit()
    for _ in range(3):
        claim(database)
        expire(database, job_id)
        sweep(database, max_losses=2)
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert job.status == Status.failed
        assert job.error is not None
        assert job.error["code"] == "worker_lost"
        assert job.error["hint"]


def test_a_cancel_meets_every_state(database: Database, submit: Submit) -> None:
    waiting = submit()
    with database.writing() as session:
        assert lifecycle.cancel(session, waiting).status == Status.cancelled
    with pytest.raises(ConflictError), database.writing() as session:
        lifecycle.cancel(session, waiting)

    trained = submit()
    held = claim(database)
    with database.writing() as session:
        lifecycle.running(session, held, step=0, steps_total=10)
    with database.writing() as session:
        assert lifecycle.cancel(session, trained).status == Status.cancelling
    with database.writing() as session:
        assert lifecycle.cancel(session, trained).status == Status.cancelling
        assert leases.renew(session, held, lease_seconds=30) is Status.cancelling
    with database.writing() as session:
        assert lifecycle.stopped(session, held) is Status.cancelled
    assert timeline(database, trained)[-2:] == ["cancelling", "cancelled"]

    vanished = submit()
    claim(database)
    with database.writing() as session:
        lifecycle.cancel(session, vanished)
    expire(database, vanished)
    assert sweep(database) == []
    assert status(database, vanished) == Status.cancelled

    with pytest.raises(NotFoundError), database.writing() as session:
        lifecycle.cancel(session, "job_nothing")


def test_a_request_to_cancel_survives_the_first_report(database: Database, submit: Submit) -> None:
    job_id = submit()
    held = claim(database)
    with database.writing() as session:
        lifecycle.cancel(session, job_id)
    with database.writing() as session:
        lifecycle.running(session, held, step=0, steps_total=10)
    assert status(database, job_id) == Status.cancelling


def test_a_pause_keeps_the_job_until_it_is_resumed(database: Database, submit: Submit) -> None:
    job_id = submit()
    held = claim(database)
    with database.writing() as session:
        lifecycle.running(session, held, step=0, steps_total=10)
    with database.writing() as session:
        assert lifecycle.pause(session, job_id).status == Status.pausing
    with database.writing() as session:
        assert lifecycle.stopped(session, held) is Status.paused
    with database.writing() as session:
        assert lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=1) is None
    with database.writing() as session:
        assert lifecycle.resume(session, job_id).status == Status.queued
    assert claim(database).attempt == 2


def test_a_job_handed_back_keeps_its_place(database: Database, submit: Submit) -> None:
    first, second = submit(), submit()
    held = claim(database)
    assert held.job_id == first
    with database.writing() as session:
        assert lifecycle.stopped(session, held) is Status.queued
    assert claim(database).job_id == first
    assert claim(database).job_id == second


def test_a_terminal_job_never_changes(database: Database, submit: Submit) -> None:
    job_id = submit()
    held = claim(database)
    with database.writing() as session:
        lifecycle.fail(session, held, code="data", message="no images", hint="send some")
    for request in (lifecycle.cancel, lifecycle.pause, lifecycle.resume):
        with pytest.raises(ConflictError), database.writing() as session:
            request(session, job_id)
    with pytest.raises(leases.Fenced), database.writing() as session:
        lifecycle.succeed(session, held)
    assert status(database, job_id) == Status.failed


def test_deleting_needs_a_terminal_job_and_takes_everything(
    database: Database, submit: Submit
) -> None:
    job_id = submit()
    with pytest.raises(ConflictError), database.writing() as session:
        lifecycle.delete(session, job_id)
    with database.writing() as session:
        metrics.append(session, job_id, 1, {"loss": [(1, 0.5)]})
        lifecycle.cancel(session, job_id)
    with database.writing() as session:
        lifecycle.delete(session, job_id)
    with database.reading() as session:
        assert session.get(Job, job_id) is None
        assert metrics.names(session, job_id) == []
        assert session.scalars(select(Event).where(Event.job_id == job_id)).all() == []


def test_a_lost_message_is_sent_again_only_when_a_worker_is_free(
    database: Database, submit: Submit
) -> None:
    job_id = submit()
    with database.writing() as session:
        session.execute(update(Job).values(announced_at=1.0))

    def announce() -> list[str]:
        with database.writing() as session:
            return queue.announce(session, after_seconds=10)

    assert announce() == []
    with database.writing() as session:
        seen = clock(session)
        session.add(
            Worker(
                id="wrk_1",
                host="here",
                pid=1,
                version="0",
                devices=["cpu"],
                slots=1,
                busy=1,
                started_at=seen,
                seen_at=seen,
            )
        )
    assert announce() == []
    with database.writing() as session:
        session.execute(update(Worker).values(busy=0))
    assert announce() == [job_id]
    assert announce() == []


def test_the_last_two_checkpoints_are_kept(database: Database, submit: Submit) -> None:
    from api.store.tables.base import Blob
    from api.store.tables.results import Checkpoint

    job_id = submit()
    held = claim(database)
    dropped = []
    for step in (10, 20, 30):
        sha256 = f"{step:064d}"
        with database.writing() as session:
            session.add(Blob(sha256=sha256, bytes=1, created_at=0.0))
            session.flush()
            dropped += checkpoints.add(session, held, step=step, sha256=sha256)
    assert dropped == [f"{10:064d}"]
    with database.reading() as session:
        steps = session.scalars(select(Checkpoint.step).where(Checkpoint.job_id == job_id))
        assert sorted(steps) == [20, 30]
