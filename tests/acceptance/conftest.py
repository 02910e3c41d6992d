"""The whole service as a user starts it: `saf serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

TERMINAL = ("succeeded", "failed", "cancelled")


class Service:
    """A running `saf serve` and an HTTP client to it."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.directory = directory
        self.log = directory / "serve.log"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        environment = {
            **os.environ,
            "SAF_LEASE_SECONDS": "3",
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

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the service is not ready: {self.log.read_text()}")

    def stop(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET that outlives a server that is just being restarted."""
        deadline = time.monotonic() + 90
        while True:
            try:
                response = self.http.get(path, params=params)
                if response.status_code < 500:
                    response.raise_for_status()
                    body: dict[str, Any] = response.json()
                    return body
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def submit(self, **specification: Any) -> str:
        response = self.http.post("/v1/jobs", json=specification)
        assert response.status_code == 201, response.text
        assert response.headers["location"].endswith(response.json()["id"])
        job_id: str = response.json()["id"]
        return job_id

    def wait(
        self, job_id: str, *statuses: str, seconds: float = 240, step: int = 0
    ) -> dict[str, Any]:
        """The job once it is in one of `statuses` (terminal by default) and at `step` or later."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.get(f"/v1/jobs/{job_id}")
            if job["status"] in (statuses or TERMINAL) and job["progress"]["step"] >= step:
                return job
            assert job["status"] not in TERMINAL, (job, self.logs(job_id))
            time.sleep(0.1)
        raise AssertionError((job, self.log.read_text()[-3000:]))

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
