"""Keeps an attempt's lease while its training runs, and learns what people ask of the job."""

from __future__ import annotations

import logging
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
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def attend(self, process: TrainingProcess | None) -> None:
        """The process to kill at once when the lease is lost."""
        with self._lock:
            self._process = process
            if self.fenced and process is not None:
                process.kill()

    def _run(self) -> None:
        backoff = Backoff(limit=2.0)
        away = False
        look = min(LOOK_SECONDS, self._settings.heartbeat_seconds)
        renew_at = time.monotonic() + self._settings.heartbeat_seconds
        wait = look
        while not self._stop.wait(wait):
            try:
                if time.monotonic() >= renew_at:
                    begun = time.monotonic()
                    self._learn(self._renew())
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
                wait = look

    def _renew(self) -> Status:
        with self._database.writing() as session:
            return lifecycle.renew(session, self._claim, lease_seconds=self._settings.lease_seconds)

    def _learn(self, status: Status) -> None:
        if status is not self.status:
            self.status = status
            self.changed.set()
