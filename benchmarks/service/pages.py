"""Server time of the pages with thousands of jobs: `python -m benchmarks.service.pages`.

Requests go through the whole application in this process, without a network in between. The
measured time is from the request to the last byte of the answer, medians over `--rounds`; the
processor's time of this process is measured beside it, for machines that do other things too (it
has SQLite's work in it, but not PostgreSQL's).
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import insert

from api.main import create_app
from api.settings import Settings
from api.store.database import Database
from api.store.ids import new_id
from api.store.runs import metrics
from api.store.tables.jobs import Job, Status
from benchmarks import RESULTS
from benchmarks.machine import machine

NO_BROKER = "redis+socket:///nowhere/broker.sock"
PAGE = {"Accept": "text/html"}
METHODS = ("saf-e", "saf-f", "ottt-a", "ottt-o", "bptt")
ENDED = (Status.succeeded, Status.failed, Status.cancelled)
COMPARED = 4
POINTS = 20_000  # of each metric of a compared job


def fill(database: Database, specification: dict[str, Any], count: int, waiting: int) -> list[str]:
    """Write jobs, the last `waiting` of them queued; the ids in their order."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        status = Status.queued if number >= count - waiting else draw.choice(ENDED)
        rows.append(
            {
                "id": new_id("job"),
                "name": f"run {number} of a sweep",
                "specification": {**specification, "timesteps": draw.choice((2, 4, 6, 8, 16))},
                "method": draw.choice(METHODS),
                "network": "convnet",
                "dataset": "digits",
                "priority": draw.randint(0, 9),
                "parameters": 58_474,
                "memory_bytes": 10**8,
                "status": status,
                "created_at": float(number),
                "queued_at": float(number),
                "step": 0 if status == Status.queued else draw.randint(1, 1000),
                "steps_total": None if status == Status.queued else 1000,
                "epoch": 0.0,
                "started_step": 0,
                "latest": {name: draw.random() for name in ("loss", "accuracy", "firing_rate")},
                "best_accuracy": None if status == Status.queued else draw.random(),
                "device": None if status == Status.queued else "cuda:0",
            }
        )
    with database.writing() as session:
        session.execute(insert(Job), rows)
    ids = [str(row["id"]) for row in rows]
    with database.writing() as session:
        for job_id in ids[:COMPARED]:
            curve = [(step, draw.random()) for step in range(POINTS)]
            metrics.append(session, job_id, 1, {"test_accuracy": curve, "test_loss": curve})
    return ids


@contextmanager
def databases(directory: Path) -> Iterator[list[tuple[str, str]]]:
    """The name and address of an empty database of each kind."""
    from tests.postgres import PostgresServer

    server = PostgresServer()
    try:
        yield [
            ("SQLite", f"sqlite:///{directory / 'pages.sqlite3'}"),
            ("PostgreSQL", server.create_database("pages")),
        ]
    finally:
        server.remove()


def measure(client: TestClient, address: str, rounds: int) -> dict[str, float]:
    """Milliseconds and bytes of one page."""
    client.get(address, headers=PAGE)
    spent, worked = [], []
    for _ in range(rounds):
        began, work = time.perf_counter(), time.process_time()
        response = client.get(address, headers=PAGE)
        spent.append(1000 * (time.perf_counter() - began))
        worked.append(1000 * (time.process_time() - work))
        assert response.status_code == 200, response.text
    return {
        "median_ms": round(statistics.median(spent), 1),
        "largest_ms": round(max(spent), 1),
        "processor_ms": round(statistics.median(worked), 1),
        "bytes": len(response.content),
    }


def main() -> None:
    """Fill both databases, ask for the pages, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=1000, help="how many of them are queued")
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    logging.disable(logging.INFO)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder)) as there:
        for name, url in there:
            settings = Settings(data_dir=Path(folder), database_url=url, broker_url=NO_BROKER)
            with TestClient(create_app(settings), base_url="http://localhost") as client:
                document = client.post("/v1/jobs", json={}).json()
                database = client.app.state.service.database  # type: ignore[attr-defined]
                ids = fill(database, document["specification"], chosen.jobs, chosen.waiting)
                middle = ids[len(ids) // 2]
                pages = {
                    "newest": "/",
                    "in the middle": f"/?after={middle}",
                    "by best accuracy": "/?sort=-best_accuracy",
                    "by time steps (in the JSON)": "/?sort=timesteps",
                    "search and filter by method": "/?q=run+77&method=bptt&sort=name",
                    "only those that wait": "/?status=queued",
                    f"comparison of {COMPARED}": f"/compare?jobs={','.join(ids[:COMPARED])}",
                    "JSON, 20 newest": "/v1/jobs",
                }
                found[name] = {
                    page: measure(client, address, chosen.rounds) for page, address in pages.items()
                }
    write(found, chosen.jobs, chosen.waiting)


def write(found: dict[str, dict[str, dict[str, float]]], jobs: int, waiting: int) -> None:
    """Results as JSON and as a table."""
    import torch

    where = machine(torch.device("cpu")) | {"command": "python -m benchmarks.service.pages"}
    content = {"machine": where, "jobs": jobs, "waiting": waiting, "pages": found}
    (RESULTS / "pages.json").write_text(json.dumps(content, indent=2) + "\n")
    lines = [
        f"# Server time of pages with {jobs:,} jobs, {waiting:,} of them queued",
        "",
        f"`python -m benchmarks.service.pages` on {where['cores']} cores of {where['processor']}, "
        f"load {where['load']:.1f}; median milliseconds from request to last byte (in brackets: "
        "of the processor, in this process).",
        "",
        "| page | " + " | ".join(found) + " | bytes |",
        "|---|" + "---|" * (len(found) + 1),
    ]
    for page in next(iter(found.values())):
        cells = [
            f"{each[page]['median_ms']} ({each[page]['processor_ms']})" for each in found.values()
        ]
        lines.append(f"| {page} | {' | '.join(cells)} | {found['SQLite'][page]['bytes']:,} |")
    (RESULTS / "pages.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
