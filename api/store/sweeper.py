"""Looks, every few seconds, for jobs whose worker vanished and for messages that were lost.

One runs beside every API and every worker; two at the same moment do each thing once, since each
is one conditional UPDATE.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store import leases, lifecycle, line
from api.store.database import Database, clock, started_at, why_away
from api.store.leases import Lapsed
from api.store.trust import Trust

log = logging.getLogger(__name__)


class Sweeper:
    """A thread that sweeps until it is stopped."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        ring: Callable[[str], None],
        *,
        unheld: Callable[[Sequence[Lapsed]], Collection[Lapsed]] | None = None,
    ) -> None:
        """`ring(job_id)` sends the message for a job that waits. `unheld` knows of leases elsewhere
        than in the database: it returns those that hold none there; it may take some seconds."""
        self._database = database
        self._settings = settings
        self._ring = ring
        self._unheld = unheld
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

    def doubt(self) -> None:
        """The database was away: leases that ran out meanwhile say nothing yet."""
        self._trust.withdraw()

    def sweep(self) -> None:
        """Look once. Raises what the database raises."""
        try:
            lapsed = self._look()
            # Outside of any transaction: what it asks may be slow.
            if self._unheld is not None:
                lapsed = list(self._unheld(lapsed))
            self._recover(lapsed)
        except SQLAlchemyError:
            self.doubt()
            raise

    def _look(self) -> list[Lapsed]:
        settings = self._settings
        with self._database.writing() as session:
            leases.correct_times(session, lease_seconds=settings.lease_seconds)
            believed = self._trust.in_leases(clock(session), started_at(session))
            lapsed = leases.lapsed(session) if believed else []
            waiting = line.announce(session, after_seconds=3 * settings.sweep_seconds)
        for job_id in waiting:
            self._ring(job_id)
        return lapsed

    def _recover(self, lapsed: Collection[Lapsed]) -> None:
        if not lapsed:
            return
        settings = self._settings
        with self._database.writing() as session:
            recovered = lifecycle.expire_leases(
                session,
                lapsed,
                max_losses=settings.max_losses,
                retry_seconds=settings.retry_seconds,
            )
        for job_id in recovered:
            self._ring(job_id)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.sweep_seconds):
            try:
                self.sweep()
            except SQLAlchemyError as error:
                log.warning("the sweep failed, the next one tries again: %s", why_away(error))
            except Exception:  # without this thread no lost job would ever be found
                log.exception("the sweep failed, the next one tries again")
