"""Keeps an attempt's lease while its training runs, and learns what people ask of the job.

A worker that alone is cut off from the database cannot know whether others still reach it and take
its job when the lease runs out. So a training whose lease may have run out stands still, with all
that it has in memory, until the database says whose the job is: it goes on or is killed. A SQLite
file cannot be cut off from one process alone, so there it goes on.
"""

from __future__ import annotations

import logging
import math
import threading
import time

from api.settings import Settings
from api.store import lifecycle
from api.store.database import Database
from api.store.lifecycle import Claim, Fenced
from api.store.tables import Status
from worker.backoff import DATABASE_AWAY, Backoff
from worker.process import TrainingProcess

LOOK_SECONDS = 0.5
log = logging.getLogger(__name__)


class Lease:
    """A thread that renews the lease every `heartbeat_seconds` and looks for requests."""

    def __init__(self, database: Database, claim: Claim, settings: Settings) -> None:
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
        self._held_until = time.monotonic() if not database.is_sqlite else math.inf
        self._suspended = False
        self._threads = [
            threading.Thread(target=self._run, name="lease", daemon=True),
            # A database that hangs keeps the other thread for as long as it likes.
            threading.Thread(target=self._guard, name="guard", daemon=True),
        ]

    def start(self) -> None:
        """Begin to renew."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
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
                    self._extend(begun)
                    renew_at = begun + self._settings.heartbeat_seconds
                else:
                    with self._database.reading() as session:
                        self._learn(lifecycle.asked(session, self._claim))
            except Fenced:
                with self._lock:
                    self.fenced = True
                    if self._process is not None:
                        self._process.kill()
                self.changed.set()
                return
            except DATABASE_AWAY as error:
                if not away:
                    log.warning(
                        "%s trains on without the database: %s",
                        self._claim.job_id,
                        type(error).__name__,
                    )
                away = True
                wait = backoff.wait_seconds()
            else:
                away = False
                backoff.reset()
                wait = self._look

    def _renew(self) -> Status:
        with self._database.writing() as session:
            return lifecycle.renew(session, self._claim, lease_seconds=self._settings.lease_seconds)

    def _extend(self, renewed_at: float) -> None:
        if self._held_until != math.inf:
            margin = min(self._look, self._settings.lease_seconds / 4)
            self._held_until = renewed_at + self._settings.lease_seconds - margin

    def _guard(self) -> None:
        while not self._stop.wait(self._look / 4):
            is_over = time.monotonic() > self._held_until
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
                "stands still: its lease could not be renewed" if is_over else "goes on",
            )

    def _learn(self, status: Status) -> None:
        if status is not self.status:
            self.status = status
            self.changed.set()
