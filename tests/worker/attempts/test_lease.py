"""A lease that nobody can renew: trainings go on, after an outage the living keep their jobs, and
who was cut off alone ends once it learns that its job was taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select, text

from api.local.valkey import EmbeddedBroker
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database, clock
from api.store.jobs import lifecycle
from api.store.jobs.leases import Claim
from api.store.jobs.sweeper import Sweeper
from api.store.migrate import migrate
from api.store.tables.base import Blob
from api.store.tables.jobs import Status
from tests.chaos.proxy import Proxy
from tests.postgres import PostgresServer
from tests.waiting import join, until
from tests.worker.conftest import Crew, Desk, WorkerProcess, undisturbed
from worker.processes.protocol import Order
from worker.runner import Runner


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """A network lies only in front of PostgreSQL."""
    return postgres_url


@pytest.fixture
def cable(postgres: PostgresServer) -> Iterator[Proxy]:
    proxy = Proxy(postgres.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def short(settings: Settings) -> Settings:
    """Leases end soon, though not on a machine that is merely busy."""
    return settings.model_copy(update={"lease_seconds": 10.0})


@pytest.fixture
def remote(settings: Settings, cable: Proxy) -> Settings:
    """The settings of a worker at the other end of the cable."""
    name = settings.database_url.partition("@/")[2].partition("?")[0]
    url = f"postgresql+psycopg://saf@127.0.0.1:{cable.port}/{name}"
    return settings.model_copy(update={"database_url": url})


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A file for which trainings wait in the middle."""
    return tmp_path / "told"


def claim_elsewhere(desk: Desk, *, lease_seconds: float = 600) -> Claim:
    with desk.database.writing() as session:
        claim = lifecycle.claim(
            session, worker_id="other", device="cpu", lease_seconds=lease_seconds
        )
    assert claim is not None
    return claim


def lease_is_over(desk: Desk, job_id: str) -> bool:
    with desk.database.reading() as session:
        lease_until = desk.job(job_id).lease_until
        return lease_until is not None and clock(session) > lease_until


def last_step(settings: Settings) -> int:
    """The step of the last checkpoint that lies beside a training; the database has not got it."""
    (outgoing,) = (settings.data_dir / "work").glob("*/*/outgoing")
    numbers = [path.stem.rpartition("-")[2] for path in outgoing.glob("*step-*")]
    return max((int(number) for number in numbers), default=0)


def has_finished(settings: Settings) -> bool:
    """Whether the network that a training ends with lies beside it."""
    return any((settings.data_dir / "work").glob("*/*/outgoing/*lif.safetensors"))


@pytest.mark.parametrize("cut", [Proxy.stall, Proxy.cut])
def test_a_training_goes_on_while_the_database_is_away_and_has_each_point_once(
    cut: Callable[[Proxy], None],
    desk: Desk,
    remote: Settings,
    cable: Proxy,
    crew: Crew,
    told: Path,
) -> None:
    job_id = desk.submit(steps="600", hold_at="55", hold_until=str(told))
    crew.message(crew.hire(remote.model_copy(update={"lease_seconds": 6.0})))
    desk.wait_for_step(job_id, 3)
    cut(cable)

    until(lambda: lease_is_over(desk, job_id))
    told.touch()
    until(lambda: has_finished(remote))
    cable.heal()

    assert desk.wait(job_id, Status.succeeded).attempt == 1
    assert desk.steps(job_id) == undisturbed(600)


