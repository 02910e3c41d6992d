"""Sign-ins that wait at a provider: used once, by their browser, in time, and not too many."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from api.store.accounts import logins
from api.store.accounts.tables import PendingLogin
from api.store.database import Database


def begin(database: Database, browser: str = "b", address: str = "10.0.0.1") -> str:
    with database.writing() as session:
        begun = logins.begin(
            session, browser=browser, redirect_uri="http://x/", wanted="/", address=address
        )
    return begun.state


def take(database: Database, state: str, browser: str = "b") -> bool:
    with database.writing() as session:
        return logins.take(session, state=state, browser=browser) is not None


def waiting(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(PendingLogin)) or 0


def test_one_is_taken_once_and_by_its_browser(database: Database) -> None:
    state = begin(database)
    assert not take(database, state, "another")
    assert not take(database, "guessed")
    assert take(database, state)
    assert not take(database, state)


def test_one_that_waits_too_long_is_gone(database: Database) -> None:
    state = begin(database)
    with database.writing() as session:
        session.execute(update(PendingLogin).values(expires_at=1.0))
    begin(database)
    assert waiting(database) == 1
    assert not take(database, state)


def test_of_one_address_and_of_all_so_many_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MOST_OF_ADDRESS", 3)
    monkeypatch.setattr(logins, "MOST", 5)
    states = [begin(database) for _ in range(5)]
    other = begin(database, address="10.0.0.2")
    assert waiting(database) == 4
    assert [take(database, state) for state in states] == [False, False, True, True, True]
    assert take(database, other)
    for number in range(9):
        begin(database, address=f"10.0.1.{number}")
    assert waiting(database) == 5
