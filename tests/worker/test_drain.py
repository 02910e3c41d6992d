"""Workers that are asked, through the database, to take no more jobs and to end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from api.settings import Settings
from api.store import workers
from api.store.tables.jobs import Status
from api.store.tables.workers import Worker
from api.store.workers import Drain
from tests.waiting import PATIENCE, until
from tests.worker.conftest import Crew, Desk, WorkerProcess, undisturbed

Start = Callable[[Settings], WorkerProcess]


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def drain(service: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DATABASE_URL": service.database,
        "SAF_HEARTBEAT_SECONDS": str(service.heartbeat_seconds),
    }
    command = [sys.executable, "-m", "saf.cli", "worker", "drain", *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def rows(desk: Desk) -> list[Worker]:
    with desk.database.reading() as session:
        return list(session.scalars(select(Worker).order_by(Worker.started_at)))


def test_a_drained_worker_hands_back_its_job_and_another_one_goes_on_from_there(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    first = start_worker(service)
    job_id = desk.submit(steps="40", hold_at="25")
    desk.wait_for_step(job_id, 15)
    until(lambda: rows(desk)[0].busy == 1)
    (row,) = rows(desk)

    ended = drain(service, row.id)

    assert ended.returncode == 0, ended.stderr
    assert f"asked {row.id} on {row.host} (1 busy)" in ended.stdout
    assert f"{row.id} has ended" in ended.stdout
    assert first.popen.wait(timeout=PATIENCE) == 0
    assert desk.job(job_id).status == Status.queued
    assert "process_ended" not in desk.kinds(job_id)
    start_worker(service)
    desk.wait(job_id, Status.succeeded)
    assert desk.steps(job_id) == undisturbed(40)
    second = desk.attempts(job_id, "loss")[2]
    assert second == list(range(second[0], 41))
    assert second[0] > 15


def test_a_worker_that_is_to_finish_ends_its_job_and_takes_no_other(
    desk: Desk, service: Settings, start_worker: Start, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    worker = start_worker(service)
    running = desk.submit(steps="120", hold_at="110", hold_until=str(told))
    desk.wait_for_step(running, 5)
    waiting = desk.submit(steps="10")

    with desk.database.writing() as session:
        workers.drain(session, Drain.finish)
    until(lambda: "takes no more jobs" in worker.log())
    told.touch()

    assert worker.popen.wait(timeout=PATIENCE) == 0
    assert (desk.job(running).status, desk.job(running).attempt) == (Status.succeeded, 1)
    assert desk.job(waiting).status == Status.queued
    assert rows(desk)[0].draining == Drain.finish


def test_only_the_named_host_is_drained_and_a_hand_back_is_not_taken_back(
    desk: Desk, service: Settings, crew: Crew
) -> None:
    ids = []
    for host in ("one", "two"):
        ids.append(f"worker_{host}")
        with desk.database.writing() as session:
            workers.register(
                session,
                worker_id=ids[-1],
                host=host,
                pid=1,
                version="0",
                devices=["cpu"],
                slots=1,
            )
    with desk.database.writing() as session:
        assert [row.id for row in workers.drain(session, Drain.hand_back, name="two")] == [ids[1]]
        workers.drain(session, Drain.finish)
    with desk.database.reading() as session:
        assert workers.draining(session, ids[0]) is Drain.finish
        assert workers.draining(session, ids[1]) is Drain.hand_back
        assert workers.draining(session, "worker_three") is None


def test_a_drained_runner_claims_nothing(desk: Desk, settings: Settings, crew: Crew) -> None:
    job_id = desk.submit(steps="10")
    left: list[str] = []
    runner = crew.hire(settings, leave=lambda: left.append("left"))
    runner.drain(Drain.finish)
    runner.work()
    assert desk.job(job_id).status == Status.queued
    until(lambda: left == ["left"])
