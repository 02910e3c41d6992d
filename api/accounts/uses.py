"""When keys were last used: requests note it, and a thread beside them writes it down, so that a
read needs no lock and goes on while the database is locked."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from api.store.accounts import keys
from api.store.database import Database, why_away

PATIENCE_SECONDS = 1.0  # for the lock: others who write wait behind this
LATER_SECONDS = 30.0  # after which it is tried again
log = logging.getLogger(__name__)


class KeyUses:
    """The uses that are to be written down, the last one of each key, and the thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()
        self._noted = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="key uses", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what was noted, if the database can be written to now, and end the thread."""
        self._stop.set()
        self._noted.set()
        if self._thread.is_alive():
            self._thread.join()

    def note(self, key_id: str, at: float) -> None:
        """A key was used at that time of the database's clock."""
        with self._lock:
            self._last[key_id] = at
        self._noted.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._noted.wait()
            self._noted.clear()
            try:
                self._write()
            except SQLAlchemyError as error:
                log.warning("when keys were used is written down later: %s", why_away(error))
                self._stop.wait(LATER_SECONDS)
                self._noted.set()
            except Exception:  # the thread has others to write down
                log.exception("when keys were used was not written down")

    def _write(self) -> None:
        with self._lock:
            taken, self._last = self._last, {}
        if not taken:
            return
        try:
            with self._database.writing(patience=PATIENCE_SECONDS) as session:
                keys.used(session, taken)
        except SQLAlchemyError:
            with self._lock:
                self._last = taken | self._last
            raise
