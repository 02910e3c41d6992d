"""What the server does with requests that nobody means well, with many clients and with slow ones.

    python -m tests.acceptance.edge --database sqlite --share 1 --submissions 40

prints the figures of docs/reliability.md. Exit status 1 when an answer was 500, took too long, was
too large or made the server grow too much.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.host.listener import listen
from api.main import create_app
from api.settings import Settings
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.runs import artifacts, logs, metrics
from api.store.tables.jobs import Job, JobLabel
from saf.config import JobSpecification
from tests.acceptance.hostile import Known, addresses, bodies, queries
from tests.postgres import PostgresServer
from tests.waiting import PATIENCE, until

MIB = 2**20
NO_BROKER = "redis+socket:///nowhere/broker.sock"
MOST_SECONDS = 30.0  # of an answer; the tests count those of a processor
MOST_BYTES = 48 * MIB
MOST_GROWTH = 768 * MIB
NAMES = ("accuracy", "device_use", "firing_rate", "learning_rate", "loss", "memory_bytes")
WRITER = """
import sys, time
from sqlalchemy import text
from api.store.database import Database
database = Database(sys.argv[1])
print("ready", flush=True)
while True:
    begun = time.perf_counter()
    with database.writing() as session:
        session.execute(text("UPDATE workers SET busy = busy WHERE id = 'x'"))
    print(f"{time.perf_counter() - begun:.4f}", flush=True)
    time.sleep(0.02)
"""


@dataclass
class Tally:
    """What came of requests of one kind."""

    tried: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    longest: str = ""
    bytes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


class Target:
    """A process of the API with something in its database."""

    def __init__(self, directory: Path, url: str, **settings: str) -> None:
        listener = listen("127.0.0.1", 0)
        self.host, self.port = listener.getsockname()[:2]
        self.url = url
        self.directory = directory
        self.log = directory / "api.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SAF_")},
            "SAF_DATA_DIR": str(directory),
            "DATABASE_URL": url,
            "BROKER_URL": NO_BROKER,
            "SAF_JOBS_QUEUED_PER_USER": "0",
            "SAF_JOBS_PER_USER_HOUR": "0",
            **settings,
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "api.commands.web", "--fd", str(listener.fileno())],
                pass_fds=(listener.fileno(),),
                env=environment,
                stderr=output,
            )
        listener.close()
        until(lambda: self.get("/v1/jobs")[0] == 200, said=self.log.read_text)

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = self.connection()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)

    @property
    def processor_seconds(self) -> float:
        """What the process and the ones that it has ended have taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    @property
    def sockets(self) -> int:
        """Those that the process has open, but for connections that ask just now."""
        found = 0
        for file in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += os.readlink(file).startswith("socket:")
        return found


