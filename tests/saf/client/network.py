"""A network between client and server that fails, and jobs of that server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from api.store.runs import artifacts
from saf.client.client import (
    Client,
)
from saf.client.connection import stream, transport
from tests.api.conftest import Server

Change = Callable[[httpx.Request, httpx.Response | None], httpx.Response | None]


class Network(httpx.BaseTransport):
    """The real network; `change(request, None)` before and `change(request, response)` after a
    request may raise, or put another response in its place."""

    def __init__(self, change: Change) -> None:
        self._real = httpx.HTTPTransport()
        self._change = change
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        early = self._change(request, None)
        if early is not None:
            return early
        response = self._real.handle_request(request)
        return self._change(request, response) or response

    def close(self) -> None:
        self._real.close()


class Cut(httpx.SyncByteStream):
    """A body that breaks after `count` bytes."""

    def __init__(self, whole: Any, count: int) -> None:
        self._whole = whole
        self._count = count

    def __iter__(self) -> Iterator[bytes]:
        left = self._count
        for part in self._whole:
            if len(part) >= left:
                yield part[:left]
                raise httpx.ReadError("cut")
            left -= len(part)
            yield part

    def close(self) -> None:
        self._whole.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (transport, "FIRST_PAUSE"),
        (transport, "LONGEST_PAUSE"),
        (stream, "FIRST_PAUSE"),
        (stream, "POLL_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.02)


@pytest.fixture
def client(shared: Server) -> Iterator[Client]:
    with Client(shared.address) as client:
        yield client


def finish(server: Server, job_id: str) -> None:
    """Let the job succeed; nothing else may wait."""
    claim = server.run()
    assert claim.job_id == job_id
    server.progress(claim, 50, loss=0.5)
    server.succeed(claim)


def put_away(server: Server) -> None:
    """Nothing waits any more."""
    for job in server.get("/v1/jobs", limit=200)["data"]:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            server.http.post(f"/v1/jobs/{job['id']}/cancel")


def keep(server: Server, files: dict[str, bytes]) -> str:
    """A job that has left these files."""
    job_id: str = server.submit()["id"]
    for name, content in files.items():
        file = server.files.directory.parent / "file"
        file.write_bytes(content)
        incoming = server.service.store.receive(file)
        with server.service.database.writing() as session:
            sha256 = server.service.store.keep(session, incoming)
            artifacts.register(session, job_id=job_id, name=name, kind="network", sha256=sha256)
    return job_id


CONTENT = np.random.default_rng(0).bytes(300_000)
