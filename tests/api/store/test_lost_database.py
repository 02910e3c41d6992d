"""The database is removed, replaced, emptied or damaged while the service runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from api.settings import Settings
from api.store.database import Database
from api.store.migrate import migrate
from api.store.tables.jobs import Status
from tests.api.conftest import NO_BROKER, Server, serving
from tests.postgres import PostgresServer
from tests.waiting import until
from tests.worker.conftest import Crew, Desk

JOB = {"dataset": "digits"}
FILE = "saf.sqlite3"

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as running:
        yield running


def remove(directory: Path) -> None:
    for path in directory.glob(f"{FILE}*"):
        path.unlink()


def move_away(directory: Path) -> None:
    (directory / FILE).rename(directory / "elsewhere")


def replace(directory: Path) -> None:
    """By a whole, newer copy: what a restore by hand does."""
    other = sqlite3.connect(directory / "other")
    source = sqlite3.connect(directory / FILE)
    source.backup(other)
    source.close()
    other.close()
    (directory / "other").rename(directory / FILE)


def remove_beside(directory: Path) -> None:
    (directory / f"{FILE}-wal").unlink()


def remove_index(directory: Path) -> None:
    (directory / f"{FILE}-shm").unlink()


def empty(directory: Path) -> None:
    os.truncate(directory / FILE, 0)


def make_a_folder(directory: Path) -> None:
    (directory / FILE).unlink()
    (directory / FILE).mkdir()


LOSSES = [remove, move_away, replace, remove_beside, remove_index, empty, make_a_folder]


@pytest.mark.parametrize("lose", LOSSES)
def test_nothing_is_accepted_that_would_be_lost_with_the_database(
    server: Server, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    accepted = server.submit()["id"]
    assert server.http.get("/readyz").json()["detail"].startswith("broker")
    lose(tmp_path)
    for _ in range(5):
        answer = server.http.post("/v1/jobs", json=JOB)
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert "while the service runs, and nothing is accepted" in answer.json()["detail"]
    ready = server.http.get("/readyz")
    assert ready.status_code == 503
    assert "database: does not answer (" in ready.json()["detail"]
    for path in ("/", f"/jobs/{accepted}", "/v1/jobs", "/v1/datasets", "/v1/sweeps"):
        assert server.http.get(path).status_code == 503, path
    if lose in (remove, move_away):
        assert not (tmp_path / FILE).exists(), "no empty database takes its place"


def test_a_database_that_is_put_back_is_used_again_with_all_that_was_accepted(
    server: Server, tmp_path: Path
) -> None:
    accepted = server.submit()["id"]
    move_away(tmp_path)
    assert server.http.post("/v1/jobs", json=JOB).status_code == 503
    (tmp_path / "elsewhere").rename(tmp_path / FILE)
    assert server.http.post("/v1/jobs", json=JOB).status_code == 201
    assert server.get(f"/v1/jobs/{accepted}")["status"] == "queued"


@pytest.mark.parametrize("lose", [remove, move_away, empty])
def test_a_process_that_is_started_while_the_database_is_gone_makes_no_empty_one(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER)
    with serving(settings) as server:
        accepted = server.submit()["id"]
    kept = (tmp_path / FILE).read_bytes()
    lose(tmp_path)

    with serving(settings) as server:
        answer = server.http.post("/v1/jobs", json=JOB)
        assert answer.status_code == 503
        assert f"to begin anew, remove {tmp_path}/.{FILE}.id too" in answer.json()["detail"]
        assert server.http.get("/readyz").status_code == 503
        assert not (tmp_path / FILE).exists() or lose is empty
        (tmp_path / "put back").write_bytes(kept)
        (tmp_path / "put back").rename(tmp_path / FILE)
        until(lambda: server.http.get("/v1/jobs").status_code == 200)
        assert server.get(f"/v1/jobs/{accepted}")["status"] == "queued"


def test_a_worker_that_is_started_while_the_database_is_gone_makes_no_empty_one(
    tmp_path: Path, crew: Crew, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path, heartbeat_seconds=0.2, sweep_seconds=0.2)
    with serving(settings) as server:
        job_id = server.submit()["id"]
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    runner = crew.hire(settings)
    runner.start()
    crew.message(runner)
    until(lambda: "no job can be claimed: the database" in caplog.text)
    assert not (tmp_path / FILE).exists()

    (tmp_path / "elsewhere").rename(tmp_path / FILE)

    database = Database(settings.database)
    Desk(database, runner.store).wait(job_id, Status.succeeded)
    database.dispose()


def test_one_may_begin_anew(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER)
    with serving(settings) as server:
        server.submit()
    remove(tmp_path)
    (tmp_path / f".{FILE}.id").unlink()
    with serving(settings) as server:
        assert server.get("/v1/jobs")["data"] == []


def test_a_database_that_is_replaced_while_a_submission_is_written_does_not_acknowledge_it(
    tmp_path: Path,
) -> None:
    """Between the last look before the transaction and its commit."""
    database = Database(f"sqlite:///{tmp_path / FILE}")
    migrate(database)

    def write_and_lose() -> None:
        with database.writing() as session:
            session.execute(text("UPDATE workers SET busy = 1"))
            move_away(tmp_path)

    with pytest.raises(OperationalError, match="was removed while the service runs"):
        write_and_lose()
    database.dispose()


def test_a_worker_claims_nothing_from_a_database_that_was_replaced_and_goes_on_when_it_is_back(
    tmp_path: Path, crew: Crew
) -> None:
    settings = Settings(data_dir=tmp_path, heartbeat_seconds=0.2)
    database = Database(settings.database)
    migrate(database)
    desk = Desk(database, crew.hire(settings).store)
    runner = crew.hire(settings)
    first = desk.submit(steps="10")
    runner.work()
    assert desk.job(first).status == Status.succeeded
    second = desk.submit(steps="100000", step_seconds="0.01")
    crew.message(runner)
    desk.wait_for_step(second, 5)
    move_away(tmp_path)
    shutil.copy(tmp_path / "elsewhere", tmp_path / FILE)
    processes = desk.processes(second)
    assert processes, "the training goes on"
    (tmp_path / "elsewhere").rename(tmp_path / FILE)
    step = desk.job(second).step
    desk.wait_for_step(second, step + 5)
    assert desk.processes(second) == processes
    desk.cancel(second)
    desk.wait(second, Status.cancelled)
    database.dispose()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.leave()


def test_a_postgresql_database_that_is_made_anew_is_noticed(own_server: PostgresServer) -> None:
    url = own_server.create_database("saf")
    database = Database(url)
    migrate(database)
    with database.reading() as session:
        database.confirm(session)
    own_server.drop_database("saf")
    own_server.create_database("saf")
    again = Database(url)
    migrate(again)
    again.dispose()

    def confirm() -> bool:
        try:
            with database.reading() as session:
                database.confirm(session)
        except SQLAlchemyError as error:
            return "replaced by another one" in str(error)
        return False

    until(confirm)
    database.dispose()


def damage(directory: Path, where: str) -> None:
    path = directory / FILE
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        if where == "no database":
            file.write(b"this is a text, and no database at all. " * 200)
        else:
            file.seek(4096)
            file.write(os.urandom(size - 4096))


@pytest.mark.parametrize("where", ["no database", "all pages but the first"])
def test_a_damaged_database_is_a_503_with_its_reason_on_every_route(
    tmp_path: Path, where: str
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=NO_BROKER)
    database = Database(settings.database)
    migrate(database)
    database.dispose()
    with serving(settings) as server:
        job = server.submit()["id"]
        damage(tmp_path, where)
        paths = [
            path.format_map(_Names(job))
            for path, operations in server.app.openapi()["paths"].items()
            if "get" in operations and path not in ("/healthz", "/v1/stream")
        ]
        pages = ["/", "/new", "/datasets", "/sweeps", "/system", "/compare", f"/jobs/{job}"]
        answers = {path: server.http.get(path) for path in (*paths, *pages)}
        odd = {
            path: answer.status_code
            for path, answer in answers.items()
            if answer.status_code >= 500 and answer.status_code != 503
        }
        assert odd == {}
        refused = [answer for answer in answers.values() if answer.status_code == 503]
        assert refused
        said = {answer.json()["detail"] for answer in refused if "json" in _type(answer)}
        assert any("the database is damaged (" in detail for detail in said), said
        submitted = server.http.post("/v1/jobs", json=JOB)
        assert submitted.status_code == 503
        assert "restore a backup" in submitted.json()["detail"]


def test_a_service_that_starts_on_a_damaged_database_says_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database. " * 1000)
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as server:
        answer = server.http.get("/v1/jobs")
        assert answer.status_code == 503
        assert "the database is damaged (file is not a database)" in answer.json()["detail"]


class _Names(dict[str, str]):
    """Some name for every parameter of a path."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id=job_id)

    def __missing__(self, key: str) -> str:
        return "anything"


def _type(answer: object) -> str:
    return str(answer.headers["content-type"])  # type: ignore[attr-defined]
