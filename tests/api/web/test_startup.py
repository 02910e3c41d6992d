"""An API that is started before its database, or with a wrong address: it is up and says why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from api.local.valkey import EmbeddedBroker
from api.settings import Settings, settings
from api.store.database import Database
from api.store.migrate import migrate
from tests.api.conftest import NO_BROKER
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until

SECRET = "geheim"
API = ["uvicorn", "--factory", "api.main:create_app"]


class ApiProcess:
    """The API as it is deployed, in a process of its own."""

    def __init__(self, directory: Path, database_url: str, broker_url: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = directory / "api.log"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        with self._log.open("wb") as output:
            self._popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app"),
                    *("--port", str(port), "--log-level", "warning"),
                ],
                env=environment(directory, database_url, broker_url),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(self.is_up)

    def is_up(self) -> bool:
        assert self._popen.poll() is None, self.log()
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def is_ready(self) -> bool:
        return self.http.get("/readyz").status_code == 200

    def reason(self, path: str = "/readyz") -> str:
        """Why it answers 503."""
        answer = self.http.get(path)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"]
        return str(answer.json()["detail"])

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        self.http.close()
        self._popen.terminate()
        self._popen.wait(timeout=PATIENCE)


def environment(directory: Path, database_url: str, broker_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "SAF_DATA_DIR": str(directory),
    }


Start = Callable[..., ApiProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[ApiProcess] = []

    def start_(database_url: str, broker_url: str = NO_BROKER) -> ApiProcess:
        started.append(ApiProcess(tmp_path, database_url, broker_url))
        return started[-1]

    yield start_
    for api in started:
        api.end()


def test_an_api_that_is_started_before_its_database_says_so_and_works_once_it_is_there(
    own_server: PostgresServer, tmp_path: Path, start: Start
) -> None:
    url = own_server.create_database("late")
    own_server.stop()
    with EmbeddedBroker(tmp_path / "broker") as broker:
        api = start(url, broker.url)
        for path in ("/v1/jobs", "/v1/workers", "/readyz"):
            assert "No such file or directory" in api.reason(path), path  # of the server's socket
        assert "\nsaf_database_up 0.0\n" in api.http.get("/metrics").text
        assert api.http.post("/v1/jobs", json={"dataset": "digits"}).status_code == 503
        page = api.http.get("/", headers={"accept": "text/html"})
        assert page.status_code == 503
        assert "the database cannot be used" in page.text

        own_server.start()
        until(api.is_ready)

        assert api.http.post("/v1/jobs", json={"dataset": "digits"}).status_code == 201
        assert api.http.get("/", headers={"accept": "text/html"}).status_code == 200
    log = api.log()
    assert "Traceback" not in log
    once = "waiting: the database cannot be used: No such file or directory"
    assert log.count(once) == 1, log  # a second line only of another reason: it is starting up


def test_an_api_with_a_wrong_password_or_host_says_so_without_the_password(
    own_server: PostgresServer, start: Start
) -> None:
    own_server.create_database("kept")
    own_server.add_user("clerk", "another")
    address = own_server.url("kept").replace("saf@", f"clerk:{SECRET}@")
    wrong = {
        address: 'password authentication failed for user "clerk"',
        f"postgresql+psycopg://saf:{SECRET}@nowhere.invalid/saf": "nowhere.invalid",
        own_server.url("nothing"): 'database "nothing" does not exist',
    }
    for url, why in wrong.items():
        api = start(url)
        assert why in api.reason()
        assert why in api.log()
        assert "Traceback" not in api.log()
        assert SECRET not in api.log() + api.reason()


@pytest.mark.slow
def test_an_api_refuses_to_work_on_tables_of_another_version(sqlite_url: str, start: Start) -> None:
    database = Database(sqlite_url)
    migrate(database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'of tomorrow'"))
    database.dispose()
    api = start(sqlite_url)
    assert "of a newer version of this program" in api.reason("/v1/jobs")
    assert "Traceback" not in api.log()


@pytest.mark.parametrize(
    ("program", "database_url", "broker_url", "hint"),
    [
        ("api", f"postgres://saf:{SECRET}@db/saf", NO_BROKER, "DATABASE_URL begins with 'postg"),
        # Both programs read an address with the same function.
        ("worker", f"saf:{SECRET}@db", NO_BROKER, "DATABASE_URL is no address"),
        ("api", "", f"amqp://saf:{SECRET}@broker", "BROKER_URL begins with 'amqp'"),
        ("worker", "", f"amqp://saf:{SECRET}@broker", "BROKER_URL begins with 'amqp'"),
    ],
)
def test_an_address_that_cannot_be_right_ends_the_start_with_one_line(
    program: str, database_url: str, broker_url: str, hint: str, tmp_path: Path
) -> None:
    command = {
        "api": ["-m", "uvicorn", "--factory", "api.main:create_app", "--port", "0"],
        "worker": ["-m", "worker"],
    }[program]
    ended = subprocess.run(
        [sys.executable, *command],
        env=environment(tmp_path, database_url, broker_url),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode != 0
    (line,) = ended.stderr.strip().splitlines()
    assert hint in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("program", "name", "value", "hint"),
    [
        (API, "SAF_LEASE_SECONDS", "long", "SAF_LEASE_SECONDS: Input should be a valid number"),
        (["worker"], "SAF_HEARTBEAT_SECONDS", "8", "SAF_HEARTBEAT_SECONDS is at most a quarter"),
        (["worker"], "SAF_ALLOWED_HOSTS", "example.org", "allowed_hosts"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_one_line(
    program: list[str], name: str, value: str, hint: str
) -> None:
    """Both programs have one class of settings; a kind of fault is shown to one of them."""
    ended = subprocess.run(
        [sys.executable, "-m", *program],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode != 0
    (line,) = ended.stderr.strip().splitlines()
    assert hint in line


@pytest.mark.parametrize("program", [API, ["worker"]])
def test_a_setting_of_an_earlier_version_is_accepted_with_one_line_of_warning(
    program: list[str],
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *program],
        # The second one ends the start, so that there is something to wait for.
        env={**os.environ, "SAF_OUTAGE_SECONDS": "long", "SAF_LEASE_SECONDS": "long"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    warning, refused = ended.stderr.strip().splitlines()
    assert "SAF_OUTAGE_SECONDS does nothing any more" in warning
    assert "SAF_LEASE_SECONDS: Input should be a valid number" in refused


def test_a_setting_with_its_former_name_is_read_and_yields_to_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAF_TRIAL_MAX_SECONDS", "7")
    assert Settings().predict_max_seconds == 7
    assert Settings(predict_max_seconds=9).predict_max_seconds == 9
    child = Settings(predict_max_seconds=9).environment()
    assert child["SAF_PREDICT_MAX_SECONDS"] == "9.0"
    assert "SAF_TRIAL_MAX_SECONDS" not in child
    monkeypatch.setenv("SAF_PREDICT_MAX_SECONDS", "8")
    assert Settings().predict_max_seconds == 8


def test_the_former_name_of_a_setting_is_answered_with_the_new_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SAF_TRIAL_MAX_SECONDS", "long")
    wrong = "used: SAF_PREDICT_MAX_SECONDS: Input should be a valid number"
    with pytest.raises(SystemExit, match=wrong):
        settings.__wrapped__()
    assert "SAF_TRIAL_MAX_SECONDS is called SAF_PREDICT_MAX_SECONDS" in caplog.text


def test_a_child_process_does_not_warn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAF_OUTAGE_SECONDS", "60")
    assert not any("OUTAGE" in name for name in Settings().environment())