def test_a_worker_cut_off_alone_learns_at_its_return_of_another_attempt_and_ends_its_group(
    desk: Desk, remote: Settings, cable: Proxy, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02", grandchild="yes")
    thread = crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    cable.cut()

    desk.let_lease_end(remote, job_id)
    assert claim_elsewhere(desk).attempt == 2
    written = desk.steps(job_id)
    reached = last_step(remote)
    until(lambda: last_step(remote) > reached)  # it trains on, and cannot know
    assert len(desk.processes(job_id)) == 2
    cable.heal()

    until(lambda: not desk.processes(job_id))
    join(thread)
    job = desk.job(job_id)
    assert (job.attempt, job.status, job.worker_id) == (2, Status.starting, "other")
    assert desk.steps(job_id) == written
    assert desk.kinds(job_id)[-2:] == ["recovering", "starting"]


def test_a_training_that_finished_beside_another_attempt_leaves_neither_status_nor_file(
    desk: Desk, remote: Settings, cable: Proxy, crew: Crew, told: Path
) -> None:
    job_id = desk.submit(steps="60", hold_at="25", hold_until=str(told))
    thread = crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    cable.cut()
    told.touch()
    until(lambda: has_finished(remote))
    desk.let_lease_end(remote, job_id)
    claim_elsewhere(desk)
    cable.heal()

    join(thread)
    assert (desk.job(job_id).attempt, desk.job(job_id).status) == (2, Status.starting)
    assert desk.artifacts(job_id) == {}
    with desk.database.reading() as session:
        known = {desk.files.path(sha256) for sha256 in session.scalars(select(Blob.sha256))}
    assert {path for path in desk.files.directory.rglob("*") if path.is_file()} == known


@pytest.mark.parametrize(
    ("ask", "asked"), [(Desk.cancel, Status.cancelled), (Desk.pause, Status.paused)]
)
def test_a_job_is_cancelled_and_paused_though_its_worker_is_cut_off(
    ask: Callable[[Desk, str], None],
    asked: Status,
    desk: Desk,
    remote: Settings,
    cable: Proxy,
    crew: Crew,
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02")
    thread = crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    cable.cut()
    ask(desk, job_id)

    desk.let_lease_end(remote, job_id, asked)
    cable.heal()
    until(lambda: not desk.trainees(job_id))
    join(thread)
    assert desk.job(job_id).status == asked


def test_a_request_that_came_during_a_cut_shorter_than_the_lease_is_obeyed(
    desk: Desk, remote: Settings, cable: Proxy, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.02")
    crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    cable.cut()
    desk.pause(job_id)
    reached = last_step(remote)
    until(lambda: last_step(remote) > reached)
    cable.heal()

    desk.wait(job_id, Status.paused)
    assert desk.steps(job_id)["loss"] == list(range(1, desk.job(job_id).step + 1))
    assert desk.job(job_id).step >= reached


def test_after_an_outage_the_living_go_on_the_finished_deliver_and_the_dead_are_recovered(
    own_server: PostgresServer, short: Settings, crew: Crew, told: Path
) -> None:
    url = own_server.create_database("outage")
    there = short.model_copy(update={"database_url": url, "worker_slots": 2})
    database = Database(url)
    migrate(database)
    desk = Desk(database, DirectoryStore(short.artifacts))
    dead = desk.submit(steps="10")
    claim_elsewhere(desk, lease_seconds=2.0)
    finishing = desk.submit(steps="40", hold_at="25", hold_until=str(told))
    unfinished = desk.submit(steps="800", hold_at="25", hold_until=str(told.with_name("later")))
    runner = crew.hire(there)
    for _ in range(2):
        crew.message(runner)
    desk.wait_for_step(finishing, 3)
    desk.wait_for_step(unfinished, 3)
    sweepers = [Sweeper(database, there, lambda _job_id: None) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.sweep()
    own_server.stop()
    sweepers[0].start()  # this one sees the outage, the other one does not look meanwhile

    told.touch()
    until(lambda: has_finished(short))
    time.sleep(2 * short.lease_seconds)
    own_server.start()
    sweepers[1].start()

    done = desk.wait(finishing, Status.succeeded)
    assert done.attempt == 1
    assert desk.steps(finishing) == undisturbed(40)
    assert "lif.safetensors" in desk.artifacts(finishing)
    desk.wait(dead, Status.recovering, Status.starting, Status.running, Status.succeeded)
    told.with_name("later").touch()
    assert desk.wait(unfinished, Status.succeeded).attempt == 1
    assert desk.steps(unfinished) == undisturbed(800)
    assert desk.kinds(unfinished).count("succeeded") == 1
    for sweeper in sweepers:
        sweeper.stop()
    crew.leave()
    database.dispose()


def test_a_locked_sqlite_file_takes_no_job_from_the_living_and_keeps_none_with_the_dead(
    sqlite_url: str, short: Settings, crew: Crew, told: Path
) -> None:
    there = short.model_copy(update={"database_url": sqlite_url})
    database, locker = Database(sqlite_url), Database(sqlite_url)
    migrate(database)
    desk = Desk(database, DirectoryStore(short.artifacts))
    dead = desk.submit(steps="10")
    claim_elsewhere(desk, lease_seconds=2.0)
    living = desk.submit(steps="700", hold_at="25", hold_until=str(told))
    crew.message(crew.hire(there))
    desk.wait_for_step(living, 3)
    # Of another process, as far as SQLite can tell: the turns of this one do not count there.
    sweeper = Sweeper(Database(sqlite_url), there, lambda _job_id: None)
    sweeper.start()
    connection = locker.engine.connect().execution_options(sqlite_begin="EXCLUSIVE")
    until(lambda: connection.execute(text("SELECT 1")))
    time.sleep(2 * short.lease_seconds)
    connection.rollback()
    connection.close()

    desk.wait(dead, Status.recovering, Status.starting, Status.running, Status.succeeded)
    assert desk.job(living).attempt == 1
    told.touch()
    assert desk.wait(living, Status.succeeded).attempt == 1
    assert desk.steps(living) == undisturbed(700)
    sweeper.stop()
    crew.leave()
    for each in (database, locker):
        each.dispose()


def flush(broker: EmbeddedBroker) -> None:
    path = broker.url.removeprefix("redis+socket://").partition("?")[0]
    with Redis(unix_socket_path=path) as redis:
        redis.flushall()


@pytest.mark.parametrize("harm", [flush, lambda broker: broker.child.kill()], ids=["flush", "stop"])
def test_a_broker_that_is_flushed_or_away_delays_no_recovery(
    harm: Callable[[EmbeddedBroker], None],
    desk: Desk,
    settings: Settings,
    tmp_path: Path,
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        job_id = desk.submit(steps="100000", step_seconds="0.02")
        worker = start_worker(settings.model_copy(update={"broker_url": broker.url}))
        desk.wait_for_step(job_id, 3)
        harm(broker)
        worker.kill()

        desk.let_lease_end(settings, job_id)
        assert desk.job(job_id).attempt == 1


def test_the_training_of_a_stopped_worker_ends_by_itself_before_its_lease(
    desk: Desk, settings: Settings, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(runner)
    desk.wait_for_step(job_id, 1)
    (order,) = (settings.data_dir / "work").glob("*/*/order.json")
    silence = Order.read(order).silence_seconds
    # The last renewal is one heartbeat old at most when a worker is stopped.
    assert 0 < silence < settings.lease_seconds - settings.heartbeat_seconds
    desk.cancel(job_id)
