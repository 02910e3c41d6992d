"""Many small jobs and cancels through the real processes, and what is left of them.

    python -m tests.acceptance.leaks --jobs 1000 --cancels 100

Exit status 1 when something is left: a zombie, a process, a file that nothing refers to, a folder
of an attempt, an open file or connection more than before, or memory that grew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.store.database import READERS
from tests.acceptance.conftest import TERMINAL, Service
from tests.acceptance.test_kills import find
from tests.waiting import PATIENCE

MIB = 2**20
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "network": {"name": "mlp", "features": [4]},
    "timesteps": 1,
    "epochs": 1,
    "batch_size": 1000,
}
METHODS = ("bptt", "saf-f")
GROWTH_BYTES = 32 * MIB  # of one process, from after the first jobs to the end
WARM_UP = 2  # jobs after which everything is loaded
SPARE_FILES = 3  # a connection to a client or to the broker may be open at one of the looks
# The pool keeps as many connections as threads once asked at the same time, up to its size, and one
# to write; SQLite opens the database and its log for each, and the index of the log once a process.
POOLED_FILES = 2 * (READERS + 1) + 1
PROCESSES = {"web": "api.commands.web", "worker": "-m worker"}
LEFT = ("unused file", "file without row", "temporary file", "working folder", "upload")


@dataclass(frozen=True)
class Look:
    """What the processes of the service hold."""

    memory: dict[str, int]  # bytes, by process
    files: dict[str, int]  # open, but for those of the database
    databases: dict[str, int]  # open files of the database
    processes: int
    zombies: int


class Run:
    """A service that is asked for many jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.ended: dict[str, int] = {}
        self.seconds = 0.0
        self.before = self.after = self.look()

    def go(self, jobs: int, cancels: int, seconds: float) -> None:
        """Run them, or as many as there is time for, and look before and after."""
        for number in range(WARM_UP):
            self._wait([self._submit(number)])
        self.before = self.look()
        begun = time.monotonic()
        done = cancelled = 0
        while done < jobs and time.monotonic() - begun < seconds:
            batch = [self._submit(done + number) for number in range(min(20, jobs - done))]
            wanted = cancels * (done + len(batch)) // jobs - cancelled
            cancelled += wanted
            self._cancel(wanted)
            self._wait(batch)
            done += len(batch)
        self.seconds = time.monotonic() - begun
        self.after = self._settled()

    def problems(self) -> list[str]:
        """What is left that should not be."""
        before, after = self.before, self.after
        found = []
        for name in PROCESSES:
            if after.memory[name] - before.memory[name] > GROWTH_BYTES:
                grown = (after.memory[name] - before.memory[name]) / MIB
                found.append(f"the memory of {name} grew by {grown:.0f} MiB")
            if not self._few_files(name, after):
                found.append(
                    f"{name} has {after.files[name]} files open, it had {before.files[name]}, "
                    f"and the database {after.databases[name]} times"
                )
        if after.zombies:
            found.append(f"{after.zombies} zombies")
        if after.processes > before.processes:
            found.append(f"{after.processes} processes, there were {before.processes}")
        found += [f"left: {item['kind']} {item['name']}" for item in self._garbage()]
        work = self._service.directory / "data" / "work"
        found += [f"left: {path}" for path in work.glob("*/job_*")]
        return found

    def lines(self) -> list[str]:
        """The figures for people."""
        of = {
            name: f"{self.before.memory[name] / MIB:.0f} → {self.after.memory[name] / MIB:.0f} MiB"
            for name in PROCESSES
        }
        rate = sum(self.ended.values()) / max(self.seconds, 1e-9)
        return [
            f"jobs ended: {self.ended}, {self.seconds:.0f} s, {rate:.2f} a second",
            *(
                f"{name}: memory {of[name]}, open files {self.before.files[name]} → "
                f"{self.after.files[name]}, of the database {self.before.databases[name]} → "
                f"{self.after.databases[name]}"
                for name in PROCESSES
            ),
            f"processes {self.before.processes} → {self.after.processes}, "
            f"zombies {self.after.zombies}",
        ]

    def look(self) -> Look:
        """What is there now."""
        pids = {name: find(self._service, part) for name, part in PROCESSES.items()}
        files = {name: _open_files(pid) for name, pid in pids.items()}
        of_database = {
            name: sum("saf.sqlite3" in file for file in open_) for name, open_ in files.items()
        }
        family = _family(self._service.process.pid)
        return Look(
            memory={name: _memory(pid) for name, pid in pids.items()},
            files={name: len(open_) - of_database[name] for name, open_ in files.items()},
            databases=of_database,
            processes=sum(state != "Z" for state in family.values()),
            zombies=sum(state == "Z" for state in family.values()),
        )

    def _settled(self) -> Look:
        deadline = time.monotonic() + PATIENCE
        while True:
            look = self.look()
            calm = look.zombies == 0 and look.processes <= self.before.processes
            if time.monotonic() > deadline or (
                calm and all(self._few_files(name, look) for name in PROCESSES)
            ):
                return look
            time.sleep(0.3)

    def _few_files(self, name: str, look: Look) -> bool:
        return (
            look.files[name] <= self.before.files[name] + SPARE_FILES
            and look.databases[name] <= POOLED_FILES
        )

    def _submit(self, number: int, **more: Any) -> str:
        method = {"name": METHODS[number % len(METHODS)]}
        return self._service.submit(**{**SMALL, "method": method, "seed": number, **more})

    def _cancel(self, count: int) -> None:
        """Long jobs, every second one cancelled once it runs, the others wherever they are."""
        for number in range(count):
            job_id = self._submit(number, epochs=100_000, priority=0)
            if number % 2:
                self._service.wait(job_id, "running")
            self._service.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
            self._wait([job_id])

    def _wait(self, jobs: list[str]) -> None:
        for job_id in jobs:
            status = self._service.wait(job_id, *TERMINAL)["status"]
            assert status in ("succeeded", "cancelled"), self._service.logs(job_id)
            self.ended[status] = self.ended.get(status, 0) + 1

    def _garbage(self) -> list[dict[str, Any]]:
        data = str(self._service.directory / "data")
        found = subprocess.run(
            [sys.executable, "-m", "saf.cli", "gc", "--dry-run", "--json", "--data-dir", data],
            env={**os.environ, "SAF_GC_GRACE_HOURS": "0.000001"},
            capture_output=True,
            check=True,
        )
        return [item for item in json.loads(found.stdout)["items"] if item["kind"] in LEFT]


def _family(parent: int) -> dict[int, str]:
    """The states of all processes below one."""
    children: dict[int, list[int]] = {}
    states: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        states[int(entry.name)] = fields[0]
    found: dict[int, str] = {}
    open_ = [parent]
    while open_:
        for child in children.get(open_.pop(), []):
            found[child] = states[child]
            open_.append(child)
    return found


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _open_files(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue  # closed meanwhile
    return found


def main() -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description="Look for what jobs leave behind.")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="saf-leaks-") as directory:
        service = Service(Path(directory))
        try:
            run = Run(service)
            run.go(options.jobs, options.cancels, options.seconds)
            problems = run.problems()
        finally:
            service.stop()
    print("\n".join([*run.lines(), *problems, f"problems {len(problems)}"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
