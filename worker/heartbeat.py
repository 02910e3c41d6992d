"""The heartbeat of a worker: it updates the worker's row every few seconds."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.settings import Settings
from api.store import workers
from api.store.database import Database, why_away
from api.store.workers import Drain

log = logging.getLogger(__name__)


class Presence:
    """A thread that updates the row; a database that is away only delays it."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        worker_id: str,
        devices: Sequence[str],
        busy: Callable[[], int],
        drain: Callable[[Drain], None] = lambda _how: None,
        measures: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """`devices` has one entry per slot; `busy()` returns how many of them train; `drain` is
        called, repeatedly, once the worker was asked to end; the results of `measures()` are
        stored in the row."""
        self._database = database
        self._settings = settings
        self._worker_id = worker_id
        self._devices = list(devices)
        self._busy = busy
        self._drain = drain
        self._measures = measures
        self._registered = False
        self._away = False
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Register the worker, and begin to update its row."""
        self._thread.start()

    def changed(self) -> None:
        """Update the row soon: the number of busy slots has changed."""
        self._changed.set()

    def stop(self) -> None:
        """Write that the worker ends, if the database is there, and end the thread."""
        self._stop.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self._say)
            self._changed.wait(self._settings.heartbeat_seconds)
            self._changed.clear()
        self._try(self._say_goodbye)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SQLAlchemyError as error:
            if not self._away:
                log.warning("the database does not answer: %s", why_away(error))
            self._away = True
        else:
            self._away = False

    def _say(self) -> None:
        measures = self._measures()
        with self._database.writing() as session:
            self._database.confirm(session)
            if not (self._registered and self._seen(session, measures)):
                workers.register(
                    session,
                    worker_id=self._worker_id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=version("saf-service"),
                    devices=self._devices,
                    slots=len(self._devices),
                )
                self._seen(session, measures)
            how = workers.draining(session, self._worker_id)
        self._registered = True
        if how is not None:
            self._drain(how)

    def _seen(self, session: Session, measures: Mapping[str, Any]) -> bool:
        return workers.seen(session, self._worker_id, busy=self._busy(), measures=measures)

    def _say_goodbye(self) -> None:
        with self._database.writing() as session:
            workers.stopped(session, self._worker_id)
