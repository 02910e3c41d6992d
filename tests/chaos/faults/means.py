"""What faults are made of: a victim, a watch on the recovery, a time after which it is healed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.broker.wakeups import celery_app
from api.store.tables.jobs import ACTIVE, Job
from api.store.tables.workers import Worker
from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster, Member, Training
from tests.chaos.memory import Memory
from tests.chaos.observer import Look, Observer, Watch

ENDS_ATTEMPTS = frozenset(
    {
        "kill a training",
        "hang a training",
        "kill a worker",
        "kill a machine",
        "damage a checkpoint",
        "terminate a worker",
        "stop a worker beyond its lease",
    }
)
READY_SECONDS = 0.3  # how long one answer to the question is good for


@dataclass(kw_only=True)
class Lasting:
    """A fault that is under way."""

    kind: str
    resource: str  # one fault of a resource at a time
    until: float
    heal: Callable[[], None]
    watch: Watch


@dataclass(kw_only=True)
class Means:
    """A cluster, who watches it, and what is broken in it."""

    cluster: Cluster
    observer: Observer
    memory: Memory
    clients: Clients
    seed: int
    keys: int = 0  # of what was submitted by faults
    fragile_key: str | None = None  # of the last job on the data set that is damaged

    def __post_init__(self) -> None:
        """Choices follow from the seed."""
        self.choose = random.Random(f"{self.seed} faults {self.cluster.kind}")
        self.celery = celery_app(self.cluster.settings())
        self._lasting: list[Lasting] = []
        self._is_ready = False
        self._ready_known_until = 0.0

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
        self.celery.close()

    def watch(
        self,
        kind: str,
        jobs: dict[str, Look],
        service: Callable[[], bool] | None = None,
    ) -> Watch:
        """Watch how the jobs that were hit, or the service, recover."""
        watch = Watch(
            kind=kind,
            since=time.monotonic(),
            jobs=jobs,
            service=service,
            ends_attempts=kind in ENDS_ATTEMPTS,
        )
        self._ready_known_until = 0.0  # from before
        self.observer.watch(watch)
        return watch

    def last(
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

    def is_free(self, *resources: str) -> bool:
        """Whether no fault of these is under way."""
        return not {lasting.resource for lasting in self._lasting} & set(resources)

    def ready(self) -> bool:
        """Whether the service says that it is ready."""
        if time.monotonic() > self._ready_known_until:
            self._is_ready = self.cluster.answers("/readyz")
            self._ready_known_until = time.monotonic() + READY_SECONDS
        return self._is_ready

    def victim(self) -> Member | None:
        """A worker that runs and has no fault of its own, if possible one that trains."""
        able = [
            worker
            for worker in self.cluster.workers
            if worker.child.is_alive and self.is_free(worker.name)
        ]
        busy = [worker for worker in able if self.jobs_of(worker)]
        pool = busy or able
        return self.choose.choice(pool) if pool else None

    def jobs_of(self, *members: Member) -> dict[str, Look]:
        """The jobs that these workers run."""
        pids = {member.pid for member in members if member.child.pid is not None}
        with contextlib.suppress(SQLAlchemyError), self.cluster.database.reading() as session:
            ids = set(session.scalars(select(Worker.id).where(Worker.pid.in_(pids))))
            return {
                job: look for job, look in self.observer.active().items() if look.worker_id in ids
            }
        return {}

    def held_by(self, member: Member) -> set[str]:
        """The jobs that this worker holds at this moment."""
        query = select(Job.id).join(Worker, Worker.id == Job.worker_id)
        with contextlib.suppress(SQLAlchemyError), self.cluster.database.reading() as session:
            held = query.where(Worker.pid == member.pid, Job.status.in_(ACTIVE))
            return set(session.scalars(held))
        return set()

    def a_training(
        self,
        *,
        of: Collection[str] | None = None,
        unless: Collection[tuple[str, int]] = (),
    ) -> Training | None:
        """One of the training processes: `of` these jobs, if given, and none of these attempts."""
        found = [
            training
            for training in sorted(self.cluster.trainings(), key=lambda each: each.job_id)
            if (of is None or training.job_id in of)
            and (training.job_id, training.attempt) not in unless
        ]
        return self.choose.choice(found) if found else None

    def jobs_named(self, *job_ids: str) -> dict[str, Look]:
        """What is known of these jobs, if they are active."""
        return {job: look for job, look in self.observer.active().items() if job in job_ids}


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def send_to_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to all processes of a group; whether there were any."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
