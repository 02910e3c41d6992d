"""The lease of an export, renewed in a thread until it ends."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from api.settings import Settings
from api.store.database import Database, why_away
from api.store.jobs import exports
from api.store.jobs.exports import ExportClaim
from api.store.jobs.leases import Fenced
from api.telemetry.log import make_thread

log = logging.getLogger(__name__)


class ExportLease:
    """A context manager: renews every `heartbeat_seconds`, and tells how far the replay is."""

    def __init__(self, database: Database, claim: ExportClaim, settings: Settings) -> None:
        self.fenced = False
        """The export was deleted, or another worker has it."""
        self.replayed: tuple[int, int] | None = None
        """Samples that were replayed, of how many: set by the holder."""
        self._database = database
        self._claim = claim
        self._settings = settings
        self._stop = threading.Event()
        self._thread = make_thread(self._run, name="export-lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_seconds):
            try:
                self._renew()
            except Fenced:
                self.fenced = True
                return
            except SQLAlchemyError as error:  # the export goes on; the first answer tells
                log.warning("%s goes on without the database: %s", self._claim.id, why_away(error))

    def _renew(self) -> None:
        done, total = self.replayed or (None, None)
        with self._database.writing() as session:
            exports.renew(
                session,
                self._claim,
                lease_seconds=self._settings.lease_seconds,
                replayed=done,
                to_replay=total,
            )
