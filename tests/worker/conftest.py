"""Jobs to run, a worker inside the test's process, and workers of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from api.settings import Settings
from api.store.blobs.base import ArtifactStore
from api.store.blobs.directory import DirectoryStore
from api.store.database import Database
from api.store.ids import new_id
from api.store.jobs import lifecycle
from api.store.jobs.sweeper import Sweeper
from api.store.runs import metrics
from api.store.tables.jobs import Job, Status
from api.store.tables.results import Artifact, Event
from saf.config import ResolvedSpecification
from tests.saf.training.trainings import resolved
from tests.waiting import join, until
from worker.runner import Runner

TRAINEE = (sys.executable, str(Path(__file__).with_name("trainee.py")))
WORKER = str(Path(__file__).with_name("trainee_worker.py"))


def undisturbed(steps: int) -> dict[str, list[int]]:
    """The steps at which each metric of the trainee has a point, once."""
    epochs = list(range(10, steps + 1, 10))
    return {"loss": list(range(1, steps + 1)), "train_loss": epochs, "val_accuracy": epochs}


def processes_with(text: str) -> list[int]:
    """Running processes whose environment, or directory that they work in, holds `text`: one that
    was started ahead of its job has learned of it later."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            known = (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
            if not zombie and text.encode() in known:
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def sweeping(database: Database, settings: Settings) -> Iterator[None]:
    """The sweeper of another machine. Its leases are short, so it is not left beside the living,
    who may renew theirs late on a busy machine."""
    short = settings.model_copy(update={"lease_seconds": 2.0})
    sweeper = Sweeper(database, short, lambda _job_id: None)
    sweeper.start()
    yield
    sweeper.stop()


class Desk:
    """Submits jobs and looks at what became of them."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self.database = database
        self.store = store

    def submit(self, specification: ResolvedSpecification | None = None, /, **metadata: str) -> str:
        chosen = specification or resolved(metadata=metadata)
        job = Job(
            id=new_id("job"),
            name="",
            specification=chosen.model_dump(mode="json"),
            method=chosen.method.name,
            network=chosen.network.name,
            dataset=chosen.dataset,
            priority=chosen.priority,
            parameters=1,
            memory_bytes=1,
            latest={},
        )
        with self.database.writing() as session:
            lifecycle.submit(session, job)
        return job.id

    def job(self, job_id: str) -> Job:
        with self.database.reading() as session:
            return session.get_one(Job, job_id)

    def cancel(self, job_id: str) -> None:
        with self.database.writing() as session:
            lifecycle.cancel(session, job_id)

    def pause(self, job_id: str) -> None:
        with self.database.writing() as session:
            lifecycle.pause(session, job_id)

    def resume(self, job_id: str) -> None:
        with self.database.writing() as session:
            lifecycle.resume(session, job_id)

    def wait(self, job_id: str, *statuses: Status) -> Job:
        until(lambda: self.job(job_id).status in statuses, said=lambda: self.kinds(job_id))
        return self.job(job_id)

    def wait_for_step(self, job_id: str, step: int) -> None:
        until(lambda: self.job(job_id).step >= step)

    def retry_now(self, job_id: str) -> None:
        """As if the time before the next attempt were over."""
        with self.database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(retry_at=0.0))

    def let_lease_end(self, settings: Settings, job_id: str, *statuses: Status) -> None:
        """As if a worker that cannot renew its lease had not for long: it is swept until the job is
        in one of `statuses`, by default recovering."""
        with self.database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(lease_until=1.0))
        with sweeping(self.database, settings):
            self.wait(job_id, *(statuses or [Status.recovering]))

    def steps(self, job_id: str) -> dict[str, list[int]]:
        with self.database.reading() as session:
            found: dict[str, list[int]] = {}
            for name, _, step, _ in metrics.rows(session, job_id):
                found.setdefault(name, []).append(step)
            return found

    def attempts(self, job_id: str, metric: str) -> dict[int, list[int]]:
        """The steps of a metric's points by the attempt that they are of."""
        with self.database.reading() as session:
            found: dict[int, list[int]] = {}
            for name, attempt, step, _ in metrics.rows(session, job_id):
                if name == metric:
                    found.setdefault(attempt, []).append(step)
            return found

    def events(self, job_id: str) -> list[Event]:
        with self.database.reading() as session:
            query = select(Event).where(Event.job_id == job_id).order_by(Event.sequence)
            return list(session.scalars(query))

    def kinds(self, job_id: str) -> list[str]:
        return [event.type for event in self.events(job_id)]

    @property
    def files(self) -> DirectoryStore:
        """The store, where it is a directory."""
        assert isinstance(self.store, DirectoryStore)
        return self.store

    def artifacts(self, job_id: str) -> dict[str, bytes]:
        with self.database.reading() as session:
            found = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all()
            return {item.name: self.files.path(item.sha256).read_bytes() for item in found}

    def trainees(self, job_id: str) -> list[int]:
        """Those of them that lead their group."""
        return [pid for pid in self.processes(job_id) if _leads(pid)]

    def processes(self, job_id: str) -> list[int]:
        """The running processes of a job's attempts."""
        return processes_with(f"/{job_id}-")


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, DirectoryStore(settings.artifacts))


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """No broker: most tests here call what a message would call. A machine that is merely busy lets
    no lease run out, nor ends a training before it has written its checkpoint."""
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        lease_seconds=60.0,
        heartbeat_seconds=0.3,
        sweep_seconds=0.3,
        stop_grace_seconds=60.0,
    )


