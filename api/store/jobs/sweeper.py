"""The sweeper: every few seconds it recovers jobs and exports with expired leases, sends lost
wake-ups again, and removes attempts that no limit counts any more.

One runs beside every API and every worker; two at the same moment do each thing once, since each is
one conditional UPDATE.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.database import Database, clock, why_away
from api.store.jobs import exports, leases, lifecycle, queue
from api.store.limits import hours

log = logging.getLogger(__name__)


class GracePeriod:
    """Grace period after a start, an outage or a jump of the clock, during which expired leases are
    ignored.

    A lease that ran out says that its worker is gone only if the worker could have renewed it. So
    the sweeper must first have seen the database, without a gap, for one whole lease.
    """

    def __init__(
        self, lease_seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`monotonic` is a clock that is never set."""
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._since: float | None = None  # by `monotonic`; None: a look failed, or none was made
        self._last = 0.0  # by the database's clock

    def begin(self) -> None:
        """Begin the grace period again: the database is away."""
        self._since = None

    def is_over(self, at: float) -> bool:
        """Whether to recover jobs whose lease had run out at the time `at`, of the database's
        clock.

        A gap is a move of that clock by more than half a lease between two calls: the process or
        its machine stood still, a statement hung, or the clock was set. A worker that renews in
        time has more than half a lease left, so a shorter gap ends no lease. A clock that is put
        back ends none either.
        """
        here = self._monotonic()
        if self._since is None or at - self._last > self._lease_seconds / 2:
            self._since = here
            seconds = self._lease_seconds
            log.info("expired leases are ignored for %g s, so that workers can renew them", seconds)
        self._last = at
        return here - self._since >= self._lease_seconds


class Sweeper:
    """A thread that sweeps until it is stopped."""

    def __init__(
        self, database: Database, settings: Settings, send_wakeup: Callable[[str], None]
    ) -> None:
        """`send_wakeup(job_id)` sends the wake-up for a queued job."""
        self._database = database
        self._settings = settings
        self._send_wakeup = send_wakeup
        self._grace = GracePeriod(settings.lease_seconds)
        # Often enough that the time between two looks is no gap.
        self._wait = min(settings.sweep_seconds, settings.lease_seconds / 4)
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
        """Sweep once. Raises what the database raises."""
        try:
            waiting = self._look()
        except SQLAlchemyError:
            self._grace.begin()
            raise
        for job_id in waiting:
            self._send_wakeup(job_id)

    def _look(self) -> list[str]:
        """Recover jobs; those that wait for a worker, and of which none was told lately."""
        settings = self._settings
        with self._database.writing() as session:
            leases.correct_times(session, lease_seconds=settings.lease_seconds)
            exports.correct_times(session, lease_seconds=settings.lease_seconds)
            at = clock(session)
            recovered = []
            if self._grace.is_over(at):
                recovered = lifecycle.expire_leases(
                    session,
                    at=at,  # a statement that comes late finds no more than this look
                    max_losses=settings.max_losses,
                    retry_seconds=settings.retry_seconds,
                )
                exports.expire_leases(session, at=at)
                hours.forget_old(session)
            return recovered + queue.announce(session, after_seconds=3 * settings.sweep_seconds)

    def _run(self) -> None:
        while not self._stop.wait(self._wait):
            try:
                self.sweep()
            except SQLAlchemyError as error:
                log.warning("the sweep failed, the next one tries again: %s", why_away(error))
            except Exception:  # without this thread no lost job would ever be found
                log.exception("the sweep failed, the next one tries again")
