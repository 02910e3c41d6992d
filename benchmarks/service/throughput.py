"""Short jobs one after the other: `python -m benchmarks.service.throughput`.

The one-machine service as users start it, on a directory of its own, gets a sweep of one-epoch jobs
on digits; once with `SAF_WARM_PROCESSES=0` and once with 1, in turns where `--turns` asks for more.
Jobs a minute count from the submission to the end of the last one. `--alone` submits one job at a
time instead, each when the service has rested.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks import RESULTS
from benchmarks.machine import machine

REST_SECONDS = 15.0
JOB: dict[str, Any] = {
    "dataset": "digits",
    "network": {"name": "mlp", "features": [32]},
    "timesteps": 2,
    "epochs": 1,
}
ENDED = ("succeeded", "failed", "cancelled")


class Service:
    """`saf serve` in a process of its own."""

    def __init__(self, directory: Path, warm: bool) -> None:
        environment = {**os.environ, "SAF_WARM_PROCESSES": str(int(warm))}
        command = [sys.executable, "-P", "-m", "saf.cli", "serve", "--port", "0"]
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(directory / "data")],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        address = directory / "data" / "address"
        while not address.exists():
            if self._process.poll() is not None:
                raise RuntimeError((directory / "log").read_text())
            time.sleep(0.1)
        self.http = httpx.Client(base_url=address.read_text().split()[1], timeout=60)

    @property
    def pid(self) -> int:
        """Of the process that keeps the others."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        self.http.close()
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def get(self, path: str) -> dict[str, Any]:
        """The document at a path; asked again while the server is busy."""
        while True:
            answer = self.http.get(path)
            if answer.status_code < 500:
                answer.raise_for_status()
                found: dict[str, Any] = answer.json()
                return found
            time.sleep(0.5)

    def run(self, jobs: int) -> list[dict[str, Any]]:
        """Submit so many jobs as one sweep, and wait for their ends."""
        body = {"job": JOB, "over": {"/seed": list(range(jobs))}}
        answer = self.http.post("/v1/sweeps", json=body)
        answer.raise_for_status()
        return self._ended(answer.json()["id"], jobs)

    def _ended(self, sweep_id: str, jobs: int) -> list[dict[str, Any]]:
        while True:
            rows: list[dict[str, Any]] = self.get(f"/v1/jobs?sweep={sweep_id}&limit=200")["data"]
            if len(rows) == jobs and all(row["status"] in ENDED for row in rows):
                return rows
            time.sleep(1.0)


def measured(jobs: int, warm: bool) -> dict[str, Any]:
    """One sweep on a fresh service: jobs a minute, and medians of the parts of a job."""
    with tempfile.TemporaryDirectory(prefix="saf-throughput-") as directory:
        service = Service(Path(directory), warm)
        try:
            service.run(1)  # everything is compiled and cached
            time.sleep(10)
            begun = time.monotonic()
            load = os.getloadavg()[0]
            rows = service.run(jobs)
            seconds = time.monotonic() - begun
            parts = [_parts(service, row["id"]) for row in rows]
        finally:
            service.stop()
    failed = [row["id"] for row in rows if row["status"] != "succeeded"]
    if failed:
        raise RuntimeError(f"not all jobs succeeded: {failed}")
    return {
        "warm": warm,
        "jobs": jobs,
        "seconds": seconds,
        "load": load,
        **{name: statistics.median(part[name] for part in parts) for name in parts[0]},
    }


def rested(jobs: int, warm: bool) -> list[dict[str, float]]:
    """The parts of so many jobs, each of them submitted to a service that had nothing to do."""
    with tempfile.TemporaryDirectory(prefix="saf-throughput-") as directory:
        service = Service(Path(directory), warm)
        try:
            found = []
            for _ in range(jobs + 1):
                (row,) = service.run(1)
                found.append(_parts(service, row["id"]))
                time.sleep(REST_SECONDS)
        finally:
            service.stop()
    return found[1:]  # the first one compiles and fills caches


def _parts(service: Service, job_id: str) -> dict[str, float]:
    """Seconds from the timeline, which is written about twice a second."""
    events = service.get(f"/v1/jobs/{job_id}/events")["data"]
    at = {event["type"]: datetime.fromisoformat(event["at"]).timestamp() for event in events}
    return {
        "claim_to_running": at["running"] - at["starting"],
        "running_to_end": at["succeeded"] - at["running"],
    }


def as_markdown(found: list[dict[str, Any]], of: dict[str, Any]) -> str:
    """The result for people."""
    rows = [
        f"| {int(one['warm'])} | {one['jobs']} | {60 * one['jobs'] / one['seconds']:.1f} | "
        f"{one['claim_to_running']:.2f} | {one['running_to_end']:.2f} | {one['load']:.1f} |"
        for one in found
    ]
    return "\n".join(
        [
            "# Short jobs",
            "",
            f"`{of['command']}` on {of['processor']}, {of['cores']} cores, torch "
            f"{of['versions']['torch']}: a sweep of one-epoch jobs on digits (MLP of 32, two time",
            "steps) on a fresh `saf serve`, in turns. Medians of the jobs, in seconds, from their",
            "timelines, which are written about twice a second; the load is that of the machine",
            "when the sweep began, the service waiting.",
            "",
            "| warm | jobs | jobs a minute | claim to running | running to end | load |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def alone(jobs: int) -> int:
    """One job at a time, in both ways."""
    of: dict[str, Any] = machine(torch.device("cpu"))
    lines = [
        "# One short job on a service at rest",
        "",
        f"`{of['command']}` on {of['processor']}, {of['cores']} cores, torch "
        f"{of['versions']['torch']}: the job of throughput.md, submitted when nothing has run for "
        f"{REST_SECONDS:.0f} s. From the claim to `running` in the timeline, in seconds.",
        "",
        "| warm | median | all | load |",
        "|---|---|---|---|",
    ]
    for warm in (False, True):
        seconds = [part["claim_to_running"] for part in rested(jobs, warm)]
        listed = ", ".join(f"{value:.2f}" for value in sorted(seconds))
        lines.append(
            f"| {int(warm)} | {statistics.median(seconds):.2f} | {listed} | "
            f"{os.getloadavg()[0]:.1f} |"
        )
    (RESULTS / "throughput-alone.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))
    return 0


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.throughput", description=__doc__
    )
    parser.add_argument("--jobs", type=int, default=100, choices=range(1, 201), metavar="1…200")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args()
    if options.alone:
        return alone(options.jobs)
    found = [measured(options.jobs, warm) for _ in range(options.turns) for warm in (False, True)]
    of = machine(torch.device("cpu"))
    RESULTS.mkdir(exist_ok=True)
    result = {"machine": of, "sweeps": found}
    (RESULTS / "throughput.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "throughput.md").write_text(as_markdown(found, of))
    print(as_markdown(found, of))
    return 0


if __name__ == "__main__":
    sys.exit(main())
