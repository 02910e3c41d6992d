"""Looks, every few seconds, for jobs whose worker vanished and for messages that were lost.

One runs beside every API and every worker; two at the same moment do each thing once, since each
is one conditional UPDATE.

A lease that ran out says that a worker is gone only if the worker could have renewed it. So no job
is recovered before workers had the time of one lease to do so: after a sweep that failed, after
the database server started, and when its clock went another way than this machine's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store import lifecycle, line
from api.store.database import Database, clock, started_at

log = logging.getLogger(__name__)


class Sweeper:
    """A thread that sweeps until it is stopped."""

    def __init__(self, database: Database, settings: Settings, ring: Callable[[str], None]) -> None:
        """`ring(job_id)` sends the message for a job that waits."""
        self._database = database
        self._settings = settings
        self._ring = ring
        self._trust = Trust(settings.lease_seconds)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for the sweep that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self) -> None:
        """Look once. Raises what the database raises."""
        try:
            waiting = self._sweep()
        except SQLAlchemyError:
            self._trust.withdraw()
            raise
        for job_id in waiting:
            self._ring(job_id)

    def _sweep(self) -> list[str]:
        settings, waiting = self._settings, []
        with self._database.writing() as session:
            lifecycle.correct_times(session, lease_seconds=settings.lease_seconds)
            if self._trust.in_leases(clock(session), started_at(session)):
                waiting += lifecycle.expire_leases(
                    session, max_losses=settings.max_losses, retry_seconds=settings.retry_seconds
                )
        with self._database.writing() as session:
            waiting += line.announce(session, after_seconds=3 * settings.sweep_seconds)
        return waiting

    def _run(self) -> None:
        while not self._stop.wait(self._settings.sweep_seconds):
            try:
                self.sweep()
            except SQLAlchemyError as error:
                log.warning("the sweep failed, the next one tries again: %s", type(error).__name__)


class Trust:
    """Whether leases that ran out can be believed."""

    def __init__(
        self, lease_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`monotonic` is a clock that nobody sets."""
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._was_away = False
        self._again_at: float | None = None  # by `monotonic`
        self._offset: float | None = None  # of the database's clock to `monotonic`

    def withdraw(self) -> None:
        """The database is away: workers get the time of a lease once it is back."""
        self._was_away = True

    def in_leases(self, at: float, database_started_at: float | None) -> bool:
        """Whether to believe them at the time `at` of the database's clock.

        `database_started_at` is by the same clock, None where there is no server.
        """
        here = self._monotonic()
        before, self._offset = self._offset, at - here
        # A smaller jump ends no lease that is renewed in time.
        jumped = before is not None and abs(self._offset - before) > self._lease_seconds / 4
        if jumped or self._was_away:
            self._was_away = False
            self._again_at = here + self._lease_seconds
            log.warning(
                "%s; no job is recovered for %g s, so that workers can renew their leases",
                "the database's clock was set" if jumped else "the database was away",
                self._lease_seconds,
            )
        since_start = self._lease_seconds
        if database_started_at is not None:
            since_start = abs(at - database_started_at)
        waited = self._again_at is None or here >= self._again_at
        return waited and since_start >= self._lease_seconds
