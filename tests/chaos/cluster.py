"""The service as it is deployed on several machines: servers, API and workers, each a process.

Between each process and each server stands a proxy of its own. There are two machines, that is
directories for work, and workers in turn on the one and on the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import httpx
import psycopg

from api.host.child import Child
from api.local.valkey import EmbeddedBroker
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from tests.answers import answers
from tests.chaos.disk import Disk
from tests.chaos.faults.damage import InBucket, InDirectory, Place
from tests.chaos.proxy import Proxy
from tests.chaos.recipes import DATASET, FRAGILE, SLOTS, write_dataset
from tests.postgres import PostgresServer
from tests.s3 import S3Server
from tests.waiting import PATIENCE, until
from worker.processes.protocol import MARK
from worker.processes.reserve import WAITING

ROOT = Path(__file__).parents[2]
Kind = Literal["sqlite", "postgresql"]
DATABASE_NAME = BUCKET = "chaos"
SQLITE_FILE = "saf.sqlite3"
SETTLED_SECONDS = 10.0
RESTART_SECONDS = 0.3  # what a service manager waits before it starts a process again
DISK_MEGABYTES = 64


@dataclass(frozen=True, kw_only=True)
class Times:
    """Settings of the service, short so that recovery is quick."""

    lease_seconds: float = 6.0
    heartbeat_seconds: float = 1.0
    sweep_seconds: float = 0.5
    stop_grace_seconds: float = 5.0
    retry_seconds: float = 0.5
    stall_seconds: float = 5.0
    stall_setup_seconds: float = 30.0
    max_losses: int = 40  # jobs are hit far more often than a worker that breaks its jobs may be


@dataclass(kw_only=True)
class Member:
    """The API or a worker."""

    name: str
    child: Child
    machine: Path
    links: dict[str, Proxy]  # by server: database, broker
    stopped: bool = False  # by SIGSTOP
    restart_at: float = 0.0
    started_at: float = 0.0

    def start(self) -> None:
        """Start it, also again."""
        self.started_at = time.monotonic()
        self.child.start()

    @property
    def is_settled(self) -> bool:
        """Whether it runs and has known its servers for a while."""
        return self.child.is_alive and time.monotonic() > self.started_at + SETTLED_SECONDS

    @property
    def pid(self) -> int:
        """Of the process that runs or ran last."""
        assert self.child.pid is not None
        return self.child.pid


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training process that runs."""

    pid: int
    job_id: str
    attempt: int
    machine: str


@dataclass(kw_only=True)
class _Files:
    logs: list[IO[bytes]] = field(default_factory=list)


