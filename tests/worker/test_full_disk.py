"""Real full disks: a small tmpfs for the worker's files, the artifact store or the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables.jobs import Status
from tests.disks import SmallDisk, mounted
from tests.waiting import until
from tests.worker.attempts.test_lease import has_finished
from tests.worker.conftest import Crew, Desk, undisturbed


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is tested here does not depend on the database."""
    return sqlite_url


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    with mounted(path) as disk:
        yield disk


def notes(desk: Desk, job_id: str) -> list[str]:
    return [event.data["text"] for event in desk.events(job_id) if event.type == "note"]


def test_a_full_artifact_store_pauses_the_job_and_loses_nothing(
    disk: SmallDisk, settings: Settings, database: Database, crew: Crew
) -> None:
    settings = settings.model_copy(update={"artifacts_url": str(disk.path / "artifacts")})
    store = DirectoryStore(settings.artifacts)
    desk = Desk(database, store)
    store.check()
    disk.fill()
    job_id = desk.submit(steps="40")
    crew.message(crew.hire(settings))

    until(lambda: notes(desk, job_id))

    assert "No space left" in notes(desk, job_id)[0]
    assert desk.job(job_id).status in (Status.running, Status.starting)
    disk.make_room()
    desk.wait(job_id, Status.succeeded)
    assert desk.steps(job_id) == undisturbed(40)
    assert desk.job(job_id).attempt == 1
    assert not list(store.directory.glob(".incoming-*"))


def test_a_job_that_waits_for_room_can_be_cancelled(
    disk: SmallDisk, settings: Settings, database: Database, crew: Crew
) -> None:
    settings = settings.model_copy(update={"artifacts_url": str(disk.path / "artifacts")})
    desk = Desk(database, DirectoryStore(settings.artifacts))
    desk.store.check()
    disk.fill()
    job_id = desk.submit(steps="40")
    crew.message(crew.hire(settings))
    until(lambda: notes(desk, job_id))

    desk.cancel(job_id)

    desk.wait(job_id, Status.cancelled)
    assert desk.processes(job_id) == []


def test_a_full_disk_of_the_worker_ends_the_attempt_and_the_job_is_tried_again(
    disk: SmallDisk, settings: Settings, database: Database, crew: Crew
) -> None:
    data = disk.path / "data"
    settings = settings.model_copy(
        update={
            "data_dir": data,
            "artifacts_url": str(settings.data_dir / "artifacts"),
            "retry_seconds": 60.0,
        }
    )
    desk = Desk(database, DirectoryStore(settings.artifacts))
    runner = crew.hire(settings)
    disk.fill()
    job_id = desk.submit(steps="40")
    crew.message(runner)

    first = desk.wait(job_id, Status.recovering)

    assert first.retry_at is not None
    (event,) = [event for event in desk.events(job_id) if event.type == Status.recovering]
    assert "No space left" in event.data["reason"]
    assert event.data["retry_in_seconds"] == 60.0
    disk.make_room()
    desk.retry_now(job_id)
    until(lambda: runner.work() or desk.job(job_id).status == Status.succeeded)
    assert desk.steps(job_id) == undisturbed(40)


@pytest.fixture
def small_sqlite(disk: SmallDisk) -> Iterator[Callable[[], Database]]:
    opened: list[Database] = []

    def open_() -> Database:
        opened.append(Database(f"sqlite:///{disk.path / 'saf.sqlite3'}"))
        migrate(opened[-1])
        return opened[-1]

    yield open_
    for database in opened:
        database.dispose()


def test_a_full_disk_of_sqlite_keeps_the_reports_until_there_is_room(
    disk: SmallDisk, tmp_path: Path, small_sqlite: Callable[[], Database], crew: Crew
) -> None:
    database = small_sqlite()
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=f"sqlite:///{disk.path / 'saf.sqlite3'}",
        lease_seconds=60.0,
        heartbeat_seconds=0.3,
        sweep_seconds=600.0,
        stop_grace_seconds=3.0,
    )
    desk = Desk(database, DirectoryStore(settings.artifacts))
    told = tmp_path / "told"
    # A long log needs pages that the database does not have yet.
    wish = {"print_at_40": "y" * 200, "times": "2000", "hold_at": "25", "hold_until": str(told)}
    job_id = desk.submit(steps="300", **wish)
    crew.message(crew.hire(settings))
    desk.wait_for_step(job_id, 5)

    disk.fill()
    until(lambda: not _has_room(database))
    told.touch()
    until(lambda: has_finished(settings))
    assert desk.job(job_id).status == Status.running
    disk.make_room()

    desk.wait(job_id, Status.succeeded)
    assert desk.job(job_id).attempt == 1
    assert desk.steps(job_id) == undisturbed(300)


def _has_room(database: Database) -> bool:
    """Whether something large can be written."""
    try:
        with database.writing() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS probe (x BLOB)"))
            session.execute(text("INSERT INTO probe VALUES (zeroblob(300000))"))
            session.execute(text("DROP TABLE probe"))
    except OperationalError:
        return False
    return True
