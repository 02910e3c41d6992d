"""Reading and signing in while somebody else keeps the database locked, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, select, text, update

from api.accounts import signing_in
from api.store.accounts.tables import ApiKey, BrowserSession
from api.store.database import Database
from tests.api.accounts.people import Lab, make_lab, with_keys
from tests.api.conftest import serving
from tests.waiting import PATIENCE, until

PAGE = {"accept": "text/html"}


@pytest.fixture
def lab(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Whatever waits for the lock as long as others do gets no answer before its client gives up;
    every key was last used long ago."""
    monkeypatch.setattr("api.main.BUSY_SECONDS", 10 * PATIENCE)
    monkeypatch.setattr("api.accounts.uses.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("api.accounts.uses.LATER_SECONDS", 0.1)
    monkeypatch.setattr("api.accounts.signing_in.PATIENCE_SECONDS", 0.3)
    with serving(with_keys(tmp_path, database_url)) as server:
        lab = make_lab(server)
        until(lambda: last_use(lab, "mia") is not None)
        with server.service.database.writing() as session:
            session.execute(update(ApiKey).values(last_used_at=1.0))
        yield lab


def last_use(lab: Lab, who: str) -> float | None:
    with lab.server.service.database.reading() as session:
        prefix = lab.keys[who][:12]
        return session.scalar(select(ApiKey.last_used_at).where(ApiKey.prefix == prefix))


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another process writes, and does not end."""
    other = create_engine(database.engine.url)
    with other.connect() as connection:
        if database.is_sqlite:
            connection.connection.execute("BEGIN IMMEDIATE")
        else:
            tables = f"{ApiKey.__tablename__}, {BrowserSession.__tablename__}"
            connection.execute(text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))
        yield
        connection.rollback()
    other.dispose()


def sign_in(lab: Lab, key: str) -> httpx.Response:
    return httpx.post(
        f"{lab.server.address}/login", data={"key": key}, headers=PAGE, timeout=PATIENCE
    )


def test_reading_goes_on_and_the_use_of_the_key_is_written_down_later(lab: Lab) -> None:
    with locked(lab.server.service.database):
        for _ in range(3):
            assert lab.ask("mia", "GET", "/v1/jobs").status_code == 200
        assert last_use(lab, "mia") == 1.0
    until(lambda: last_use(lab, "mia") != 1.0)


def test_signing_in_says_that_it_has_to_wait_and_a_wrong_key_that_it_is_wrong(lab: Lab) -> None:
    with locked(lab.server.service.database):
        assert sign_in(lab, "saf_" + 43 * "x").status_code == 401
        refused = sign_in(lab, lab.keys["mia"])
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert "nothing was stored; try again in a moment" in refused.text
    assert sign_in(lab, lab.keys["mia"]).status_code == 303


def test_a_flood_of_signing_in_leaves_the_others_their_threads(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those beyond what is tried at once wait for their turn in no thread, and not long."""
    at_once, running = 0, 0
    begin = signing_in._sign_in

    def counted(*arguments: object) -> str | None:
        nonlocal at_once, running
        running += 1
        at_once = max(at_once, running)
        try:
            return begin(*arguments)  # type: ignore[arg-type]
        finally:
            running -= 1

    monkeypatch.setattr(signing_in, "_sign_in", counted)
    monkeypatch.setattr(signing_in, "TURN_SECONDS", 0.1)
    with locked(lab.server.service.database), ThreadPoolExecutor(40) as threads:
        flood = [threads.submit(sign_in, lab, lab.keys["otto"]) for _ in range(40)]
        until(lambda: running)
        assert lab.ask("mia", "GET", "/v1/jobs").status_code == 200
        answers = [each.result() for each in flood]
    assert {answer.status_code for answer in answers} == {503}
    assert any("many sign in at this moment" in answer.text for answer in answers)
    assert 0 < at_once <= signing_in.AT_ONCE
