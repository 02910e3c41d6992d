"""A database of a newer version of the program is refused at once, with words, by all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from api.settings import Settings
from api.store.database import Database
from api.store.migrate import NewerDatabaseError, migrate, refuse_newer
from tests.api.conftest import NO_BROKER, serving
from tests.waiting import PATIENCE

WORDS = "newer version of this program"


@pytest.fixture
def newer(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    refuse_newer(database)  # empty
    migrate(database)
    refuse_newer(database)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    yield database
    database.dispose()


def saf(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=PATIENCE,
    )


def test_it_is_not_migrated(newer: Database) -> None:
    with pytest.raises(NewerDatabaseError, match="'9999'"):
        migrate(newer)


def test_the_service_does_not_start_and_says_why(newer: Database, tmp_path: Path) -> None:
    address = newer.engine.url.render_as_string(hide_password=False)
    done = saf(
        *("saf.cli", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")),
        DATABASE_URL=address,
    )
    assert done.returncode == 1
    assert WORDS in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_does_not_start_and_says_why(newer: Database, tmp_path: Path) -> None:
    address = newer.engine.url.render_as_string(hide_password=False)
    done = saf(
        "worker", DATABASE_URL=address, BROKER_URL=NO_BROKER, SAF_DATA_DIR=str(tmp_path / "data")
    )
    assert done.returncode == 2
    assert WORDS in done.stderr


def test_an_api_answers_and_accepts_nothing(newer: Database, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        database_url=newer.engine.url.render_as_string(hide_password=False),
        broker_url=NO_BROKER,
    )
    with serving(settings) as server:
        for answer in (
            server.http.get("/readyz"),
            server.http.get("/v1/jobs"),
            server.http.post("/v1/jobs", json={"dataset": "digits"}),
        ):
            assert answer.status_code == 503
            assert WORDS in answer.json()["detail"]


@pytest.mark.parametrize("command", [["gc"], ["worker", "drain", "--all"]])
def test_commands_that_write_refuse_it(newer: Database, tmp_path: Path, command: list[str]) -> None:
    address = newer.engine.url.render_as_string(hide_password=False)
    done = saf("saf.cli", *command, DATABASE_URL=address, SAF_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert WORDS in done.stderr
    assert "Traceback" not in done.stderr
