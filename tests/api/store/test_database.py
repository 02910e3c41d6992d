"""What a database says that passes, like one that is away."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DataError, InternalError, OperationalError

from api.store.database import Database
from tests.waiting import until


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def test_a_server_that_may_only_be_read_is_away(database: Database, database_url: str) -> None:
    name = make_url(database_url).database
    with database.writing() as session:
        session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    database.dispose()
    with pytest.raises(OperationalError, match="read-only"), database.writing() as session:
        session.execute(text("DELETE FROM jobs"))


def stand_still(database: Database) -> None:
    with database.writing() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        until(lambda: has_ended(database, pid))
        session.execute(text("SELECT 1"))


def has_ended(database: Database, pid: int) -> bool:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    with database.reading() as session:
        return not session.scalar(query, {"pid": pid})


def test_a_transaction_that_the_server_ended_for_standing_still_passes(database: Database) -> None:
    with pytest.raises(OperationalError, match="idle-in-transaction"):
        stand_still(database)
    with database.writing() as session:
        assert session.scalar(text("SELECT 1")) == 1


def go_on_after_an_error(database: Database) -> None:
    with database.engine.begin() as connection:
        with pytest.raises(DataError, match="division"):
            connection.exec_driver_sql("SELECT 1 / 0")
        connection.exec_driver_sql("SELECT 1")


def test_a_defect_stays_a_defect(database: Database) -> None:
    with pytest.raises(InternalError, match="current transaction is aborted"):
        go_on_after_an_error(database)
