"""Who waits for whom: threads that write, threads that read, and what takes too long."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.store.database import Database, is_starved, took_too_long
from api.store.migrate import migrate
from api.store.tables.jobs import Job
from api.store.turns import Turns
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until

FOR_EVER = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
    "SELECT count(*) FROM n"
)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody else holds the write lock of SQLite."""
    path = make_url(url).database
    assert path is not None
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def hold_connections(database: Database, count: int) -> None:
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(database.reading()).execute(text("SELECT 1"))


@pytest.fixture
def hurried(sqlite_url: str) -> Iterator[Database]:
    """A database on SQLite whose writers wait half a second."""
    database = Database(sqlite_url, busy_seconds=0.5)
    migrate(database)
    yield database
    database.dispose()


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(), []

    def work(number: int) -> None:
        assert turns.take(PATIENCE)
        order.append(number)
        turns.give()

    assert turns.take(0)
    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()
        until(lambda: turns.waiting == len(threads))
    turns.give()
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_who_gave_up_waiting_gets_no_turn() -> None:
    turns = Turns()
    assert turns.take(0)
    assert not turns.take(0.01)
    assert turns.waiting == 0
    turns.give()
    assert turns.take(0)


def test_who_would_wait_behind_too_many_is_refused_at_once() -> None:
    turns = Turns(most_waiting=1)
    assert turns.take(0)
    patient = threading.Thread(target=turns.take, args=(PATIENCE,))
    patient.start()
    until(lambda: turns.waiting == 1)
    assert not turns.take(60)
    turns.give()
    patient.join()


def test_a_reader_connects_while_another_process_writes(hurried: Database, sqlite_url: str) -> None:
    hurried.dispose()
    with locked(sqlite_url), hurried.reading() as session:
        assert session.query(Job).count() == 0


def test_who_writes_waits_no_longer_than_they_want_to(database: Database) -> None:
    """Where somebody else keeps the lock; a database that would wait for five minutes."""
    patient = Database(database.engine.url.render_as_string(False), busy_seconds=300)
    change = text("UPDATE identity SET id = id")
    with database.writing() as session:
        session.execute(change)
        for _ in range(2):
            with pytest.raises((OperationalError, PoolTimeoutError)) as refused:  # noqa: SIM117
                with patient.writing(patience=0.05) as other:
                    other.execute(change)
            assert any(said in str(refused.value) for said in ("is locked", "lock timeout"))
    with patient.writing(patience=0.05) as other:
        other.execute(change)
    patient.dispose()


def test_readers_go_on_while_more_threads_wait_to_write_than_there_are_connections(
    hurried: Database, sqlite_url: str
) -> None:
    def write(_: int) -> str:
        try:
            with hurried.writing() as session:
                session.execute(text("UPDATE jobs SET name = ''"))
        except (OperationalError, PoolTimeoutError) as error:
            return str(error)
        return ""

    with locked(sqlite_url), ThreadPoolExecutor(60) as pool:
        answers = [pool.submit(write, number) for number in range(60)]
        while not all(answer.done() for answer in answers):
            with hurried.reading() as session:
                assert session.query(Job).count() == 0
        refused = [answer.result() for answer in answers]
    assert all("database is locked" in words for words in refused)
    assert write(0) == ""


def test_threads_that_hand_the_lock_on_leave_it_to_another_process_now_and_then(
    sqlite_url: str,
) -> None:
    """The other one is a second `Database`, which takes no turns with the first."""
    one, other = (Database(sqlite_url, busy_seconds=PATIENCE) for _ in range(2))
    over = threading.Event()

    def write_again_and_again(_: int) -> None:
        while not over.is_set():
            with one.writing() as session:
                session.execute(text("UPDATE jobs SET name = ''"))

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(write_again_and_again, number) for number in range(4)]
        try:
            for _ in range(20):
                with other.writing() as session:
                    session.execute(text("UPDATE jobs SET name = ''"))
        finally:
            over.set()
    one.dispose()
    other.dispose()
    assert [thread.result() for thread in threads] == [None] * 4


def test_what_takes_too_long_is_ended_and_the_connection_serves_the_next_one(
    database_url: str,
) -> None:
    database = Database(database_url, statement_seconds=1.0, connections=2)
    migrate(database)
    for way in (database.reading, database.writing):
        with pytest.raises(OperationalError) as caught, way() as session:
            session.execute(FOR_EVER)
        assert took_too_long(caught.value)
        with way() as session:
            assert session.scalar(text("SELECT 1")) == 1
    database.dispose()


def test_patient_work_is_not_ended(database_url: str) -> None:
    database = Database(database_url, statement_seconds=0.05)
    migrate(database)
    some_time = text(FOR_EVER.text.replace("1000000000", "2000000"))
    with pytest.raises(OperationalError), database.reading() as session:
        session.execute(some_time)
    with database.patient().reading() as session:
        assert session.scalar(some_time) == 2_000_000
    database.dispose()


def test_a_process_takes_no_more_connections_to_postgresql_than_it_was_given(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.store.database.POOL_SECONDS", 0.2)
    database = Database(postgres_url, connections=2)
    with database.reading() as one, database.reading() as two:
        for session in (one, two):
            session.execute(text("SELECT 1"))
        with pytest.raises(PoolTimeoutError) as caught, database.reading() as third:
            third.execute(text("SELECT 1"))
    assert is_starved(caught.value)
    database.dispose()


def test_a_server_without_a_connection_left_is_told_from_one_that_is_away(
    own_server: PostgresServer,
) -> None:
    own_server.stop()
    away = Database(own_server.url())
    with pytest.raises(OperationalError) as caught, away.reading() as session:
        session.execute(text("SELECT 1"))
    assert not is_starved(caught.value)
    own_server.start(connections=4)
    greedy = Database(own_server.url(), connections=10)
    with pytest.raises(OperationalError) as caught:
        hold_connections(greedy, 10)
    assert is_starved(caught.value)
    away.dispose()
    greedy.dispose()
