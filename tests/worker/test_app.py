"""Workers in processes of their own, with a real broker: messages, signals and deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis
from sqlalchemy import select

from api.broker.wakeups import QUEUE, TASK, celery_app
from api.local.valkey import EmbeddedBroker
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables.jobs import Status
from api.store.tables.workers import Worker
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until
from tests.worker.conftest import Desk, WorkerProcess, processes_with, undisturbed

Start = Callable[[Settings], WorkerProcess]


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """Several workers are for PostgreSQL; the supervisor is tested on both."""
    return postgres_url


@pytest.fixture
def broker(service: Settings) -> Iterator[Celery]:
    app = celery_app(service)
    yield app
    app.close()


def send_wakeup(broker: Celery, job_id: str) -> None:
    broker.send_task(TASK, args=(job_id,), queue=QUEUE)


def messages(broker: Celery) -> int:
    with broker.connection_for_read() as connection:
        return int(connection.default_channel.client.llen(QUEUE))


def workers(desk: Desk) -> list[Worker]:
    with desk.database.reading() as session:
        return list(session.scalars(select(Worker).order_by(Worker.id)))


def test_a_worker_that_starts_finds_a_job_whose_message_was_lost(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    job_id = desk.submit(steps="20")
    patient = service.model_copy(update={"sweep_seconds": 600.0})

    start_worker(patient)

    desk.wait(job_id, Status.succeeded)
    assert desk.steps(job_id) == undisturbed(20)


def test_the_sweeper_announces_a_job_whose_message_was_lost(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    start_worker(service).wait_ready()
    job_id = desk.submit(steps="10")

    desk.wait(job_id, Status.succeeded)


def test_a_busy_worker_leaves_the_next_message_to_an_idle_one(
    desk: Desk, service: Settings, start_worker: Start, broker: Celery
) -> None:
    patient = service.model_copy(update={"sweep_seconds": 600.0})
    first = start_worker(patient)
    until(lambda: "succeeded in" in first.log())  # it found nothing to do when it started
    long = desk.submit(steps="100000", step_seconds="0.02")
    send_wakeup(broker, long)
    desk.wait_for_step(long, 1)
    short = desk.submit(steps="10")
    send_wakeup(broker, short)
    send_wakeup(broker, short)
    assert messages(broker) == 2

    start_worker(patient)

    assert desk.wait(short, Status.succeeded).worker_id != desk.job(long).worker_id
    until(lambda: messages(broker) == 0)
    assert desk.job(long).status == Status.running


def test_each_message_is_read_once_the_slot_is_free(
    desk: Desk, service: Settings, start_worker: Start, broker: Celery
) -> None:
    start_worker(service.model_copy(update={"sweep_seconds": 600.0})).wait_ready()
    for _ in range(3):
        job_id = desk.submit(steps="1")
        send_wakeup(broker, job_id)
        desk.wait(job_id, Status.succeeded)


def test_the_row_says_that_the_worker_lives_and_that_it_ended(
    desk: Desk, service: Settings, start_worker: Start, broker: Celery
) -> None:
    worker = start_worker(service.model_copy(update={"worker_slots": 2}))
    worker.wait_ready()
    until(lambda: workers(desk))
    row = workers(desk)[0]
    assert (row.pid, row.slots, row.busy, row.stopped_at) == (worker.popen.pid, 2, 0, None)
    until(lambda: workers(desk)[0].seen_at > row.seen_at)
    job_id = desk.submit(steps="100000", step_seconds="0.02")
    send_wakeup(broker, job_id)
    until(lambda: workers(desk)[0].busy == 1)

    worker.popen.send_signal(signal.SIGTERM)

    assert worker.popen.wait(timeout=PATIENCE) == 0, worker.log()
    assert workers(desk)[0].stopped_at is not None
    assert workers(desk)[0].busy == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_makes_the_worker_hand_its_job_back_and_exit(
    desk: Desk, service: Settings, start_worker: Start, number: signal.Signals
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    worker = start_worker(service)
    desk.wait_for_step(job_id, 3)

    worker.popen.send_signal(number)

    assert worker.popen.wait(timeout=PATIENCE) == 0, worker.log()
    assert desk.job(job_id).status == Status.queued
    assert processes_with(job_id) == []
    assert list((service.data_dir / "work").iterdir()) == []


def test_killed_worker_leaves_no_process_and_another_worker_finishes(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    job_id = desk.submit(steps="40", hold_at="25", grandchild="yes")
    worker = start_worker(service)
    desk.wait_for_step(job_id, 12)

    worker.kill()

    until(lambda: not desk.trainees(job_id))
    desk.let_lease_end(service, job_id)
    other = start_worker(service)
    job = desk.wait(job_id, Status.succeeded)
    assert job.attempt == 2, other.log()
    assert job.started_step >= 10
    assert desk.steps(job_id) == undisturbed(40)
    until(lambda: not processes_with(f"/{job_id}-"))
    assert len(list((service.data_dir / "work").iterdir())) == 1


def test_worker_that_slept_through_its_lease_ends_its_process_and_writes_nothing(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    job_id = desk.submit(steps="40", hold_at="25")
    sleeper = start_worker(service.model_copy(update={"lease_seconds": 12.0}))
    desk.wait_for_step(job_id, 12)
    sleeper.popen.send_signal(signal.SIGSTOP)
    until(lambda: not processes_with(f"/{job_id}-1"))  # though its worker cannot end it
    desk.let_lease_end(service, job_id)
    start_worker(service)
    until(lambda: desk.job(job_id).attempt == 2)
    sleeper.popen.send_signal(signal.SIGCONT)

    job = desk.wait(job_id, Status.succeeded)

    assert job.attempt == 2
    assert job.worker_id != workers(desk)[0].id
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.kinds(job_id).count("succeeded") == 1


def test_a_worker_waits_for_its_broker_and_ends_when_it_is_told_to(
    desk: Desk, service: Settings, start_worker: Start
) -> None:
    absent = service.model_copy(
        update={"broker_url": "redis+socket:///tmp/saf-there-is-no-such-socket"}
    )
    worker = start_worker(absent)
    until(lambda: "annot connect" in worker.log())
    assert worker.popen.poll() is None

    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(timeout=PATIENCE) == 0, worker.log()


def test_a_worker_process_loads_no_torch() -> None:
    program = "import sys, worker.app; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_without_a_broker_the_worker_says_what_to_set() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BROKER_URL"}
    answer = subprocess.run(
        [sys.executable, "-m", "worker"], capture_output=True, text=True, env=environment
    )
    assert answer.returncode == 2
    assert "BROKER_URL is not set" in answer.stderr


def test_a_worker_that_is_started_before_its_database_and_its_broker_trains_once_they_are_there(
    own_server: PostgresServer, tmp_path: Path, settings: Settings, start_worker: Start
) -> None:
    url = own_server.create_database("late")
    database = Database(url)
    migrate(database)
    desk = Desk(database, DirectoryStore(settings.artifacts))
    job_id = desk.submit(steps="10")
    with EmbeddedBroker(tmp_path / "broker") as broker:
        broker.child.kill()
        own_server.stop()
        worker = start_worker(
            settings.model_copy(update={"database_url": url, "broker_url": broker.url})
        )
        until(lambda: "annot connect" in worker.log())
        broker.start()
        until(lambda: "no job can be claimed" in worker.log())
        own_server.start()

        desk.wait(job_id, Status.succeeded)
        assert "Traceback" not in worker.log()
    database.dispose()


def test_a_worker_with_wrong_passwords_says_so_without_them(
    own_server: PostgresServer, service: Settings, start_worker: Start
) -> None:
    own_server.create_database("kept")
    own_server.add_user("clerk", "another")
    path = service.broker_url.removeprefix("redis+socket://")
    with Redis(unix_socket_path=path) as redis:
        redis.config_set("requirepass", "another")
        wrong_broker = f"redis+socket://:geheim@{path}"
        first = start_worker(service.model_copy(update={"broker_url": wrong_broker}))
        until(lambda: "Cannot connect to redis+socket://:**@" in first.log())
        assert first.popen.poll() is None
        first.kill()  # or it may take the message that the second one looks for jobs by
        redis.config_set("requirepass", "")

    url = own_server.url("kept").replace("saf@", "clerk:geheim@")
    second = start_worker(service.model_copy(update={"database_url": url}))
    until(
        lambda: (
            'no job can be claimed: password authentication failed for user "clerk"' in second.log()
        )
    )
    for worker in (first, second):
        assert "geheim" not in worker.log()
        assert "Traceback" not in worker.log()
