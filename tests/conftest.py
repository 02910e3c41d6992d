"""Fixtures on the real thing: a Valkey server, SQLite files, servers of PostgreSQL and S3."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.migrate import migrate
from api.store.tables.base import DatabaseIdentity
from tests.lanes import (  # noqa: F401  (hooks)
    pytest_collection_modifyitems,
    pytest_ignore_collect,
)
from tests.postgres import PostgresServer
from tests.s3 import S3Server

# Workers of tests load torch when something trains, not before, and small networks gain nothing
# from a second thread. What is about either says so itself.
os.environ.setdefault("SAF_WARM_PROCESSES", "0")
os.environ.setdefault("SAF_WORKER_THREADS", "1")
# Where processes outnumber cores, threads that wait for each other by spinning take fifteen times
# the processor time of the work. Read by OpenMP when torch is loaded, here and in child processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: the garbage collector need not go through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def own_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches a service that the environment names."""
    of_amazon = [name for name in os.environ if name.startswith("AWS_")]
    for name in ("DATABASE_URL", "BROKER_URL", "ARTIFACTS_URL", *of_amazon):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests; each test gets a database of its own."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the test's own, to stop and start."""
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that the migrations built."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    build(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """The name of a database that the migrations built."""
    build(postgres.create_database("template_of_tests"))
    return "template_of_tests"


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A SQLite file as the migrations build it, with nothing in it."""
    path = shutil.copyfile(sqlite_template, tmp_path / "test.sqlite3")
    return renamed(f"sqlite:///{path}")


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The same in the PostgreSQL server of all tests."""
    name = new_id("test")
    yield renamed(postgres.create_database(name, template=postgres_template))
    postgres.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of either kind with the newest tables; a test that uses it runs on both."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of either kind without a table, to migrate."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = new_id("test")
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database that the migrations built."""
    database = Database(database_url)
    yield database
    database.dispose()


def build(url: str) -> None:
    """Let the migrations make the tables. Nothing stays connected."""
    database = Database(url)
    migrate(database)
    database.dispose()


def renamed(url: str) -> str:
    """Give a copy an identity of its own."""
    database = Database(url)
    with database.writing() as session:
        session.execute(update(DatabaseIdentity).values(id=new_id("db")))
    database.dispose()
    return url


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    """A Valkey server of the test's own."""
    from api.local.valkey import EmbeddedBroker

    with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker.url


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(str(tmp_path / "artifacts"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests; each test gets a bucket of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3") / "server.log")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store in a bucket; the environment says how it is reached."""
    name = new_id("test").replace("_", "-").lower()
    s3.create_bucket(name)
    for variable, value in s3.environment().items():
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/saf"


@pytest.fixture
def settings(tmp_path: Path, database_url: str, broker_url: str) -> Settings:
    """Those of a service on this machine; the lease outlasts whatever else the machine does."""
    return Settings(
        data_dir=tmp_path, database_url=database_url, broker_url=broker_url, lease_seconds=60.0
    )
