"""Servers to visit: the pages alone with a stand-in for the worker, and the whole service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from api.store.database import Database
from api.store.jobs import leases, lifecycle, progress
from api.store.jobs.leases import Claim
from api.store.runs import metrics, spike_stats
from api.store.tables.jobs import TERMINAL, Job, Status
from saf.training.events import MEMBRANE_BINS
from tests.waiting import PATIENCE, until


class Service:
    """A process that serves the pages, and a client to it."""

    def __init__(self, directory: Path, arguments: list[str], settings: Mapping[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE)
        self._log = directory / "service.log"
        self._command = [sys.executable, "-m", *arguments, "--port", str(self.port)]
        self._environment = {**os.environ, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        until(self._is_ready)

    def kill(self) -> None:
        """As a crash: no connection is closed in order."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        self._end(signal.SIGTERM)
        self.http.close()

    def submit(self, **specification: Any) -> str:
        response = self.http.post("/v1/jobs", json=specification)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return found

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=PATIENCE)
            self._process = None


class WholeService(Service):
    """`saf serve`: broker, worker and web."""

    def __init__(self, directory: Path) -> None:
        data = ["--data-dir", str(directory / "data")]
        super().__init__(directory, ["saf.cli", "serve", *data], {})


class Pages(Service):
    """The web process alone, and a worker that a test imitates step by step."""

    def __init__(self, directory: Path, **more: str) -> None:
        settings = {
            **more,
            "SAF_DATA_DIR": str(directory),
            "BROKER_URL": "redis+socket:///nowhere/broker.sock",
            "DATABASE_URL": f"sqlite:///{directory / 'pages.sqlite3'}",
            "SAF_LEASE_SECONDS": "600",
            "SAF_SWEEP_SECONDS": "600",  # jobs stay with the worker that the test imitates
        }
        arguments = ["uvicorn", "--factory", "api.main:create_app", "--log-level", "warning"]
        super().__init__(directory, arguments, settings)
        self.database = Database(settings["DATABASE_URL"])
        self.directory = directory

    def close(self) -> None:
        super().close()
        self.database.dispose()

    def running(self, steps_total: int = 100, **specification: Any) -> tuple[str, Claim]:
        """Submit a job and take it as a worker does. Nothing else may wait."""
        job_id = self.submit(**specification)
        claim = self.take(steps_total)
        assert claim.job_id == job_id
        return job_id, claim

    def take(self, steps_total: int = 100) -> Claim:
        """Take the first job in line as a worker does."""
        with self.database.writing() as session:
            claim = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=600)
            assert claim is not None
            lifecycle.running(session, claim, step=0, steps_total=steps_total)
        return claim

    def renew(self, claim: Claim, lease_seconds: float) -> None:
        """A heartbeat, after which the lease lasts so long."""
        with self.database.writing() as session:
            leases.renew(session, claim, lease_seconds=lease_seconds)

    def report(self, claim: Claim, points: Mapping[str, list[tuple[int, float]]]) -> None:
        """Write metrics and the progress that follows from them."""
        latest = {name: values[-1][1] for name, values in points.items()}
        step = max(values[-1][0] for values in points.values())
        with self.database.writing() as session:
            metrics.append(session, claim.job_id, claim.attempt, points)
            progress.trained(
                session,
                claim,
                step=step,
                epoch=step / 10,
                latest=latest,
                best_accuracy=latest.get("val_accuracy"),
            )

    def look(self, claim: Claim, step: int, firing_rate: float) -> None:
        """Write what a look into a network of two layers found."""
        membrane = [0.0] * MEMBRANE_BINS
        membrane[9], membrane[20] = 1 - firing_rate, firing_rate
        layer = {"firing_rate": firing_rate, "dead": 0.5, "saturated": 0.0, "gradient_norm": 0.1}
        layers = {name: {**layer, "membrane": membrane} for name in ("layer1", "layer2")}
        data = {"step": step, "epoch": 0.5, "samples": 8, "readout_gradient_norm": 0.2}
        with self.database.writing() as session:
            spike_stats.append(
                session, claim.job_id, claim.attempt, [(step, data | {"layers": layers})]
            )

    def succeed(self, claim: Claim, **summary: Any) -> None:
        with self.database.writing() as session:
            lifecycle.succeed(session, claim, summary=summary or None)

    def end_all(self) -> None:
        """Cancel what a test that failed left behind, so that no later one takes it for its own."""
        with self.database.writing() as session:
            for job in session.scalars(select(Job).where(Job.status.not_in(TERMINAL))).all():
                lifecycle.cancel(session, job.id)
                if job.status == Status.cancelling:
                    claim = Claim(
                        job_id=job.id, attempt=job.attempt, specification={}, dataset_id=None
                    )
                    lifecycle.stopped(session, claim)

    def cancelled(self, claim: Claim) -> None:
        """Cancel, as a person and then the worker do."""
        with self.database.writing() as session:
            lifecycle.cancel(session, claim.job_id)
            lifecycle.stopped(session, claim)
