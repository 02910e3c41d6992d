"""What the viewers of a running job cost: `python -m benchmarks.service.viewers`.

Processor time and memory are those of the process that answers HTTP, out of `/proc`, so that the
training beside it does not count. A viewer is one connection for server-sent events. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks import RESULTS
from benchmarks.machine import machine

JOB = {
    "name": "watched",
    "dataset": "digits",
    "network": {"name": "mlp", "features": [32]},
    "timesteps": 2,
    "epochs": 100_000,
}
STREAM = {"Accept": "text/event-stream"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Viewer:
    """One connection and what came over it."""

    timeline: list[int] = field(default_factory=list)
    progress: list[tuple[int, float]] = field(default_factory=list)
    """Step of each snapshot, and when it arrived."""
    done: bool = False

    async def watch(self, client: httpx.AsyncClient, path: str) -> None:
        """Read until the server ends the stream."""
        event, id_ = "message", 0
        async with client.stream("GET", path, headers=STREAM) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    id_ = int(value)
                elif name == "data":
                    self._take(event, id_, value)
                    event, id_ = "message", 0

    def _take(self, event: str, id_: int, data: str) -> None:
        if event == "message":
            self.timeline.append(id_)
        elif event == "progress":
            step = json.loads(data)["progress"]["step"]
            self.progress.append((step, time.perf_counter()))
        else:
            self.done = True


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process that is its own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def web_process(parent: int) -> int:
    """The child of `saf serve` that answers HTTP."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"api.commands.web" in command:
            return int(entry.name)
    raise SystemExit("the web process was not found")


async def measure(url: str, pid: int, counts: Sequence[int], seconds: float) -> dict[str, Any]:
    """Costs with each number of viewers, then the end of the job seen by all of them."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        job = (await client.post("/v1/jobs", json=JOB)).raise_for_status().json()
        here, events = job["urls"]["self"], job["urls"]["events"]
        while (await client.get(here)).json()["status"] != "running":
            await asyncio.sleep(0.2)
        viewers: list[Viewer] = []
        tasks: list[asyncio.Task[None]] = []
        rows = []
        for count in counts:
            while len(viewers) < count:
                viewers.append(Viewer())
                tasks.append(asyncio.create_task(viewers[-1].watch(client, events)))
            await asyncio.sleep(2)
            used, began = processor_seconds(pid), time.perf_counter()
            await asyncio.sleep(seconds)
            ended = time.perf_counter()
            share = (processor_seconds(pid) - used) / (ended - began)
            seen = [sum(began <= at < ended for _, at in one.progress) for one in viewers]
            rows.append(
                {
                    "viewers": count,
                    "processor_share": share,
                    "private_bytes": resident_bytes(pid),
                    "messages_per_second": sum(seen) / (ended - began),
                    "messages_of_each": [min(seen, default=0), max(seen, default=0)],
                }
            )
        (await client.post(f"{here}/cancel")).raise_for_status()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        listed = (await client.get(events)).json()["data"]
    timeline = [entry["sequence"] for entry in listed]
    return {
        "rows": rows,
        "timeline": len(timeline),
        "complete": sum(one.timeline == timeline and one.done for one in viewers),
        "spread_seconds": _spread(viewers),
    }


def _spread(viewers: Sequence[Viewer]) -> float:
    """Median time between the first and the last viewer of the same snapshot."""
    arrivals: dict[int, list[float]] = {}
    for viewer in viewers:
        for step, at in viewer.progress:
            arrivals.setdefault(step, []).append(at)
    most = max(Counter(len(times) for times in arrivals.values()))
    spreads = [max(times) - min(times) for times in arrivals.values() if len(times) == most]
    return statistics.median(spreads)


def as_markdown(found: dict[str, Any]) -> str:
    """A table, and where it was measured."""
    lines = [
        "# Viewers of one running job",
        "",
        f"`{found['machine']['command']}` on {found['machine']['processor']}, "
        f"{found['machine']['cores']} cores; the training ran on them meanwhile.",
        "",
        "| viewers | processor of the web process | its private memory | messages/s, all |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['viewers']} | {100 * row['processor_share']:.1f} % of a core "
        f"| {row['private_bytes'] / 2**20:.0f} MiB | {row['messages_per_second']:.0f} |"
        for row in found["rows"]
    ]
    most = found["rows"][-1]["viewers"]
    lines += [
        "",
        f"{found['complete']} of {most} viewers got all {found['timeline']} lines of the timeline "
        "in order and the end. Between the first and the last viewer of a snapshot lay "
        f"{1000 * found['spread_seconds']:.0f} ms (median).",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write the results; 1 when a viewer missed something."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.viewers", description=__doc__
    )
    parser.add_argument("--viewers", type=int, default=100, help="connections at most")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "saf.cli", "serve", "--port", str(port)]
        with (Path(directory) / "service.log").open("wb") as log:
            service = subprocess.Popen(
                [*command, "--data-dir", f"{directory}/data"], stdout=log, stderr=log
            )
        try:
            _wait(f"http://127.0.0.1:{port}", service)
            found = asyncio.run(
                measure(
                    f"http://127.0.0.1:{port}",
                    web_process(service.pid),
                    (0, 1, options.viewers),
                    options.seconds,
                )
            )
        finally:
            service.terminate()
            service.wait(timeout=30)
    arguments = f"--viewers {options.viewers} --seconds {options.seconds:g}"
    found["machine"] = {
        **machine(torch.device("cpu")),
        "command": f"python -m benchmarks.service.viewers {arguments}",
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "viewers.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "viewers.md").write_text(as_markdown(found))
    print(as_markdown(found))
    return 0 if found["complete"] == options.viewers else 1


def _wait(url: str, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and service.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("the service did not start")


if __name__ == "__main__":
    sys.exit(main())
