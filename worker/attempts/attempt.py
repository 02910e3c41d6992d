"""One attempt as the database knows it: what is asked of it, and writes that outlast an outage."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from api.settings import Settings
from api.store.database import Database
from api.store.jobs import leases, lifecycle, progress
from api.store.jobs.leases import Claim, Fenced
from api.store.tables.jobs import Status
from worker.attempts import outcome
from worker.attempts.lease import Lease
from worker.backoff import DATABASE_AWAY, Backoff
from worker.processes import disk
from worker.processes.protocol import Failure

GIVE_UP_SECONDS = 5.0
T = TypeVar("T")
log = logging.getLogger(__name__)


class LeftToTheLease(Exception):  # noqa: N818  (a signal, not an error)
    """The worker ends while the database is away: the lease will run out."""


class Attempt:
    """A claim with its lease."""

    def __init__(
        self, claim: Claim, database: Database, settings: Settings, closing: threading.Event
    ) -> None:
        """`closing` is set when the worker shuts down."""
        self.claim = claim
        self.lease = Lease(database, claim, settings)
        self._database = database
        self._settings = settings
        self._closing = closing

    @property
    def is_to_stop(self) -> bool:
        """Whether somebody asked for its end: who cancels or pauses the job, or ends the worker."""
        asked = self.lease.status in (Status.cancelling, Status.pausing)
        return asked or self._closing.is_set()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to cancel the job."""
        return self.lease.status is Status.cancelling

    @property
    def is_in_a_hurry(self) -> bool:
        """Whether nobody needs another checkpoint of it."""
        return self.lease.fenced or self.is_cancelled

    @property
    def is_unwanted(self) -> bool:
        """Whether it need not begin."""
        return self.lease.fenced or self.is_to_stop

    def insist(self, action: Callable[[], T]) -> T:
        """Do it, again and again while the database or the store is away, or a disk is full. Raises
        Fenced once another attempt may have the job."""
        backoff = Backoff()
        given_up_at: float | None = None
        stuck = False
        while True:
            try:
                return action()
            except DATABASE_AWAY:
                pass
            except OSError as error:
                if not disk.may_pass(error) or self.is_cancelled:
                    raise
                if not stuck:
                    self.tell(error)
                stuck = True
            if self.lease.fenced:
                raise Fenced
            if self._closing.is_set():
                given_up_at = given_up_at or time.monotonic() + GIVE_UP_SECONDS
                if time.monotonic() > given_up_at:
                    raise LeftToTheLease
            time.sleep(backoff.wait_seconds())

    def hand_back(self) -> None:
        """Its end before its training began, as somebody asked for it."""
        if self.lease.fenced:
            raise Fenced

        def stop() -> None:
            with self._database.writing() as session:
                lifecycle.stopped(session, self.claim)

        self.insist(stop)

    def fail(self, failure: Failure) -> None:
        """Its end by a failure beside its training."""

        def fail() -> None:
            with self._database.writing() as session:
                if leases.asked(session, self.claim) is Status.cancelling:
                    lifecycle.stopped(session, self.claim)
                else:
                    outcome.write(session, self.claim, failure, self._settings)

        try:
            self.insist(fail)
        except (Fenced, LeftToTheLease) as end:
            self.log_end(end)

    def log_end(self, end: Fenced | LeftToTheLease) -> None:
        """Say that it ended without a word to the database."""
        log.info("attempt %d of %s: %s", self.claim.attempt, self.claim.job_id, type(end).__name__)

    def tell(self, error: OSError) -> None:
        """Put into the timeline that the job waits for a disk or a store."""
        text = f"the job waits: {error.strerror}; it goes on once that is put right"
        log.warning("attempt %d of %s: %s", self.claim.attempt, self.claim.job_id, error)
        self.note("note", text=text)

    def note(self, kind: str, **data: Any) -> None:
        """Add a line to the timeline, unless the database is away: it may lie on the full disk."""
        try:
            with self._database.writing() as session:
                progress.noted(session, self.claim, kind, **data)
        except DATABASE_AWAY:
            pass
