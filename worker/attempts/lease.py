"""The lease of an attempt: renewed while its training runs, with the requests that people make of
the job.

While the database is away the training goes on. A worker cannot know whether it is away for all, so
that nobody takes the job, or for this worker alone, so that another attempt begins. It learns that
at the first answer: a renewal is refused once another attempt exists, and the training ends
(docs/decisions/016-one-lease.md).
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.database import Database, why_away
from api.store.jobs import leases
from api.store.jobs.leases import Claim, Fenced
from api.store.tables.jobs import Status
from api.telemetry.log import make_thread
from worker.backoff import Backoff
from worker.processes.process import TrainingProcess

LOOK_SECONDS = 0.5
LONGEST_WAIT = 2.0  # seconds, between two tries while the database is away
log = logging.getLogger(__name__)


class Lease:
    """A thread that renews the lease every `heartbeat_seconds` and reads requests."""

    def __init__(self, database: Database, claim: Claim, settings: Settings) -> None:
        self.status = Status.starting
        """What the database said last."""
        self.fenced = False
        """Another attempt has the job, or it was taken from this one, or it has ended."""
        self.changed = threading.Event()
        """Set when one of the two has changed."""
        self._database = database
        self._claim = claim
        self._settings = settings
        self._process: TrainingProcess | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._look = min(LOOK_SECONDS, settings.heartbeat_seconds)
        # After an outage the living have to renew before sweepers recover jobs.
        self._longest_wait = min(LONGEST_WAIT, settings.heartbeat_seconds)
        self._thread = make_thread(self._run, name="lease")

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:  # else it could not be started
            self._thread.join()

    def attend(self, process: TrainingProcess | None) -> None:
        """Set the process whose group is killed at once when the lease is lost."""
        with self._lock:
            self._process = process
            if self.fenced and process is not None:
                process.kill()

    def _run(self) -> None:
        backoff = Backoff(limit=self._longest_wait)
        away = False
        renew_at = time.monotonic()  # at once: how long ago the claim was is not known exactly
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                if time.monotonic() >= renew_at:
                    begun = time.monotonic()
                    self._learn(self._renew())
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

    def _learn(self, status: Status) -> None:
        if status is not self.status:
            self.status = status
            self.changed.set()


def silence_seconds(settings: Settings) -> float:
    """Time without a word from its worker after which a training process ends itself.

    The training of a worker that was stopped ends before its lease, which was renewed up to a
    heartbeat earlier. A process that loads libraries notices silence late.
    """
    return settings.lease_seconds - 3 * settings.heartbeat_seconds
