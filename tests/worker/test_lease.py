"""A worker that alone is cut off from the database: its training never runs beside another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.settings import Settings
from api.store import lifecycle
from api.store.database import clock
from api.store.tables import Status
from tests.chaos.proxy import Proxy
from tests.postgres import PostgresServer
from tests.worker.conftest import Crew, Desk, until
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
    # From the last renewal it is one heartbeat at most to the last word of the worker, and the
    # process has another one to notice the silence.
    assert silence + 2 * settings.heartbeat_seconds <= settings.lease_seconds
    desk.cancel(job_id)
