"""A job belongs to one attempt: with repeated messages, several workers, and an overtaken one."""

from __future__ import annotations

from sqlalchemy import update

from api.settings import Settings
from api.store.jobs import lifecycle
from api.store.tables.jobs import Job, Status
from tests.waiting import join
from tests.worker.conftest import Crew, Desk
from worker.runner import Runner


def test_redelivered_message_does_not_train_twice(desk: Desk, runner: Runner, crew: Crew) -> None:
    job_id = desk.submit(steps="20", step_seconds="0.02")

    threads = [crew.message(runner) for _ in range(3)]
    for thread in threads:
        join(thread)
    runner.work()

    assert desk.job(job_id).status == Status.succeeded
    assert desk.kinds(job_id).count("starting") == 1


def test_of_two_workers_one_gets_the_job(desk: Desk, crew: Crew, settings: Settings) -> None:
    jobs = [desk.submit(steps="3") for _ in range(4)]

    threads = [crew.message(crew.hire(settings)) for _ in range(2)]
    for thread in threads:
        join(thread)

    for job_id in jobs:
        assert desk.job(job_id).status == Status.succeeded
        assert desk.kinds(job_id).count("starting") == 1
        assert desk.steps(job_id)["loss"] == [1, 2, 3]


def test_overtaken_attempt_ends_its_process_and_writes_nothing_more(
    desk: Desk, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.01", ignore_stop="yes")
    thread = crew.message(runner)
    desk.wait_for_step(job_id, 3)
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=0.0))
        assert lifecycle.expire_leases(session, max_losses=5) == [job_id]
        lifecycle.claim(session, worker_id="another", device="cpu", lease_seconds=600)
        overtaken_at = session.get_one(Job, job_id).step

    join(thread)

    assert desk.processes(job_id) == []
    job = desk.job(job_id)
    assert (job.attempt, job.worker_id, job.step) == (2, "another", overtaken_at)
    assert desk.steps(job_id)["loss"] == list(range(1, overtaken_at + 1))
