"""The API as it is served: a real server in a thread, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from api.datasets import accept
from api.main import create_app
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.jobs import lifecycle, progress
from api.store.jobs.leases import Claim
from api.telemetry.tracing import Tracing
from api.web.asgi.connections import Connection
from api.web.dependencies import Service
from tests.answers import NO_AUTHORITIES
from tests.waiting import PATIENCE, until

NO_BROKER = "redis+socket:///nowhere/broker.sock"


class Server:
    """A running server, a client to it, and a worker to imitate."""

    def __init__(self, app: FastAPI, address: str) -> None:
        self.app = app
        self.address = address
        self.http = httpx.Client(base_url=address, timeout=PATIENCE, verify=NO_AUTHORITIES)

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    @property
    def files(self) -> DirectoryStore:
        """The store of the service, which is a directory."""
        store = self.service.store
        assert isinstance(store, DirectoryStore)
        return store

    def submit(self, **specification: Any) -> dict[str, Any]:
        response = self.http.post("/v1/jobs", json={"dataset": "digits", **specification})
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        response = self.http.get(path, params=params)
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def claim(self) -> Claim:
        """Take the first job as a worker does."""
        with self.service.database.writing() as session:
            claim = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=600)
        assert claim is not None
        return claim

    def run(self, step: int = 0, steps_total: int = 100) -> Claim:
        """Take the first job and report that it trains."""
        claim = self.claim()
        with self.service.database.writing() as session:
            lifecycle.running(session, claim, step=step, steps_total=steps_total)
        return claim

    def progress(self, claim: Claim, step: int, **latest: float) -> None:
        with self.service.database.writing() as session:
            progress.trained(session, claim, step=step, epoch=step / 10, latest=latest)

    def succeed(self, claim: Claim, **summary: Any) -> None:
        with self.service.database.writing() as session:
            lifecycle.succeed(session, claim, summary=summary or None)

    def fail(self, claim: Claim) -> None:
        with self.service.database.writing() as session:
            lifecycle.fail(session, claim, code="data", message="no images", hint="send some")

    def stream(self, path: str, **headers: str) -> Stream:
        return Stream(self, path, headers)


class Stream:
    """A live stream that is being read, message by message."""

    def __init__(self, server: Server, path: str, headers: dict[str, str]) -> None:
        self._client = httpx.Client(
            base_url=server.address, timeout=PATIENCE, verify=NO_AUTHORITIES
        )
        self._context = self._client.stream(
            "GET", path, headers={"Accept": "text/event-stream", **headers}
        )

    def __enter__(self) -> Stream:
        self.response = self._context.__enter__()
        self._lines = self.response.iter_lines()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        self._client.close()

    def messages(self) -> Iterator[tuple[str | None, str, Any]]:
        """(id, event, data) of each message, until the server ends the stream."""
        id_, event, data = None, "message", []
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                id_ = value
            elif name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif not line and data:
                yield id_, event, json.loads("\n".join(data))
                id_, event, data = None, "message", []

    def comment(self) -> str:
        """The next comment."""
        return next(line for line in self._lines if line.startswith(":"))


@contextmanager
def serving(settings: Settings, tracing: Tracing | None = None) -> Iterator[Server]:
    """A server in a thread; its port is its own. It answers an upload when it was checked, however
    long that takes."""
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr(accept, "CHECK_WAIT_SECONDS", PATIENCE)
        yield from _serving(settings, tracing)


def _serving(settings: Settings, tracing: Tracing | None) -> Iterator[Server]:
    app = create_app(settings, tracing)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="on",
        http=Connection,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, name="uvicorn")
    thread.start()
    try:
        until(lambda: running.started or not thread.is_alive())
        port = running.servers[0].sockets[0].getsockname()[1]
        server = Server(app, f"http://127.0.0.1:{port}")
        yield server
        server.http.close()
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture
def server(tmp_path: Path, database_url: str) -> Iterator[Server]:
    """A server of the test's own, on either database; the broker is away, and no test minds."""
    settings = Settings(data_dir=tmp_path, database_url=database_url, broker_url=NO_BROKER)
    with serving(settings) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Server]:
    """One server on SQLite for the tests of a file that only ask."""
    directory = tmp_path_factory.mktemp("shared")
    shutil.copyfile(sqlite_template, directory / "saf.sqlite3")
    with serving(Settings(data_dir=directory, broker_url=NO_BROKER)) as running:
        yield running
