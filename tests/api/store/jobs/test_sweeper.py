"""When a lease that ran out is believed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from api.settings import Settings
from api.store.database import Database, clock, now
from api.store.jobs import leases, lifecycle
from api.store.jobs.sweeper import GracePeriod, Sweeper
from api.store.limits.tables import Attempt
from api.store.tables.jobs import Job, Status
from tests.waiting import until


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
def grace(clocks: Clocks) -> GracePeriod:
    return GracePeriod(30.0, monotonic=lambda: clocks.here)


def looks(grace: GracePeriod, clocks: Clocks, *, seconds: float) -> list[bool]:
    """What looks every 5 s say, the first one at once."""
    found = []
    for _ in range(round(seconds / 5)):
        found.append(grace.is_over(clocks.there))
        clocks.pass_(5)
    return found


def test_nothing_is_recovered_before_the_database_was_seen_for_a_lease(
    grace: GracePeriod, clocks: Clocks
) -> None:
    assert not any(looks(grace, clocks, seconds=30))
    assert all(looks(grace, clocks, seconds=60))


def test_a_database_that_was_away_has_to_be_seen_for_another_lease(
    grace: GracePeriod, clocks: Clocks
) -> None:
    assert looks(grace, clocks, seconds=35)[-1]
    grace.begin()
    assert not any(looks(grace, clocks, seconds=30))
    assert all(looks(grace, clocks, seconds=30))


def test_looks_with_a_gap_between_them_begin_anew(grace: GracePeriod, clocks: Clocks) -> None:
    assert looks(grace, clocks, seconds=35)[-1]
    clocks.pass_(15)  # the process was stopped, or a statement hung
    assert not any(looks(grace, clocks, seconds=30))
    assert all(looks(grace, clocks, seconds=30))


def test_a_machine_that_slept_begins_anew_though_its_own_clock_slept_too(
    grace: GracePeriod, clocks: Clocks
) -> None:
    assert looks(grace, clocks, seconds=35)[-1]
    clocks.there += 3600
    assert not any(looks(grace, clocks, seconds=30))
    assert all(looks(grace, clocks, seconds=30))


@pytest.mark.parametrize("jump", [-3600.0, -10.0, 0.05, 9.0])
def test_a_clock_that_is_put_back_or_slewed_ends_no_lease_and_delays_nothing(
    grace: GracePeriod, clocks: Clocks, jump: float
) -> None:
    assert looks(grace, clocks, seconds=35)[-1]
    clocks.there += jump
    assert all(looks(grace, clocks, seconds=60))


def test_small_jumps_do_not_shorten_the_time_of_a_lease(grace: GracePeriod, clocks: Clocks) -> None:
    for _ in range(6):
        assert not grace.is_over(clocks.there)
        clocks.pass_(5)
        clocks.there += 9


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


def lose(database: Database, job_id: str) -> None:
    """A worker took the job and died."""
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=0.001)
    assert claim is not None
    assert claim.job_id == job_id


def test_what_ran_out_after_the_look_is_left_to_the_next_one(
    database: Database, submit: Callable[[], str]
) -> None:
    """A statement that comes late, as after a stall, must not take what nobody could renew."""
    job_id = submit()
    with database.reading() as session:
        at = clock(session)
    lose(database, job_id)
    with database.writing() as session:
        assert lifecycle.expire_leases(session, at=at, max_losses=5) == []
        assert lifecycle.expire_leases(session, at=clock(session), max_losses=5) == [job_id]


def test_a_sweeper_recovers_nothing_until_it_has_seen_the_database_for_a_lease(
    database: Database, submit: Callable[[], str]
) -> None:
    """It may have been started after an outage that it knows nothing of."""
    job_id = submit()
    lose(database, job_id)
    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2)
    sweeper = Sweeper(database, settings, lambda _job_id: None)
    began = time.monotonic()
    while not recovered(database, job_id):
        sweeper.sweep()
    assert time.monotonic() - began >= settings.lease_seconds


@pytest.mark.slow
def test_a_sweeper_that_was_stopped_itself_lets_the_living_renew_first(
    database: Database, submit: Callable[[], str]
) -> None:
    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2)
    sweeper = Sweeper(database, settings, lambda _job_id: None)
    first = submit()
    lose(database, first)
    while not recovered(database, first):
        sweeper.sweep()
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="w", device="cpu", lease_seconds=1.0)
    assert claim is not None

    time.sleep(1.5)  # the machine with all of them stood still
    sweeper.sweep()
    assert not recovered(database, first)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        with database.writing() as session:
            leases.renew(session, claim, lease_seconds=1.0)
        sweeper.sweep()
    assert not recovered(database, first)


def test_a_sweeper_that_sweeps_seldom_recovers_jobs_all_the_same(
    database: Database, submit: Callable[[], str]
) -> None:
    job_id = submit()
    lose(database, job_id)
    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2, sweep_seconds=3600)
    sweeper = Sweeper(database, settings, lambda _job_id: None)
    sweeper.start()
    until(lambda: recovered(database, job_id))
    sweeper.stop()


def test_a_sweeper_outlives_an_error_that_nobody_thought_of(
    database: Database, submit: Callable[[], str]
) -> None:
    asked = []

    def send(job_id: str) -> None:
        asked.append(job_id)
        if len(asked) == 1:
            raise KeyError("run_id")  # a broker that answers as none was known to

    settings = Settings(lease_seconds=1.0, heartbeat_seconds=0.2, sweep_seconds=3600)
    sweeper = Sweeper(database, settings, send)
    first = submit()
    lose(database, first)
    sweeper.start()
    until(lambda: asked == [first])
    lose(database, first)
    until(lambda: asked == [first, first])
    sweeper.stop()


def test_attempts_that_no_limit_counts_any_more_are_removed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.writing() as session:
        for days in (365, 367):
            ended = clock(session) - days * 86_400
            session.add(Attempt(job_id=f"job_{days}", attempt=1, began_at=ended, ended_at=ended))
    sweeper = Sweeper(database, Settings(), send_wakeup=lambda _: None)
    monkeypatch.setattr(sweeper._grace, "is_over", lambda at: True)
    sweeper.sweep()
    with database.reading() as session:
        assert list(session.scalars(select(Attempt.job_id))) == ["job_365"]
