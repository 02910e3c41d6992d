"""How long a run of a million points takes to open: `python -m benchmarks.service.history`.

The points are written to the real store through the functions that a worker uses, on SQLite and on
PostgreSQL. Measured is the time until an answer of a real server is complete, as the page of the
run asks: the page, its charts, and the charts zoomed in to a part.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import torch

from api.store.database import Database
from api.store.jobs import lifecycle, progress
from api.store.runs import metrics
from benchmarks import RESULTS
from benchmarks.machine import machine
from tests.postgres import PostgresServer

NAMES = (
    "loss",
    "accuracy",
    "firing_rate",
    "learning_rate",
    "step_seconds",
    "firing_rate/layer1",
    "firing_rate/layer2",
    "firing_rate/layer3",
    "memory_bytes",
    "gradient_norm",
)
BATCH = 10_000  # points of each metric in one transaction
POINTS = 600  # of each metric, that the page asks for
NO_BROKER = "redis+socket:///nowhere/broker.sock"


@contextmanager
def served(database_url: str, directory: str) -> Iterator[httpx.Client]:
    """The web process alone on a database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "SAF_DATA_DIR": directory,
        "DATABASE_URL": database_url,
        "BROKER_URL": NO_BROKER,
        "SAF_LEASE_SECONDS": "3600",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app"]
    web = subprocess.Popen(
        [*command, "--port", str(port), "--log-level", "warning"],
        env={**os.environ, **settings},
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not _answers(client):
                if web.poll() is not None:
                    raise SystemExit("the web process did not start")
                time.sleep(0.1)
            yield client
    finally:
        web.terminate()
        web.wait(timeout=30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def write(database: Database, points: int) -> float:
    """Points of a claimed job, spread over the metrics; the seconds that took."""
    each, noise = points // len(NAMES), random.Random(0)
    with database.writing() as session:
        claim = lifecycle.claim(session, worker_id="wrk_1", device="cpu", lease_seconds=3600)
        assert claim is not None
        lifecycle.running(session, claim, step=0, steps_total=each)
    began = time.perf_counter()
    for first in range(1, each + 1, BATCH):
        steps = range(first, min(first + BATCH, each + 1))
        series = {
            name: [(step, math.exp(-step / each) + noise.gauss(0, 0.05)) for step in steps]
            for name in NAMES
        }
        with database.writing() as session:
            metrics.append(session, claim.job_id, claim.attempt, series)
            progress.trained(
                session, claim, step=steps[-1], epoch=steps[-1] / 1000, latest={"loss": 0.1}
            )
    return time.perf_counter() - began


def measure(database_url: str, points: int, rounds: int) -> dict[str, Any]:
    """Seconds of each answer, the median of some."""
    with tempfile.TemporaryDirectory() as directory, served(database_url, directory) as client:
        job = client.post("/v1/jobs", json={"name": "a million points"}).raise_for_status().json()
        database = Database(database_url)
        written = write(database, points)
        database.dispose()
        each = points // len(NAMES)
        here = f"{job['urls']['self']}/metrics?max_points={POINTS}"
        requests = {
            "page": f"/jobs/{job['id']}",
            "all charts": here,
            "all charts, a tenth of the run": f"{here}&from_step={each // 2}"
            f"&to_step={each // 2 + each // 10}",
            "one chart": f"{here}&names=loss",
            "list of runs": "/",
        }
        answers = {}
        for name, address in requests.items():
            seconds = []
            for _ in range(rounds):
                began = time.perf_counter()
                answer = client.get(address, headers={"Accept": "text/html, application/json"})
                seconds.append(time.perf_counter() - began)
                answer.raise_for_status()
            answers[name] = {
                "first_seconds": seconds[0],
                "median_seconds": statistics.median(seconds),
                "bytes": len(answer.content),
                "bytes_sent": int(answer.headers.get("content-length", 0)),
            }
    return {"write_seconds": written, "answers": answers}


def as_markdown(found: dict[str, Any]) -> str:
    """A table, and where it was measured."""
    databases = [name for name in found if name != "machine"]
    lines = [
        f"# Opening a run with {found['machine']['points']:,} metric points",
        "",
        f"`{found['machine']['command']}` on {found['machine']['processor']}, "
        f"{found['machine']['cores']} cores, shared with other work (load "
        f"{found['machine']['load']:.1f}). Milliseconds until an answer is complete: the first "
        "one, and the median.",
        "",
        "| answer | " + " | ".join(databases) + " | sent |",
        "|---|" + "---|" * (len(databases) + 1),
    ]
    for name in found[databases[0]]["answers"]:
        cells = [found[database]["answers"][name] for database in databases]
        times = " | ".join(
            f"{1000 * cell['first_seconds']:.0f}, {1000 * cell['median_seconds']:.0f}"
            for cell in cells
        )
        lines.append(f"| {name} | {times} | {cells[0]['bytes_sent'] / 1000:.0f} kB |")
    opened = [
        sum(found[database]["answers"][name]["first_seconds"] for name in ("page", "all charts"))
        for database in databases
    ]
    lines += [
        "",
        "Page and charts together, the first time: "
        + ", ".join(
            f"{seconds:.2f} s on {name}" for name, seconds in zip(databases, opened, strict=True)
        )
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure on both databases, write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.history", description=__doc__
    )
    parser.add_argument("--points", type=int, default=1_000_000, help="metric points in all")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is asked for")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/history.sqlite3"
        found["SQLite"] = measure(url, options.points, options.rounds)
    postgres = PostgresServer()
    try:
        url = postgres.create_database("history")
        found["PostgreSQL"] = measure(url, options.points, options.rounds)
    finally:
        postgres.remove()
    arguments = f"--points {options.points} --rounds {options.rounds}"
    found["machine"] = {
        **machine(torch.device("cpu")),
        "command": f"python -m benchmarks.service.history {arguments}",
        "points": options.points,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "history.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "history.md").write_text(as_markdown(found))
    print(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
