"""A worker that is cut off from the database: its training never runs beside another, and goes on
while the worker holds its lease in the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.broker import EmbeddedBroker
from api.brokerlease import broker_leases
from api.settings import Settings
from api.store import lifecycle
from api.store.database import Database, clock
from api.store.directory import DirectoryStore
from api.store.leases import Lapsed
from api.store.migrate import migrate
from api.store.sweeper import Sweeper
from api.store.tables import Status
from tests.chaos.proxy import Proxy
from tests.postgres import PostgresServer
from tests.worker.conftest import Crew, Desk, undisturbed, until
from worker.protocol import Order
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
def remote(settings: Settings, cable: Proxy) -> Settings:
    """The settings of a worker at the other end of the cable."""
    name = settings.database_url.partition("@/")[2].partition("?")[0]
    url = f"postgresql+psycopg://saf@127.0.0.1:{cable.port}/{name}"
    return settings.model_copy(update={"database_url": url, "lease_seconds": 2.0})


def state(pid: int) -> str:
    """R or S: it runs or waits; T: it was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("cut", [Proxy.stall, Proxy.cut])
def test_a_training_stands_still_from_the_end_of_its_lease_on_and_goes_on_when_it_has_it_again(
    cut: Callable[[Proxy], None],
    desk: Desk,
    remote: Settings,
    cable: Proxy,
    crew: Crew,
) -> None:
    job_id = desk.submit(steps="80", step_seconds="0.03")
    crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)

    cut(cable)
    until(lambda: state(pid) == "T")
    lease_until = desk.job(job_id).lease_until
    assert lease_until is not None
    with desk.database.reading() as session:
        left = lease_until - clock(session)
    assert left > 0, "it stood still too late: another worker could have begun"
    cable.heal()

    assert desk.wait(job_id, Status.succeeded).attempt == 1


def test_a_training_that_stands_still_for_its_lease_is_not_taken_for_hanging(
    desk: Desk, remote: Settings, cable: Proxy, crew: Crew
) -> None:
    job_id = desk.submit(steps="80", step_seconds="0.03")
    crew.message(crew.hire(remote.model_copy(update={"stall_seconds": 3.0, "stall_factor": 2.0})))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    until(lambda: state(pid) == "T")
    time.sleep(5)
    assert state(pid) == "T"
    cable.heal()

    assert desk.wait(job_id, Status.succeeded).attempt == 1
    assert "stalled" not in desk.kinds(job_id)


