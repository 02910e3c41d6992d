"""Start of the service: what runs once, as soon as the database is there.

A service that is started before its database, or with a wrong address of it, is up and says what it
waits for; it goes on by itself once that is there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from api.store.database import why_away
from api.store.migrate import NewerDatabaseError

RETRY_SECONDS = 1.0
STOP_SECONDS = 5.0  # a server that hangs is not waited for
log = logging.getLogger(__name__)


class Opening:
    """A thread that does all steps, again from the first one when one fails."""

    def __init__(self, steps: Sequence[Callable[[], None]]) -> None:
        """Steps that raise what the database raises, and can be repeated."""
        self.reason = "the service has just been started; try again in a moment"
        """What it waits for, in one line; empty once all is done."""
        self._steps = steps
        self._tried = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="opening", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until all is done or something was in the way, at most so long."""
        self._tried.wait(seconds)

    def stop(self) -> None:
        """Try no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            reason = self._try()
            if reason and reason != self.reason:
                log.warning("waiting: %s", reason)
            elif not reason and self._tried.is_set():
                log.info("the database is there; the service works")
            self.reason = reason
            self._tried.set()
            if not reason:
                return
            self._stop.wait(RETRY_SECONDS)

    def _try(self) -> str:
        try:
            for step in self._steps:
                if self._stop.is_set():
                    return "the service is being stopped"
                step()
        except NewerDatabaseError as error:
            return str(error)
        except CommandError as error:
            return f"the tables are of another version than this program: {error}"
        except SQLAlchemyError as error:
            return f"the database cannot be used: {why_away(error)}; look at DATABASE_URL"
        except Exception as error:
            log.exception("the service cannot be opened")
            return f"the service cannot be opened ({type(error).__name__}); its log says why"
        return ""
