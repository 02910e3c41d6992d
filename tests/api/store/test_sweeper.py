"""When a lease that ran out is believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from api.opening import Opening
from api.settings import Settings
from api.store import leases, lifecycle
from api.store.database import Database, clock, now, started_at
from api.store.leases import Lapsed
from api.store.migrate import migrate
from api.store.sweeper import Sweeper
from api.store.tables import Job, Status
from api.store.trust import Trust
from tests.postgres import PostgresServer


class Clocks:
    """The database's clock, which people set, and one that nobody sets."""

    def __init__(self) -> None:
        self.here, self.there = 1000.0, 1.7e9

    def pass_(self, seconds: float) -> None:
        self.here += seconds
        self.there += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def trust(clocks: Clocks) -> Trust:
    return Trust(30.0, monotonic=lambda: clocks.here)


def test_leases_are_believed_from_the_first_sweep_on(trust: Trust, clocks: Clocks) -> None:
    assert trust.in_leases(clocks.there, None)
    clocks.pass_(5)
    assert trust.in_leases(clocks.there, None)


def test_a_database_that_was_away_gives_workers_the_time_of_a_lease(
    trust: Trust, clocks: Clocks
) -> None:
    assert trust.in_leases(clocks.there, None)
    clocks.pass_(300)
    trust.withdraw()
    for _ in range(6):
        assert not trust.in_leases(clocks.there, None)
        clocks.pass_(5)
    assert trust.in_leases(clocks.there, None)


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 10.0])
def test_a_clock_that_was_set_gives_workers_the_time_of_a_lease(
    trust: Trust, clocks: Clocks, jump: float
) -> None:
    assert trust.in_leases(clocks.there, None)
    clocks.pass_(5)
    clocks.there += jump
    assert not trust.in_leases(clocks.there, None)
    clocks.pass_(29)
    assert not trust.in_leases(clocks.there, None)
    clocks.pass_(2)
    assert trust.in_leases(clocks.there, None)


def test_a_clock_that_is_slewed_is_believed(trust: Trust, clocks: Clocks) -> None:
    for _ in range(100):
        assert trust.in_leases(clocks.there, None)
        clocks.pass_(5)
        clocks.there += 0.05


def test_a_server_that_has_just_started_gives_workers_the_time_of_a_lease(
    trust: Trust, clocks: Clocks
) -> None:
    started = clocks.there - 10
    assert not trust.in_leases(clocks.there, started)
    clocks.pass_(25)
    assert trust.in_leases(clocks.there, started)


def test_a_server_says_when_it_started(database: Database) -> None:
    with database.reading() as session:
        started = started_at(session)
        assert (started is None) == database.is_sqlite
        assert started is None or 0 < clock(session) - started < 3600


def test_times_of_a_clock_that_was_put_back_are_shortened(
    database: Database, submit: Callable[..., str]
) -> None:
    held, waiting = submit(), submit()
    with database.writing() as session:
        for _ in range(2):
            lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=30)
        claim = leases.Claim(job_id=waiting, attempt=1, specification={}, dataset_id=None)
        lifecycle.try_again(
            session,
            claim,
            code="internal",
            message="m",
            hint="h",
            max_losses=5,
            retry_seconds=60,
        )
        session.execute(update(Job).where(Job.id == held).values(lease_until=now() + 7200))
        session.execute(update(Job).where(Job.id == waiting).values(retry_at=now() + 7200))
        leases.correct_times(session, lease_seconds=30)
        at = clock(session)
        session.expire_all()
        lease, retry = session.get_one(Job, held), session.get_one(Job, waiting)
        assert lease.lease_until is not None
        assert retry.retry_at is not None
        assert lease.lease_until <= at + 30
        assert retry.retry_at <= at + 600


def recovered(database: Database, job_id: str) -> bool:
    with database.reading() as session:
        return session.get_one(Job, job_id).status == Status.recovering


def test_a_job_that_trained_through_an_outage_is_not_recovered(
    own_server: PostgresServer, submit_to: Callable[[Database], str]
) -> None:
    """The lease ran out while the server was down; the worker renews before the sweeper acts."""
    url = own_server.create_database("outage")
    database = Database(url)
    migrate(database)
    settings = Settings(database_url=url, lease_seconds=3.0, heartbeat_seconds=0.5)
    sweepers = [Sweeper(database, settings, lambda _job_id: None) for _ in range(2)]
    living, dead = submit_to(database), submit_to(database)
    with database.writing() as session:
        claims = [
            lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.001)
            for _ in range(2)
        ]
    own_server.stop()
    with pytest.raises(SQLAlchemyError):
        sweepers[0].sweep()
    own_server.start()

    for sweeper in sweepers:  # one saw the outage, the other did not look meanwhile
        sweeper.sweep()
    with database.reading() as session:
        assert session.get_one(Job, dead).status == Status.starting
    while not recovered(database, dead):
        with database.writing() as session:
            assert claims[0] is not None
            leases.renew(session, claims[0], lease_seconds=3.0)
        for sweeper in sweepers:
            sweeper.sweep()

    with database.reading() as session:
        assert session.get_one(Job, living).status == Status.starting
    database.dispose()


def test_a_sweeper_outlives_an_error_that_nobody_thought_of(
    database: Database, submit: Callable[[], str]
) -> None:
    job_id = submit()
    with database.writing() as session:
        lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.001)
    asked = []

    def unheld(lapsed: Sequence[Lapsed]) -> Collection[Lapsed]:
        asked.append(lapsed)
        if len(asked) == 1:
            raise KeyError("run_id")  # a broker that answers as none was known to
        return lapsed

    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2, sweep_seconds=0.05)
    sweeper = Sweeper(database, settings, lambda _job_id: None, unheld=unheld)
    sweeper.start()
    deadline = time.monotonic() + 30
    while not recovered(database, job_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sweeper.stop()
    assert len(asked) > 1


def test_a_sweeper_that_begins_after_an_outage_gives_workers_the_time_of_a_lease(
    database: Database, submit: Callable[[], str]
) -> None:
    job_id = submit()
    with database.writing() as session:
        lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.001)
    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2)
    sweeper = Sweeper(database, settings, lambda _job_id: None)
    tries: list[str] = []

    def step() -> None:
        tries.append("tried")
        if len(tries) == 1:
            raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    opening = Opening([step, sweeper.sweep], failed=sweeper.doubt)
    opening.start()
    while opening.reason:
        time.sleep(0.02)
    assert not recovered(database, job_id)
    time.sleep(1.0)
    sweeper.sweep()
    assert recovered(database, job_id)