class Cluster:
    """Start, look after, break and end all of it. Use it from the main thread."""

    def __init__(
        self,
        directory: Path,
        kind: Kind,
        *,
        workers: int,
        times: Times,
        disks: bool,
        bucket: bool = False,
    ) -> None:
        """`bucket`: artifacts lie in a bucket, and each machine keeps copies."""
        self.directory = directory
        self.kind: Kind = kind
        self.times = times
        self.evidence = directory / "evidence"
        self.artifacts = directory / "artifacts"
        for folder in (self.evidence, self.artifacts, directory / "logs"):
            folder.mkdir(parents=True)
        self.machines = {
            f"worker-{number}": directory / "machines" / ("even" if number % 2 == 0 else "odd")
            for number in range(1, workers + 1)
        }
        self.disks: dict[str, Disk] = {}
        if disks:
            for place in {*self.machines.values()} | ({self.artifacts} if not bucket else set()):
                self.disks[place.name] = Disk(place, megabytes=DISK_MEGABYTES)
        self.s3 = S3Server(directory / "logs" / "s3.log") if bucket else None
        if self.s3 is not None:
            self.s3.create_bucket(BUCKET)
            os.environ.update(self.s3.environment())
        self.postgres = PostgresServer() if kind == "postgresql" else None
        self.broker = EmbeddedBroker(directory / "broker")
        self.broker.start()
        self.broker_wanted = True
        # Past all proxies: what the suite itself looks through.
        self.own_url = (
            self.postgres.create_database(DATABASE_NAME)
            if self.postgres
            else f"sqlite:///{directory / SQLITE_FILE}"
        )
        self.database = Database(self.own_url)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._files = _Files()
        self.api = self._member(
            "api",
            directory,
            ["-m", "api.commands.web", "--port", str(self.port)],
        )
        self.workers = [
            self._member(name, machine, ["-m", "tests.chaos.worker"])
            for name, machine in self.machines.items()
        ]
        self.closing = False

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def members(self) -> list[Member]:
        """API and workers."""
        return [self.api, *self.workers]

    def start(self) -> None:
        """Start the API, which makes the tables, and then the workers."""
        self.api.start()
        until(
            lambda: self.answers() or self.api.child.exit_status is not None,
            said=lambda: self.log("api")[-2000:],
        )
        if self.api.child.exit_status is not None:
            raise RuntimeError(f"the API does not start: {self.log('api')[-2000:]}")
        for name in (DATASET, FRAGILE):
            self._upload(name)
        for worker in self.workers:
            worker.start()

    def tend(self) -> None:
        """Start again what has ended, as a service manager would."""
        now = time.monotonic()
        self._tend_broker(now)
        for member in self.members:
            if member.child.is_alive:
                continue
            if not member.restart_at:
                member.restart_at = now + RESTART_SECONDS
            elif now >= member.restart_at:
                member.restart_at = 0.0
                member.stopped = False
                member.start()

    def _tend_broker(self, now: float) -> None:
        """As `saf serve` does."""
        if not self.broker_wanted:
            return
        self.broker.end_if_unreachable(now)
        if not self.broker.child.is_alive:
            self.broker.start()

    def answers(self, path: str = "/healthz") -> bool:
        """Whether the API answers with 200."""
        return answers(self.url + path, seconds=2)

    def stop_database(self) -> None:
        """As a crash of its machine would."""
        assert self.postgres is not None
        self.postgres.stop()

    def start_database(self) -> None:
        """Start it again and wait until it answers."""
        assert self.postgres is not None
        while True:
            try:
                self.postgres.start()
                break
            except psycopg.OperationalError:
                time.sleep(0.2)

    def stop_broker(self) -> None:
        """Kill it."""
        self.broker_wanted = False
        self.broker.child.kill()

    def start_broker(self, *, empty: bool = False) -> None:
        """Start it again with what its file kept, or with nothing."""
        if empty:
            shutil.rmtree(self.broker.directory / "appendonlydir")
        self.broker.start()
        self.broker_wanted = True

    def trainings(self) -> list[Training]:
        """The training processes that run below this cluster's directory."""
        found = []
        for pid, value in marked(self.directory / "machines"):
            scratch = Path(value)
            if scratch.name == WAITING:
                continue
            job_id, _, attempt = scratch.name.rpartition("-")
            machine = scratch.parents[2].name
            found.append(Training(pid=pid, job_id=job_id, attempt=int(attempt), machine=machine))
        return found

    def place(self, sha256: str) -> Place:
        """Where the artifact store has a file."""
        if self.s3 is None:
            return InDirectory(DirectoryStore(str(self.artifacts)).path(sha256))
        return InBucket(self.s3.client, BUCKET, f"{sha256[:2]}/{sha256}")

    def copies(self) -> list[Path]:
        """Files of the bucket that machines have kept."""
        folders = [machine / "cache" for machine in (self.directory, *set(self.machines.values()))]
        return sorted(path for folder in folders for path in folder.glob("[0-9a-f]" * 64))

    def fetch_artifacts(self) -> None:
        """Put what the bucket holds where a directory would have it, to be looked at."""
        if self.s3 is None:
            return
        for key in self.s3.keys(BUCKET):
            path = self.artifacts / key
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(InBucket(self.s3.client, BUCKET, key).read())

    def log(self, name: str) -> str:
        """What a process printed."""
        return (self.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def stop(self) -> list[str]:
        """End API and workers in good order; what did not go well."""
        self.closing = True
        problems = []
        for member in self.members:
            with contextlib.suppress(ProcessLookupError):
                if member.child.is_alive:
                    os.kill(member.pid, signal.SIGCONT)
            member.child.ask_to_stop()
        for member in self.members:
            if not member.child.wait(PATIENCE):
                problems.append(f"{member.name} did not end after TERM")
                member.child.kill()
        return problems

    def close(self) -> None:
        """End the servers and give everything back; the files stay."""
        for member in self.members:
            if member.child.is_alive:
                member.child.kill()
            for link in member.links.values():
                link.close()
        self.database.dispose()
        self.broker.stop()
        if self.s3 is not None:
            self.s3.stop()
        if self.postgres is not None:
            self.postgres.remove()
        for log in self._files.logs:
            log.close()

    def unmount(self) -> None:
        """Take the small disks away, with their files."""
        for disk in self.disks.values():
            disk.unmount()

    def settings(self, *, machine: Path | None = None) -> Settings:
        """Of a process past all proxies."""
        return Settings(
            data_dir=machine or self.directory,
            database_url=self.own_url,
            broker_url=self.broker.url,
            artifacts_url=f"s3://{BUCKET}" if self.s3 else str(self.artifacts),
            **vars(self.times),
        )

    def _upload(self, name: str) -> None:
        path = self.directory / f"{name}.npz"
        write_dataset(path, name=name)
        with httpx.Client(base_url=self.url, timeout=PATIENCE) as http, path.open("rb") as file:
            answer = http.post("/v1/datasets", files={"file": file}, data={"name": name})
            answer.raise_for_status()
            dataset = answer.json()
            while dataset["status"] == "checking":
                time.sleep(0.1)
                dataset = http.get(f"/v1/datasets/{dataset['id']}").raise_for_status().json()
        if dataset["status"] != "ready":
            raise RuntimeError(f"the data set is refused: {dataset['problems']}")

    def _member(self, name: str, machine: Path, command: list[str]) -> Member:
        links = {"broker": Proxy(self.broker.socket)}
        url = self.own_url
        if self.postgres is not None:
            links["database"] = Proxy(self.postgres.socket)
            port = links["database"].port
            url = f"postgresql+psycopg://saf@127.0.0.1:{port}/{DATABASE_NAME}"
        settings = self.settings(machine=machine).model_copy(
            update={
                "database_url": url,
                "broker_url": f"redis://127.0.0.1:{links['broker'].port}/0",
                "worker_slots": SLOTS,
            }
        )
        log = (self.directory / "logs" / f"{name}.log").open("ab")
        self._files.logs.append(log)
        environment = settings.environment() | {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        child = Child(name, [sys.executable, "-P", *command], environment=environment, output=log)
        return Member(name=name, child=child, machine=machine, links=links)


def marked(directory: Path) -> list[tuple[int, str]]:
    """Processes that belong to an attempt whose scratch directory is below `directory`."""
    found = []
    prefix = f"{MARK}={directory.absolute()}/".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(prefix):
                    scratch = os.fsdecode(variable.partition(b"=")[2])
                    if scratch.endswith(WAITING):  # or it has had an order since it was started
                        place = os.readlink(entry / "cwd")
                        scratch = place if place.startswith(f"{directory.absolute()}/") else scratch
                    found.append((int(entry.name), scratch))
    return found
