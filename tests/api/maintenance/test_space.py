"""SQLite gives room back to the disk: in steps, or for a file of before as a whole."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from api.maintenance.collector import Janitor
from api.maintenance.space import Space
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.migrate import migrate
from api.store.runs import logs
from api.store.tables.jobs import Job
from api.store.tables.results import LogChunk
from tests.api.store.conftest import _submit

LINES = "a line that a training printed\n" * 2000

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Database]:
    """A database of today, from which most was deleted."""
    database = fill(Database(f"sqlite:///{tmp_path / 'saf.sqlite3'}"))
    yield database
    database.dispose()


def fill(database: Database) -> Database:
    migrate(database)
    job = _submit(database)
    with database.writing() as session:
        for _ in range(200):
            logs.append(session, job, 1, LINES)
    with database.writing() as session:
        kept = session.scalars(select(LogChunk.id).limit(5)).all()
        session.execute(delete(LogChunk).where(LogChunk.id.not_in(kept)))
    return database


def of_before(path: Path) -> Database:
    """A file that was made without incremental vacuum, as versions before made it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("CREATE TABLE of_before (x)")
        connection.execute("DROP TABLE of_before")
    return Database(f"sqlite:///{path}")


def size(database: Database) -> int:
    return os.stat(str(database.engine.url.database)).st_size


def is_whole(database: Database) -> bool:
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(LogChunk)) == 5
        assert session.scalar(select(LogChunk.text).limit(1)) == LINES
        assert session.scalar(select(func.count()).select_from(Job)) == 1
    database.dispose()
    with closing(sqlite3.connect(str(database.engine.url.database))) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_a_file_of_today_is_made_smaller_in_steps_while_others_write(filled: Database) -> None:
    before = size(filled)
    (item,) = Space(filled, whole=False).find()
    assert item.bytes > 0.8 * before
    stop = threading.Event()
    written = []

    def write() -> None:
        other = Database(str(filled.engine.url), busy_seconds=5)
        while not stop.is_set():
            with other.writing() as session:
                written.append(session.execute(select(Job.id)).scalar_one())
        other.dispose()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert item.remove()
    finally:
        stop.set()
        writer.join()
    assert written
    assert size(filled) < 0.2 * before
    assert is_whole(filled)
    assert list(Space(filled, whole=True).find()) == []


def test_a_file_of_before_is_made_smaller_only_when_asked_and_then_in_steps(
    tmp_path: Path,
) -> None:
    database = fill(of_before(tmp_path / "saf.sqlite3"))
    before = size(database)
    assert list(Space(database, whole=False).find()) == []
    (item,) = Space(database, whole=True).find()
    assert item.remove()
    assert size(database) < 0.2 * before
    assert is_whole(database)
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == 2
    database.dispose()


def test_a_file_that_somebody_keeps_locked_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "saf.sqlite3"
    of_before(path).dispose()
    database = fill(Database(f"sqlite:///{path}", busy_seconds=0.1))
    before = size(database)
    (item,) = Space(database, whole=True).find()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not item.remove()
    assert size(database) == before
    assert is_whole(database)


def test_saf_gc_gives_room_back_and_says_how_much(tmp_path: Path) -> None:
    database = fill(of_before(tmp_path / "saf.sqlite3"))
    before = size(database)
    command = [sys.executable, "-m", "saf.cli", "gc", "--data-dir", str(tmp_path), "--json"]
    dry = json.loads(subprocess.check_output([*command, "--dry-run"]))
    assert [item["kind"] for item in dry["items"]] == ["room in the database"]
    assert size(database) == before
    done = json.loads(subprocess.check_output(command))
    assert done["bytes"] > 0.8 * before
    assert size(database) < 0.2 * before
    assert is_whole(database)


def test_little_room_and_postgresql_are_left_alone(database: Database, tmp_path: Path) -> None:
    janitor = Janitor(
        database,
        DirectoryStore(str(tmp_path / "artifacts")),
        Settings(data_dir=tmp_path),
        whole_database=True,
    )
    assert list(janitor.find()) == []