@contextmanager
def target(kind: str, **settings: str) -> Iterator[Target]:
    """A server on SQLite or on a PostgreSQL of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="saf-edge-")))
        url = f"sqlite:///{directory / 'saf.sqlite3'}"
        if kind == "postgresql":
            postgres = PostgresServer()
            stack.callback(postgres.remove)
            url = postgres.create_database("edge")
        found = Target(directory, url, **settings)
        stack.callback(found.close)
        yield found


def fill(server: Target, *, jobs: int, points: int, log_lines: int) -> Known:
    """Some jobs, one of them with very many points, a long log and a file."""
    database = Database(server.url)
    specification = JobSpecification().model_dump(mode="json")
    ids = [new_id("job") for _ in range(jobs)]
    for begin in range(0, jobs, 100):
        with database.writing() as session:
            for job_id in ids[begin : begin + 100]:
                labels = [JobLabel(key=f"key{n}", value=f"value{n}") for n in range(16)]
                job = Job(
                    id=job_id,
                    name=f"a job {job_id}",
                    specification=specification,
                    method="saf-f",
                    network="convnet",
                    dataset="digits",
                    priority=5,
                    parameters=10,
                    memory_bytes=1000,
                    latest={},
                    labels=labels,
                )
                lifecycle.submit(session, job)
    with database.writing() as session:
        for name in NAMES:
            metrics.append(session, ids[0], 1, {name: [(n, n / 7) for n in range(points)]})
    with database.writing() as session:
        line = "a line of a log that is as long as such lines usually are\n"
        logs.append(session, ids[0], 1, line * log_lines)
    store = DirectoryStore(str(server.directory / "artifacts"))
    file = server.directory / "file"
    file.write_bytes(bytes(5_000_000))
    incoming = store.receive(file)
    with database.writing() as session:
        sha256 = store.keep(session, incoming)
        name = "lif.safetensors"
        artifacts.register(session, job_id=ids[0], name=name, kind="network", sha256=sha256)
    (artifact,) = json.loads(server.get(f"/v1/jobs/{ids[0]}/artifacts")[1])["data"]
    database.dispose()
    return Known(
        places={"job_id": ids[0], "dataset": "digits", "artifact_id": artifact["id"]},
        values={
            "names": NAMES[:2],
            "metric": NAMES[:2],
            "jobs": (ids[0], ",".join(ids[:12])),
            "format": ("csv", "json", "svg"),
            "max_points": ("1000000",),
            "tail": ("100000",),
            "q": ("e", "line"),
            "limit": ("200",),
            "after": (ids[0], f"digits~{ids[0]}"),
            "before": (ids[0],),
            "sort": ("-dataset", "progress"),
            "status": ("queued",),
            "metadata[key1]": ("value1",),
            "from": (ids[0], "1"),
            "x": ("epoch",),
        },
    )


def provoke(server: Target, known: Known, *, seed: int, share: float) -> dict[str, Tally]:
    """Ask everything; what came of each kind."""
    app = create_app(Settings(data_dir=Path("/nowhere"), broker_url=NO_BROKER))
    tallies: dict[str, Tally] = defaultdict(Tally)
    for kind, path, headers in queries(addresses(app.routes), known, seed, share):
        _ask(server, tallies[kind], "GET", path, dict(headers), None)
    for kind, path, body in bodies():
        headers = {"Content-Type": "application/json"}
        _ask(server, tallies[kind], "POST", path, headers, body)
    return tallies


def _ask(
    server: Target,
    tally: Tally,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
) -> None:
    connection = server.connection()
    begun, taken = time.perf_counter(), server.processor_seconds
    size = 0
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        while piece := answer.read(2**16):
            size += len(piece)
        status = answer.status
    except (ConnectionError, http.client.HTTPException):
        status = 0  # an address that is no HTTP
    finally:
        connection.close()
    seconds = time.perf_counter() - begun
    tally.tried += 1
    tally.statuses[status] += 1
    tally.bytes = max(tally.bytes, size)
    taken = server.processor_seconds - taken
    tally.processor_seconds = max(tally.processor_seconds, taken)
    if seconds > tally.seconds:
        tally.seconds, tally.longest = seconds, f"{method} {path[:100]}"
    if status == 500:
        print(f"500: {method} {path[:300]} {headers} {(body or b'')[:100]!r}", file=sys.stderr)


def submit(server: Target, clients: int, each: int) -> tuple[list[float], int]:
    """Seconds of each of the submissions of some clients at once, and how many were refused
    because the others were too many."""
    body = json.dumps({"dataset": "digits", "metadata": {"client": str(clients)}})

    def work(_: int) -> list[float]:
        connection = server.connection()
        found = []
        for _ in range(each):
            begun = time.perf_counter()
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/jobs", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (201, 503), answer.status
            refused[answer.status] += 1
            found.append(time.perf_counter() - begun)
        connection.close()
        return found

    refused: Counter[int] = Counter()
    with ThreadPoolExecutor(clients) as pool:
        all_of_them = [one for found in pool.map(work, range(clients)) for one in found]
    return all_of_them, refused[503]


@contextmanager
def other_writer(url: str) -> Iterator[list[float]]:
    """A process that writes all the time, as a worker does; what its transactions took."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    )
    waited: list[float] = []
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield waited
    finally:
        process.terminate()
        waited += [float(line) for line in process.stdout if line.strip()]
        process.stdout.close()
        process.wait()


