"""Looks, every few seconds, for jobs whose worker vanished and for messages that were lost.

One runs beside every API and every worker; two at the same moment do each thing once, since each
is one conditional UPDATE.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store import lifecycle, line
from api.store.database import Database

log = logging.getLogger(__name__)


class Sweeper:
    """A thread that sweeps until it is stopped."""

    def __init__(self, database: Database, settings: Settings, ring: Callable[[str], None]) -> None:
        """`ring(job_id)` sends the message for a job that waits."""
        self._database = database
        self._settings = settings
        self._ring = ring
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
        with self._database.writing() as session:
            waiting = lifecycle.expire_leases(session, max_losses=self._settings.max_losses)
        with self._database.writing() as session:
            waiting += line.announce(session, after_seconds=3 * self._settings.sweep_seconds)
        for job_id in waiting:
            self._ring(job_id)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.sweep_seconds):
            try:
                self.sweep()
            except SQLAlchemyError as error:
                log.warning("the sweep failed, the next one tries again: %s", type(error).__name__)
