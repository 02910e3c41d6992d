"""Leases in a real broker: when one is held, when it is gone, and when that cannot be known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from api.broker import EmbeddedBroker
from api.brokerlease import BROKER_AWAY, BrokerLeases, broker_leases
from api.settings import Settings
from api.store.leases import Lapsed
from tests.api.conftest import until
from tests.chaos.proxy import Proxy

LEASE_SECONDS = 2.0


def attempt(job_id: str = "job_1", number: int = 1, *, is_to_end: bool = False) -> Lapsed:
    return Lapsed(job_id=job_id, attempt=number, lease_until=0.0, is_to_end=is_to_end)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def open_leases(broker: EmbeddedBroker) -> Iterator[Callable[[], BrokerLeases]]:
    """The leases as each process has them."""
    opened: list[BrokerLeases] = []

    def open_() -> BrokerLeases:
        opened.append(BrokerLeases(broker.url, LEASE_SECONDS))
        return opened[-1]

    yield open_
    for leases in opened:
        leases.close()


@pytest.fixture
def worker(open_leases: Callable[[], BrokerLeases]) -> BrokerLeases:
    return open_leases()


@pytest.fixture
def sweeper(open_leases: Callable[[], BrokerLeases]) -> BrokerLeases:
    """One that believes the broker: it has been up for long enough."""
    sweeper = open_leases()
    until(lambda: sweeper.unheld([attempt("nobody's")]))
    return sweeper


@pytest.fixture
def redis(broker: EmbeddedBroker) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(broker.socket)) as redis:
        yield redis


def test_an_attempt_holds_its_lease_until_it_gives_it_back(
    worker: BrokerLeases, sweeper: BrokerLeases
) -> None:
    held, other = attempt(), attempt(number=2)
    assert worker.renew("job_1", 1)
    assert sweeper.unheld([held, other]) == [other]
    worker.release("job_1", 1)
    assert sweeper.unheld([held, other]) == [held, other]


def test_a_lease_that_nobody_renews_ends(worker: BrokerLeases, sweeper: BrokerLeases) -> None:
    assert worker.renew("job_1", 1)
    assert sweeper.unheld([attempt()]) == []
    assert until(lambda: sweeper.unheld([attempt()])) == [attempt()]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_broker_that_has_just_started_is_not_believed(
    fresh: bool,
    broker: EmbeddedBroker,
    open_leases: Callable[[], BrokerLeases],
    sweeper: BrokerLeases,
    redis: Redis,
) -> None:
    """It may have lost the keys of workers that train."""
    broker.child.kill()
    assert sweeper.unheld([attempt()]) == []
    broker.start()
    looking = open_leases() if fresh else sweeper
    assert looking.unheld([attempt()]) == []
    assert until(lambda: looking.unheld([attempt()])) == [attempt()]
    assert redis.info("server")["uptime_in_seconds"] >= LEASE_SECONDS


def test_another_server_at_the_same_address_is_not_believed_at_once(
    tmp_path: Path, broker: EmbeddedBroker
) -> None:
    """As when a replica takes over, which may lack the newest keys."""
    with EmbeddedBroker(tmp_path / "another") as another:
        cable = Proxy(broker.socket)
        leases = BrokerLeases(f"redis://127.0.0.1:{cable.port}/0", LEASE_SECONDS)
        until(lambda: leases.unheld([attempt()]))
        there = BrokerLeases(another.url, LEASE_SECONDS)
        until(lambda: there.unheld([attempt()]))  # it has been up for long
        cable.lead_to(another.socket)

        assert leases.unheld([attempt()]) == []  # the connection broke
        assert leases.unheld([attempt()]) == []
        assert until(lambda: leases.unheld([attempt()])) == [attempt()]
        leases.close()
        there.close()
        cable.close()


def test_a_broker_that_hangs_is_no_sign_that_a_worker_is_gone(broker: EmbeddedBroker) -> None:
    cable = Proxy(broker.socket)
    leases = BrokerLeases(f"redis://127.0.0.1:{cable.port}/0", LEASE_SECONDS)
    until(lambda: leases.unheld([attempt()]))
    cable.stall()
    assert leases.unheld([attempt()]) == []
    with pytest.raises(BROKER_AWAY):
        leases.renew("job_1", 1)
    cable.heal()
    assert until(lambda: leases.unheld([attempt()])) == [attempt()]
    leases.close()
    cable.close()


def test_a_lease_in_a_broker_that_drops_keys_does_not_count(
    worker: BrokerLeases, redis: Redis
) -> None:
    redis.config_set("maxmemory", "100mb")
    assert worker.renew("job_1", 1)
    redis.config_set("maxmemory-policy", "volatile-lru")
    assert not worker.renew("job_1", 1)


def test_a_worker_that_cannot_hear_the_database_is_told_to_give_a_job_up(
    worker: BrokerLeases, sweeper: BrokerLeases
) -> None:
    assert worker.renew("job_1", 1)
    assert sweeper.unheld([attempt(is_to_end=True)]) == []
    assert not worker.renew("job_1", 1)
    # Not at once: the training has to stand still before others may have the job.
    assert sweeper.unheld([attempt(is_to_end=True)]) == []
    until(lambda: sweeper.unheld([attempt(is_to_end=True)]))


def test_there_is_no_second_lease_on_one_machine_or_without_a_broker(tmp_path: Path) -> None:
    many = "postgresql+psycopg://saf@db/saf"
    for database, broker, has in (
        (f"sqlite:///{tmp_path / 'saf.sqlite3'}", "redis://broker:6379/0", False),
        (many, "", False),
        (many, "redis://broker:6379/0", True),
        (many, "rediss://:secret@broker:6379/0?ssl_cert_reqs=CERT_REQUIRED", True),
        (many, "redis+socket:///run/valkey?virtual_host=3", True),
    ):
        leases = broker_leases(Settings(database_url=database, broker_url=broker))
        assert (leases is not None) == has, broker
