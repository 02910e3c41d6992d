"""Keeps an attempt's leases while its training runs, and learns what people ask of the job.

A worker that alone is cut off from the database cannot know whether others still reach it and take
its job when the lease runs out. But they do not while it holds its lease in the broker
(`api.brokerlease`). So a training goes on while one of the two is renewed. Else it stands still,
with all that it has in memory, and goes on when one is; once both may have run out, the database
alone says whose the job is. A SQLite file cannot be cut off from one process alone, so there it
goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api.brokerlease import BROKER_AWAY, BrokerLeases
from api.log import make_thread
from api.settings import Settings
from api.store import leases
from api.store.database import Database, why_away
from api.store.leases import Claim, Fenced
from api.store.tables import Status
from worker.backoff import Backoff
from worker.process import TrainingProcess

LOOK_SECONDS = 0.5
log = logging.getLogger(__name__)


class Lease:
    """Threads that renew the leases every `heartbeat_seconds` and look for requests."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        settings: Settings,
        broker: BrokerLeases | None = None,
    ) -> None:
        """`broker` has the second lease, if there is one."""
        self.status = Status.starting
        """What the database said last."""
        self.fenced = False
        """Another attempt has the job, or it has ended."""
        self.changed = threading.Event()
        """Set when one of the two has changed."""
        self._database = database
        self._claim = claim
        self._settings = settings
        self._process: TrainingProcess | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._look = min(LOOK_SECONDS, settings.heartbeat_seconds)
        # When the last renewal that counts was sent, by time.monotonic(), which nobody sets.
        self._in_database = math.inf if database.is_sqlite else -math.inf
        self._in_broker = -math.inf
        self._suspended = False
        self._threads = [
            make_thread(self._run, name="lease"),
            # A server that hangs keeps its thread for as long as it likes.
            make_thread(self._guard, name="guard"),
        ]
        if broker is not None:
            self._threads.append(make_thread(self._run_in_broker, broker, name="second lease"))

    @property
    def stands_still(self) -> bool:
        """Whether the training is suspended since no lease of it is held."""
        with self._lock:
            return self._suspended

    def start(self) -> None:
        """Begin to renew."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:  # else it could not be started
                thread.join()

    def attend(self, process: TrainingProcess | None) -> None:
        """The process to kill at once when the lease is lost."""
        with self._lock:
            self._process = process
            self._suspended = False
            if self.fenced and process is not None:
                process.kill()

    def _run(self) -> None:
        backoff = Backoff(limit=2.0)
        away = False
        renew_at = time.monotonic()  # at once: how long ago the claim was is not known exactly
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                if time.monotonic() >= renew_at:
                    begun = time.monotonic()
                    self._learn(self._renew())
                    if not self._database.is_sqlite:
                        self._in_database = begun
                    renew_at = begun + self._settings.heartbeat_seconds
                else:
                    with self._database.reading() as session:
                        self._learn(leases.asked(session, self._claim))
            except Fenced:
                with self._lock:
                    self.fenced = True
                    if self._process is not None:
                        self._process.kill()
                self.changed.set()
                return
            except SQLAlchemyError as error:  # whatever it is: nobody else keeps this lease
                if not away:
                    log.warning(
                        "%s trains on without the database: %s",
                        self._claim.job_id,
                        why_away(error),
                    )
                away = True
                wait = backoff.wait_seconds()
            else:
                away = False
                backoff.reset()
                wait = self._look

    def _renew(self) -> Status:
        with self._database.writing() as session:
            return leases.renew(session, self._claim, lease_seconds=self._settings.lease_seconds)

    def _is_held(self) -> bool:
        """Whether nobody else can have the job."""
        margin = min(self._look, self._settings.lease_seconds / 4)
        return self._age() <= self._settings.lease_seconds - margin

    def _may_train(self) -> bool:
        """Whether it is held for long enough, even if this process is stopped at this moment."""
        most = self._settings.lease_seconds - self._settings.heartbeat_seconds
        return self._age() <= most - silence_seconds(self._settings)

    def _age(self) -> float:
        """Of the younger lease, in seconds."""
        return time.monotonic() - max(self._in_database, self._in_broker)

    def _run_in_broker(self, broker: BrokerLeases) -> None:
        job_id, attempt = self._claim.job_id, self._claim.attempt
        backoff = Backoff(limit=2.0)
        is_there = False
        wait = 0.0
        while not self._stop.wait(wait) and not self.fenced:
            begun = time.monotonic()
            # Others may have the job once both are over: then only the database gives it back.
            if not self._is_held() or begun > self._in_database + self._settings.outage_seconds:
                wait = self._look
                continue
            try:
                counts = broker.renew(job_id, attempt)
            except BROKER_AWAY as error:
                if is_there:
                    log.warning("%s: no lease in the broker: %s", job_id, type(error).__name__)
                is_there = False
                wait = backoff.wait_seconds()
                continue
            is_there = True
            backoff.reset()
            if not counts:
                self._in_broker = -math.inf
            elif self._is_held():  # still: so the answer was given before both were over
                self._in_broker = begun
            wait = self._settings.heartbeat_seconds
        if is_there:
            with contextlib.suppress(*BROKER_AWAY):
                broker.release(job_id, attempt)

    def _guard(self) -> None:
        while not self._stop.wait(self._look / 4):
            is_over = not self._may_train()
            with self._lock:
                if self._process is None or self.fenced or is_over is self._suspended:
                    continue
                self._suspended = is_over
                if is_over:
                    self._process.suspend()
                else:
                    self._process.go_on()
            log.warning(
                "%s %s",
                self._claim.job_id,
                "stands still: no lease of it could be renewed" if is_over else "goes on",
            )

    def _learn(self, status: Status) -> None:
        if status is not self.status:
            self.status = status
            self.changed.set()


def silence_seconds(settings: Settings) -> float:
    """How long a training process may hear nothing of its worker before it ends itself.

    When a worker is stopped, the lease of a process that trains is two heartbeats old at most, and
    a process that loads libraries notices silence late.
    """
    heartbeat = settings.heartbeat_seconds
    return max(settings.lease_seconds - 3 * heartbeat, heartbeat)