def test_a_training_that_stands_still_is_killed_when_another_worker_has_its_job(
    desk: Desk, remote: Settings, cable: Proxy, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(crew.hire(remote))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    until(lambda: state(pid) == "T")

    def recovered() -> list[str]:
        with desk.database.writing() as session:
            return lifecycle.expire_leases(session, max_losses=5)

    assert until(recovered) == [job_id]
    with desk.database.writing() as session:
        claim = lifecycle.claim(session, worker_id="other", device="cpu", lease_seconds=600)
    assert claim is not None
    assert state(pid) == "T"
    cable.heal()

    until(lambda: not desk.trainees(job_id))
    assert desk.job(job_id).attempt == 2


def test_a_training_ends_by_itself_while_its_stopped_worker_still_has_the_lease(
    desk: Desk, settings: Settings, runner: Runner, crew: Crew
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(runner)
    desk.wait_for_step(job_id, 1)
    (order,) = (settings.data_dir / "work").glob("*/*/order.json")
    silence = Order.read(order).silence_seconds
    # From the last renewal it is two heartbeats at most to the last word of a worker whose training
    # does not stand still, and the process has another one to notice the silence.
    assert silence + 3 * settings.heartbeat_seconds <= settings.lease_seconds
    desk.cancel(job_id)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def broker_cable(broker: EmbeddedBroker) -> Iterator[Proxy]:
    proxy = Proxy(broker.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def doubly_held(remote: Settings, broker_cable: Proxy) -> Settings:
    """The settings of a worker with a cable to the database and another one to the broker."""
    url = f"redis://127.0.0.1:{broker_cable.port}/0"
    return remote.model_copy(update={"broker_url": url, "heartbeat_seconds": 0.4})


@pytest.fixture
def sweeper(desk: Desk, doubly_held: Settings, broker: EmbeddedBroker) -> Iterator[Sweeper]:
    """One that reaches both, and believes both."""
    settings = doubly_held.model_copy(update={"broker_url": broker.url})
    leases = broker_leases(settings)
    assert leases is not None
    nobody = Lapsed(job_id="nobody's", attempt=1, lease_until=0.0, is_to_end=False)
    until(lambda: leases.unheld([nobody]))
    yield Sweeper(desk.database, settings, lambda _job_id: None, unheld=leases.unheld)
    leases.close()


def lease_is_over(desk: Desk, job_id: str, *, by_seconds: float = 0.0) -> bool:
    with desk.database.reading() as session:
        lease_until = desk.job(job_id).lease_until
        return lease_until is not None and clock(session) > lease_until + by_seconds


def last_step(settings: Settings) -> int:
    """The step of the last report that lies beside a training; the database has not got it."""
    (outgoing,) = (settings.data_dir / "work").glob("*/*/outgoing")
    return max((int(path.stem.rpartition("-")[2]) for path in outgoing.iterdir()), default=0)


@pytest.mark.parametrize("cut", [Proxy.stall, Proxy.cut])
def test_a_training_goes_on_while_its_worker_reaches_the_broker_and_nobody_takes_its_job(
    cut: Callable[[Proxy], None],
    desk: Desk,
    doubly_held: Settings,
    cable: Proxy,
    crew: Crew,
    sweeper: Sweeper,
) -> None:
    job_id = desk.submit(steps="800", step_seconds="0.03")
    crew.message(crew.hire(doubly_held))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cut(cable)

    # Several leases later it is further than it was when its lease in the database ended.
    until(lambda: lease_is_over(desk, job_id))
    reached = last_step(doubly_held)
    while not lease_is_over(desk, job_id, by_seconds=2 * doubly_held.lease_seconds):
        sweeper.sweep()
        assert state(pid) != "T"
        assert desk.job(job_id).status == Status.running
        time.sleep(0.1)
    assert last_step(doubly_held) > reached
    cable.heal()

    assert desk.wait(job_id, Status.succeeded).attempt == 1
    assert desk.steps(job_id) == undisturbed(800)


def test_a_training_stands_still_while_its_worker_reaches_neither_database_nor_broker(
    desk: Desk,
    doubly_held: Settings,
    cable: Proxy,
    broker_cable: Proxy,
    crew: Crew,
    sweeper: Sweeper,
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(crew.hire(doubly_held))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    until(lambda: lease_is_over(desk, job_id))
    assert state(pid) != "T"
    broker_cable.stall()

    until(lambda: state(pid) == "T")
    sweeper.sweep()
    assert desk.job(job_id).status == Status.running, "it stood still too late"
    until(lambda: sweeper.sweep() or desk.job(job_id).status == Status.recovering)
    broker_cable.heal()  # the broker alone does not give the job back
    with desk.database.writing() as session:
        claim = lifecycle.claim(session, worker_id="other", device="cpu", lease_seconds=600)
    assert claim is not None
    assert state(pid) == "T"
    cable.heal()

    until(lambda: not desk.trainees(job_id))
    assert desk.job(job_id).attempt == 2


def test_a_training_that_lost_both_for_less_than_a_lease_goes_on_with_the_broker_alone(
    desk: Desk, doubly_held: Settings, cable: Proxy, broker: EmbeddedBroker, crew: Crew
) -> None:
    patient = doubly_held.model_copy(update={"lease_seconds": 20.0, "heartbeat_seconds": 0.5})
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(crew.hire(patient))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    broker.child.kill()
    until(lambda: state(pid) == "T")
    for file in broker.directory.glob("appendonlydir/*"):  # and it has forgotten all keys
        file.unlink()
    broker.start()

    until(lambda: state(pid) != "T")
    assert not lease_is_over(desk, job_id)
    cable.heal()
    desk.cancel(job_id)


def test_a_job_can_be_cancelled_though_its_worker_reaches_the_broker_alone(
    desk: Desk, doubly_held: Settings, cable: Proxy, crew: Crew, sweeper: Sweeper
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(crew.hire(doubly_held))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    until(lambda: lease_is_over(desk, job_id))
    desk.cancel(job_id)

    until(lambda: sweeper.sweep() or desk.job(job_id).status == Status.cancelled)
    assert state(pid) == "T"
    cable.heal()
    until(lambda: not desk.trainees(job_id))


def test_a_training_stands_still_when_the_broker_alone_has_vouched_for_it_for_long_enough(
    desk: Desk, doubly_held: Settings, cable: Proxy, crew: Crew, sweeper: Sweeper
) -> None:
    job_id = desk.submit(steps="100000", step_seconds="0.03")
    crew.message(crew.hire(doubly_held.model_copy(update={"outage_seconds": 4.0})))
    desk.wait_for_step(job_id, 3)
    (pid,) = desk.trainees(job_id)
    cable.cut()
    until(lambda: lease_is_over(desk, job_id))
    assert state(pid) != "T"

    until(lambda: state(pid) == "T")
    until(lambda: sweeper.sweep() or desk.job(job_id).status == Status.recovering)
    cable.heal()
    until(lambda: not desk.trainees(job_id))


def test_trainings_go_on_while_the_database_is_away_and_all_is_written_once_when_it_is_back(
    own_server: PostgresServer, broker: EmbeddedBroker, settings: Settings, crew: Crew
) -> None:
    url = own_server.create_database("outage")
    database = Database(url)
    migrate(database)
    short = {"lease_seconds": 2.0, "heartbeat_seconds": 0.2}
    there = settings.model_copy(update={"database_url": url, "broker_url": broker.url, **short})
    desk = Desk(database, DirectoryStore(settings.artifacts))
    runner = crew.hire(there)
    runner.start()  # sweeps, too
    unfinished = desk.submit(steps="800", step_seconds="0.03")
    crew.message(runner)
    desk.wait_for_step(unfinished, 3)
    (pid,) = desk.trainees(unfinished)
    own_server.stop()

    reached = last_step(there)
    until(lambda: state(pid) != "T" and last_step(there) > reached + 150)  # more than two leases
    own_server.start()

    assert desk.wait(unfinished, Status.succeeded).attempt == 1
    assert desk.steps(unfinished) == undisturbed(800)
    assert desk.kinds(unfinished).count("succeeded") == 1
    crew.leave()
    database.dispose()
