"""What is broken, and how: each fault is begun, perhaps lasts a while, and is healed.

All of it happens in the main thread: processes die with the thread that started them.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError

from api.brokerlease import broker_leases
from api.queue import QUEUE, TASK, celery_app
from api.store.directory import DirectoryStore
from api.store.sweeper import Sweeper
from api.store.tables import Checkpoint, Worker
from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster, Kind, Member, Training
from tests.chaos.memory import Memory
from tests.chaos.observer import Look, Observer, Watch

DUPLICATES = 40
DELAY_SECONDS = 0.4
ENDS_ATTEMPTS = frozenset(
    {
        "kill a training",
        "kill a worker",
        "kill a machine",
        "damage a checkpoint",
        "terminate a worker",
        "stop a worker beyond its lease",
    }
)
DATABASE_ALONE = frozenset(
    {
        "restart the database",
        "keep the database away",
        "cut a worker off the database",
        "cut the API off the database",
    }
)
"""While nothing else is broken, every worker keeps its jobs."""
READY_SECONDS = 0.3  # how long one answer to the question is good for


@dataclass(kw_only=True)
class Lasting:
    """A fault that is under way."""

    kind: str
    resource: str  # one fault of a resource at a time
    until: float
    heal: Callable[[], None]
    watch: Watch


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of fault."""

    weight: float
    begin: Callable[[], bool]  # False: there was nothing to break
    only: Kind | None = None