@pytest.fixture
def service(settings: Settings, broker_url: str) -> Settings:
    """The settings with a broker, for workers of their own."""
    return settings.model_copy(update={"broker_url": broker_url})


class Crew:
    """Workers inside the test's process, in threads."""

    def __init__(self) -> None:
        self._runners: list[Runner] = []
        self._threads: list[threading.Thread] = []

    def hire(
        self,
        settings: Settings,
        command: tuple[str, ...] = TRAINEE,
        leave: Callable[[], None] | None = None,
    ) -> Runner:
        runner = Runner(settings, lambda _job_id: None, command=command, leave=leave)
        self._runners.append(runner)
        return runner

    def message(self, runner: Runner) -> threading.Thread:
        """What Celery does when a message comes in."""
        thread = threading.Thread(target=runner.work)
        self._threads.append(thread)
        thread.start()
        return thread

    def leave(self) -> None:
        for runner in self._runners:
            runner.close()
        for thread in self._threads:
            join(thread)
        for runner in self._runners:
            runner.stop()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.leave()


@pytest.fixture
def runner(crew: Crew, settings: Settings, database: Database) -> Runner:
    return crew.hire(settings)


class WorkerProcess:
    """A worker in a process of its own, with a broker, and the trainee for a training."""

    def __init__(self, settings: Settings, log: Path) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": settings.database,
            "BROKER_URL": settings.broker_url,
            "SAF_DATA_DIR": str(settings.data_dir),
            "SAF_LEASE_SECONDS": str(settings.lease_seconds),
            "SAF_HEARTBEAT_SECONDS": str(settings.heartbeat_seconds),
            "SAF_SWEEP_SECONDS": str(settings.sweep_seconds),
            "SAF_WORKER_SLOTS": str(settings.worker_slots),
            "SAF_STOP_GRACE_SECONDS": str(settings.stop_grace_seconds),
            "SAF_LOG_FORMAT": settings.log_format,
        }
        self._log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, WORKER],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        until(lambda: "ready." in self.log() or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.log()

    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.kill()


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[[Settings], WorkerProcess]]:
    """Start workers; they end with the test."""
    started: list[WorkerProcess] = []

    def start(settings: Settings) -> WorkerProcess:
        started.append(WorkerProcess(settings, tmp_path / f"worker-{len(started)}.log"))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:  # ended meanwhile
        return False