def hold(server: Target, each: int, seconds: float, job: str) -> dict[str, Any]:
    """Keep slow and idle clients for some seconds; how honest ones fare, and who is left."""

    def stuck(text: str) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect((server.host, server.port))
        client.sendall(text.encode())
        return client

    host = "Host: localhost\r\n"
    before = server.sockets
    kinds = {
        "idle": "",
        "slow head": "GET /v1/jobs HTTP/1.1\r\n",
        "slow body": f"POST /v1/jobs HTTP/1.1\r\n{host}Content-Length: 1000\r\n\r\n{{",
        "unread answer": f"GET /v1/jobs/{job}/logs HTTP/1.1\r\n{host}\r\n",
        "unread stream": f"GET /v1/jobs/{job}/logs HTTP/1.1\r\n{host}"
        "Accept: text/event-stream\r\n\r\n",
    }
    clients = [stuck(text) for text in kinds.values() for _ in range(each)]
    held = 0
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        assert server.get("/v1/jobs?limit=20")[0] == 200
        found.append(time.perf_counter() - begun)
        held = max(held, server.sockets - before)
        time.sleep(0.1)
    left = server.sockets - before
    for client in clients:
        client.close()
    return {
        "clients": len(clients),
        "held at once": held,
        f"left after {seconds:.0f} s": left,
        "p50 of reads": round(statistics.median(found), 3),
        "longest read": round(max(found), 3),
    }


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--share", type=float, default=1.0, help="of the hostile requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--submissions", type=int, default=40, help="of each client; 0: none")
    parser.add_argument("--held", type=int, default=200, help="clients of each slow kind")
    asked = parser.parse_args()
    failed = False
    with target(asked.database) as server:
        print(f"submissions on {asked.database}, a process beside it writing all the time")
        for clients in (1, 8, 64) if asked.submissions else ():
            with other_writer(server.url) as waited:
                begun = time.perf_counter()
                found, refused = submit(server, clients, asked.submissions)
                rate = len(found) / (time.perf_counter() - begun)
            p50, p99 = (1000 * percentile(found, share) for share in (0.5, 0.99))
            other = 1000 * percentile(waited, 0.99)
            print(
                f"{clients:3} clients: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {rate:.0f} a second, "
                f"{refused} answered 503; the other writer's p99 {other:.0f} ms"
            )
        known = fill(server, jobs=2000, points=200_000, log_lines=200_000)
        before = server.peak_bytes
        if asked.share:
            tallies = provoke(server, known, seed=asked.seed, share=asked.share)
            for kind, tally in tallies.items():
                print(
                    f"{kind}: {tally.tried} tried, {dict(sorted(tally.statuses.items()))}, "
                    f"{tally.seconds:.2f} s at most ({tally.longest}), "
                    f"{tally.bytes / MIB:.1f} MiB at most"
                )
                failed |= is_bad(tally) or tally.seconds > MOST_SECONDS
            tried = sum(tally.tried for tally in tallies.values())
            print(f"{tried} tried in all")
        growth = server.peak_bytes - before
        print(f"memory: {before / MIB:.0f} MiB before, {growth / MIB:.0f} MiB more at most")
        failed |= growth > MOST_GROWTH
        if asked.held:
            print(hold(server, asked.held, 60.0, known.places["job_id"]))
    return int(failed)


def is_bad(tally: Tally) -> bool:
    """Whether one of the answers is none that a server gives."""
    return (
        tally.statuses[500] > 0
        or tally.processor_seconds > MOST_SECONDS
        or tally.bytes > MOST_BYTES
    )


if __name__ == "__main__":
    sys.exit(main())