@dataclass(kw_only=True)
class Faults:
    """Chooses by its seed, breaks, heals, counts."""

    cluster: Cluster
    observer: Observer
    memory: Memory
    clients: Clients
    seed: int
    only: tuple[str, ...] = ()
    injected: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, str] = field(default_factory=dict)  # kind → why it cannot be done here

    def __post_init__(self) -> None:
        """Take the list, without what this machine does not permit."""
        self._choose = random.Random(f"{self.seed} faults {self.cluster.kind}")
        self._lasting: list[Lasting] = []
        self._celery = celery_app(self.cluster.settings())
        self._keys = 0
        self._is_ready = False
        self._ready_known_until = 0.0
        known = {
            "kill a training": Fault(weight=5, begin=self._kill_training),
            "kill a worker": Fault(weight=5, begin=self._kill_worker),
            "kill a machine": Fault(weight=3, begin=self._kill_machine),
            "kill the API": Fault(weight=3, begin=self._kill_api),
            "stop a worker beyond its lease": Fault(weight=4, begin=self._zombie),
            "stop a worker for a moment": Fault(weight=2, begin=self._nap),
            "stop a training for a moment": Fault(weight=2, begin=self._stop_training),
            "terminate a worker": Fault(weight=4, begin=self._terminate),
            "restart the broker": Fault(weight=3, begin=self._restart_broker),
            "keep the broker away": Fault(weight=2.5, begin=self._broker_away),
            "empty the broker": Fault(weight=2, begin=self._empty_broker),
            "restart the database": Fault(
                weight=3, begin=self._restart_database, only="postgresql"
            ),
            "keep the database away": Fault(
                weight=2.5, begin=self._database_away, only="postgresql"
            ),
            "lock the database": Fault(weight=3, begin=self._lock_database, only="sqlite"),
            "cut a worker off the database": Fault(
                weight=4, begin=self._cut_database, only="postgresql"
            ),
            "cut a worker off everything": Fault(weight=3, begin=self._cut_both, only="postgresql"),
            "cut the API off the database": Fault(weight=2, begin=self._cut_api, only="postgresql"),
            "cut a process off the broker": Fault(weight=3, begin=self._cut_broker),
            "fill a worker's disk": Fault(weight=2.5, begin=self._fill_worker),
            "fill the artifact store": Fault(weight=2, begin=self._fill_store),
            "damage a checkpoint": Fault(weight=3, begin=self._damage_checkpoint),
            "repeat messages": Fault(weight=2.5, begin=self._repeat_messages),
            "sweep twice at once": Fault(weight=2, begin=self._sweep_twice),
        }
        self._faults = {
            name: fault
            for name, fault in known.items()
            if fault.only in (None, self.cluster.kind) and (not self.only or name in self.only)
        }
        if not self.cluster.disks:
            for name in ("fill a worker's disk", "fill the artifact store"):
                self._faults.pop(name, None)
                self.left_out[name] = "no small disk can be mounted here"

    @property
    def kinds(self) -> list[str]:
        """All that may be chosen."""
        return list(self._faults)

    def inject(self, kind: str | None = None) -> bool:
        """Break something; whether there was something to break."""
        if kind is None:
            rarest = [name for name in self._faults if not self.injected[name]]
            if rarest and self._choose.random() < 0.5:  # a short run sees many kinds
                kind = self._choose.choice(rarest)
            else:
                weights = [fault.weight for fault in self._faults.values()]
                (kind,) = self._choose.choices(list(self._faults), weights=weights)
        if not self._faults[kind].begin():
            return False
        self.injected[kind] += 1
        if kind not in DATABASE_ALONE:
            self.memory.workers_could_vanish = True
        return True

    def jitter(self) -> float:
        """A factor around 1 for the time to the next fault."""
        return self._choose.uniform(0.4, 1.6)

    def heal(self, *, all_: bool = False) -> None:
        """End the faults whose time is over."""
        for lasting in list(self._lasting):
            if all_ or time.monotonic() >= lasting.until:
                self._lasting.remove(lasting)
                lasting.heal()
                lasting.watch.healed = True

    def close(self) -> None:
        """End all of them."""
        self.heal(all_=True)
        self._celery.close()

    # The parts that most faults are made of.

    def _watch(
        self,
        kind: str,
        jobs: dict[str, Look],
        service: Callable[[], bool] | None = None,
    ) -> Watch:
        watch = Watch(
            kind=kind,
            since=time.monotonic(),
            jobs=jobs,
            service=service,
            ends_attempts=kind in ENDS_ATTEMPTS,
        )
        self.observer.watch(watch)
        return watch

    def _last(
        self,
        watch: Watch,
        resource: str,
        seconds: float,
        heal: Callable[[], None],
        *,
        from_end: bool = True,
    ) -> bool:
        """Let it last; recovery counts from its end on, or from its beginning."""
        watch.healed = False

        def heal_and_count() -> None:
            if from_end:
                watch.since = time.monotonic()
            heal()

        self._lasting.append(
            Lasting(
                kind=watch.kind,
                resource=resource,
                until=time.monotonic() + seconds,
                heal=heal_and_count,
                watch=watch,
            )
        )
        return True

    def _is_free(self, *resources: str) -> bool:
        return not {lasting.resource for lasting in self._lasting} & set(resources)

    def _ready(self) -> bool:
        if time.monotonic() > self._ready_known_until:
            self._is_ready = self.cluster.answers("/readyz")
            self._ready_known_until = time.monotonic() + READY_SECONDS
        return self._is_ready

    def _victim(self) -> Member | None:
        """A worker that runs and has no fault of its own, if possible one that trains."""
        able = [
            worker
            for worker in self.cluster.workers
            if worker.child.is_alive and self._is_free(worker.name)
        ]
        busy = [worker for worker in able if self._jobs_of(worker)]
        pool = busy or able
        return self._choose.choice(pool) if pool else None

    def _jobs_of(self, *members: Member) -> dict[str, Look]:
        pids = {member.pid for member in members if member.child.pid is not None}
        with contextlib.suppress(SQLAlchemyError), self.cluster.database.reading() as session:
            ids = set(session.scalars(select(Worker.id).where(Worker.pid.in_(pids))))
            return {
                job: look for job, look in self.observer.active().items() if look.worker_id in ids
            }
        return {}

    def _a_training(self) -> Training | None:
        found = sorted(self.cluster.trainings(), key=lambda training: training.job_id)
        return self._choose.choice(found) if found else None

    def _jobs_named(self, *job_ids: str) -> dict[str, Look]:
        return {job: look for job, look in self.observer.active().items() if job in job_ids}

    # Processes.

    def _kill_training(self) -> bool:
        if (training := self._a_training()) is None:
            return False
        self._watch("kill a training", self._jobs_named(training.job_id))
        return _signal(training.pid, signal.SIGKILL)

    def _kill_worker(self) -> bool:
        if (worker := self._victim()) is None:
            return False
        self._watch("kill a worker", self._jobs_of(worker))
        return _signal(worker.pid, signal.SIGKILL)

    def _kill_machine(self) -> bool:
        machine = self._choose.choice(sorted(set(self.cluster.machines.values())))
        workers = [worker for worker in self.cluster.workers if worker.machine == machine]
        if not self._is_free(*(worker.name for worker in workers)):
            return False
        self._watch("kill a machine", self._jobs_of(*workers))
        pids = [worker.pid for worker in workers if worker.child.is_alive]
        for training in self.cluster.trainings():
            if training.machine == machine.name:
                pids.append(training.pid)
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        return bool(pids)

    def _kill_api(self) -> bool:
        if not self.cluster.api.child.is_alive:
            return False
        self._watch("kill the API", {}, self.cluster.answers)
        return _signal(self.cluster.api.pid, signal.SIGKILL)

    def _zombie(self) -> bool:
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(1.3, 2.0)
        return self._stop_worker("stop a worker beyond its lease", seconds)

    def _nap(self) -> bool:
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(0.1, 0.6)
        return self._stop_worker("stop a worker for a moment", seconds)

    def _stop_worker(self, kind: str, seconds: float) -> bool:
        if (worker := self._victim()) is None:
            return False
        watch = self._watch(kind, self._jobs_of(worker))
        pid = worker.pid
        _signal(pid, signal.SIGSTOP)
        worker.stopped = True

        def go_on() -> None:
            worker.stopped = False
            _signal(pid, signal.SIGCONT)

        return self._last(watch, worker.name, seconds, go_on, from_end=False)

    def _stop_training(self) -> bool:
        if (training := self._a_training()) is None:
            return False
        watch = self._watch("stop a training for a moment", self._jobs_named(training.job_id))
        _signal(training.pid, signal.SIGSTOP)
        seconds = self._choose.uniform(0.5, 3.0)

        def go_on() -> None:
            _signal(training.pid, signal.SIGCONT)

        return self._last(watch, f"training {training.pid}", seconds, go_on)

    def _terminate(self) -> bool:
        if (worker := self._victim()) is None:
            return False
        self._watch("terminate a worker", self._jobs_of(worker))
        return _signal(worker.pid, signal.SIGTERM)

    # Broker and messages.

    def _restart_broker(self) -> bool:
        if not self._is_free("broker"):
            return False
        self.cluster.stop_broker()
        self.cluster.start_broker()
        self._watch("restart the broker", {}, self._ready)
        return True

    def _empty_broker(self) -> bool:
        """Restart it without all that it held, as one that keeps nothing on disk."""
        if not self._is_free("broker"):
            return False
        self.cluster.stop_broker()
        self.cluster.start_broker(empty=True)
        self._watch("empty the broker", {}, self._ready)
        return True

    def _broker_away(self) -> bool:
        if not self._is_free("broker"):
            return False
        watch = self._watch("keep the broker away", {}, self._ready)
        self.cluster.stop_broker()
        quiet = self._is_free("database", "api") and self.cluster.answers()
        self._submit_without_a_broker(must_work=quiet)
        seconds = self._choose.uniform(2.0, 6.0)
        return self._last(watch, "broker", seconds, self.cluster.start_broker)

    def _submit_without_a_broker(self, *, must_work: bool) -> None:
        """A client submits meanwhile. It is accepted at the first request where only the broker
        is away."""
        self._keys += 1
        key = f"chaos-{self.seed}-without-broker-{self._keys}"
        choose = random.Random(key)

        def submit() -> None:
            status = self.clients.submit(choose, key)
            # 0: the API was killed meanwhile; 503: the database went away meanwhile
            if must_work and status not in (201, 0, 503):
                self.memory.violated("not accepted without a broker", key, f"answer {status}")

        thread = threading.Thread(target=submit, name="submits without a broker", daemon=True)
        thread.start()
        self.clients.also_wait_for(thread)

    def _repeat_messages(self) -> bool:
        if not self.cluster.broker_wanted:
            return False
        jobs = list(self.observer.looks) or ["job_of_nobody"]
        for _ in range(DUPLICATES):
            self._celery.send_task(TASK, args=(self._choose.choice(jobs),), queue=QUEUE)
        self._watch("repeat messages", {})
        return True

    # Database.

    def _restart_database(self) -> bool:
        if not self._is_free("database"):
            return False
        jobs = self.observer.active()
        self.cluster.stop_database()
        self.cluster.start_database()
        self._watch("restart the database", jobs, self._ready)
        return True

    def _database_away(self) -> bool:
        if not self._is_free("database"):
            return False
        watch = self._watch("keep the database away", self.observer.active(), self._ready)
        self.cluster.stop_database()
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(0.5, 2.0)
        return self._last(watch, "database", seconds, self.cluster.start_database)

    def _lock_database(self) -> bool:
        if not self._is_free("database"):
            return False
        connection = self.cluster.database.engine.connect()
        connection = connection.execution_options(sqlite_begin="EXCLUSIVE")
        try:
            connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            connection.close()
            return False

        def unlock() -> None:
            connection.rollback()
            connection.close()

        watch = self._watch("lock the database", self.observer.active())
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(0.5, 1.8)
        return self._last(watch, "database", seconds, unlock)

    # Network.

    def _cut_database(self) -> bool:
        if (worker := self._victim()) is None:
            return False
        # Beyond the lease too: it then holds its jobs by the broker alone.
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(0.3, 2.0)
        return self._cut("cut a worker off the database", worker, "database", seconds)

    def _cut_both(self) -> bool:
        if (worker := self._victim()) is None:
            return False
        # Beyond the leases too: others then take its jobs, which stand still there.
        seconds = self.cluster.times.lease_seconds * self._choose.uniform(0.3, 2.5)
        return self._cut("cut a worker off everything", worker, "database and broker", seconds)

    def _cut_api(self) -> bool:
        seconds = self._choose.uniform(1.0, 6.0)
        return self._cut("cut the API off the database", self.cluster.api, "database", seconds)

    def _cut_broker(self) -> bool:
        member = self._choose.choice(self.cluster.members)
        seconds = self._choose.uniform(1.0, 6.0)
        return self._cut("cut a process off the broker", member, "broker", seconds)

    def _cut(self, kind: str, member: Member, servers: str, seconds: float) -> bool:
        names = [f"{member.name} {name}" for name in ("database", "broker", "database and broker")]
        if not self._is_free(*names):
            return False
        links = [link for name, link in member.links.items() if name in servers]
        how = self._choose.choice(("stall", "cut", "delay"))
        whole = self._ready if member is self.cluster.api else None
        watch = self._watch(kind, self._jobs_of(member), whole)
        for link in links:
            match how:
                case "stall":
                    link.stall()
                case "cut":
                    link.cut()
                case _:
                    link.delay(DELAY_SECONDS)

        def heal() -> None:
            for link in links:
                link.heal()

        return self._last(watch, f"{member.name} {servers}", seconds, heal)

    # Disks.

    def _fill_worker(self) -> bool:
        names = sorted({machine.name for machine in self.cluster.machines.values()})
        return self._fill("fill a worker's disk", self._choose.choice(names))

    def _fill_store(self) -> bool:
        return self._fill("fill the artifact store", self.cluster.artifacts.name)

    def _fill(self, kind: str, name: str) -> bool:
        if not self._is_free(f"disk {name}"):
            return False
        disk = self.cluster.disks[name]
        self.memory.disk_was_full = True
        jobs = self._jobs_of(
            *(
                worker
                for worker in self.cluster.workers
                if disk.directory in (worker.machine, self.cluster.artifacts)
            )
        )
        watch = self._watch(kind, jobs)
        disk.fill()
        return self._last(watch, f"disk {name}", self._choose.uniform(1.0, 4.0), disk.empty)

    def _damage_checkpoint(self) -> bool:
        """Change a byte of the newest checkpoint of a job that trains, and kill its training."""
        if (training := self._a_training()) is None:
            return False
        try:
            with self.cluster.database.reading() as session:
                sha256 = session.scalars(
                    select(Checkpoint.sha256)
                    .where(Checkpoint.job_id == training.job_id)
                    .order_by(Checkpoint.step.desc())
                    .limit(1)
                ).one_or_none()
        except SQLAlchemyError:
            return False
        if sha256 is None:
            return False
        with self.memory.lock:
            self.memory.damaged.add(sha256)
        try:
            with DirectoryStore(str(self.cluster.artifacts)).path(sha256).open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_END)
                file.write(bytes([byte ^ 1]))
        except FileNotFoundError:  # a newer one has come
            return False
        self._watch("damage a checkpoint", self._jobs_named(training.job_id))
        return _signal(training.pid, signal.SIGKILL)

    # The service against itself.

    def _sweep_twice(self) -> bool:
        if not self.cluster.database_wanted or not self._is_free("database"):
            return False
        settings = self.cluster.settings()
        leases = broker_leases(settings)
        sweeper = Sweeper(
            self.cluster.database,
            settings,
            lambda _job_id: None,
            unheld=leases.unheld if leases else None,
        )
        together = threading.Barrier(2)

        def sweep() -> None:
            together.wait()
            with contextlib.suppress(SQLAlchemyError):
                sweeper.sweep()

        threads = [threading.Thread(target=sweep) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if leases is not None:
            leases.close()
        self._watch("sweep twice at once", {})
        return True


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
