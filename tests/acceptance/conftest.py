"""The whole service as a user starts it: `saf serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.waiting import PATIENCE, until

TERMINAL = ("succeeded", "failed", "cancelled")


class Service:
    """A running `saf serve` and an HTTP client to it."""

    def __init__(self, directory: Path, *, lease_seconds: float = 60.0) -> None:
        """On a busy machine a short lease may run out though its worker lives."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.directory = directory
        self.log = directory / "serve.log"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)
        environment = {
            **os.environ,
            "SAF_LEASE_SECONDS": str(lease_seconds),
            "SAF_HEARTBEAT_SECONDS": "0.5",
            "SAF_SWEEP_SECONDS": "0.5",
            "PYTHONUNBUFFERED": "1",
        }
        arguments = ["serve", "--port", str(self.port), "--data-dir", str(directory / "data")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "saf.cli", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until(self._is_ready, said=self.log.read_text)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=PATIENCE)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET that outlives a server that is just being restarted."""

        def answer() -> httpx.Response | None:
            try:
                response = self.http.get(path, params=params)
            except httpx.TransportError:
                return None
            return response if response.status_code < 500 else None

        response = until(answer, said=self.log.read_text)
        assert response is not None
        body: dict[str, Any] = response.raise_for_status().json()
        return body

    def submit(self, **specification: Any) -> str:
        response = self.http.post("/v1/jobs", json=specification)
        assert response.status_code == 201, response.text
        assert response.headers["location"].endswith(response.json()["id"])
        job_id: str = response.json()["id"]
        return job_id

    def wait(self, job_id: str, *statuses: str, step: int = 0) -> dict[str, Any]:
        """The job once it is in one of `statuses` (terminal by default) and at `step` or later."""
        job: dict[str, Any] = {}

        def is_there() -> bool:
            job.update(self.get(f"/v1/jobs/{job_id}"))
            if job["status"] in (statuses or TERMINAL) and job["progress"]["step"] >= step:
                return True
            assert job["status"] not in TERMINAL, (job, self.logs(job_id))
            return False

        until(is_there, said=lambda: (job, self.log.read_text()[-3000:]))
        return job

    def logs(self, job_id: str) -> str:
        return self.http.get(f"/v1/jobs/{job_id}/logs").text

    def download(self, job_id: str, name: str, target: Path) -> Path:
        found = self.get(f"/v1/jobs/{job_id}/artifacts")["data"]
        (artifact,) = [entry for entry in found if entry["name"] == name]
        response = self.http.get(artifact["url"])
        assert response.status_code == 200
        target.write_bytes(response.content)
        return target


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service that a test may break."""
    running = Service(tmp_path)
    yield running
    running.stop()
