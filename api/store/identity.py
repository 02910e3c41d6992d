"""Identity of the database: whether it is still the one that this process began with.

A SQLite database that is removed or replaced stays open where it was open: what is written then
goes into a file without a name and is lost with the process. So its file, and the two that SQLite
keeps beside it, are checked before each transaction, and again before a commit counts. A marker
file beside it says that there was one, so that a process which is started while it is gone does not
make an empty one in its place.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.exc import OperationalError, SQLAlchemyError

BESIDE = ("-wal", "-shm")
HEADER_BYTES = 100  # of every SQLite database
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_Place = tuple[int, int]  # device, inode


class DatabaseReplacedError(OperationalError):
    """The database is another one, or gone: nothing is accepted that would be lost."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, None, sqlite3.OperationalError(reason))
        self.reason = reason


def mark_of(path: Path) -> Path:
    """The marker file for a database at `path`; `rm NAME*` does not remove it."""
    return path.with_name(f".{path.name}.id")


class RemovedError(sqlite3.OperationalError):
    """There was a database where a process is started, and there is none."""


class FileIdentity:
    """The files of one SQLite database as of the first connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place: _Place | None = None
        self._beside: dict[str, _Place] = {}
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def watch(self, engine: Engine) -> None:
        """Remember the files whenever `engine` connects; its transactions call `check`."""

        @event.listens_for(engine, "do_connect")
        def _before_connect(*_: Any) -> None:
            # It would make an empty file.
            self._raise(self._changed(), sqlite3.OperationalError)
            self._refuse_to_begin_anew()

        @event.listens_for(engine, "connect")
        def _on_connect(connection: Any, _record: Any) -> None:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # opens all files
            with self._lock:
                self._learn()
                self._open.add(id(connection))
            self._raise(self._changed(), sqlite3.OperationalError)

        @event.listens_for(engine, "close")
        def _on_close(connection: Any, _record: Any) -> None:
            with self._lock:
                self._open.discard(id(connection))
                if not self._open:  # who closes last removes the files beside
                    self._beside = {}

    def remember(self, identity: str) -> None:
        """Write the marker file. Errors are ignored, as of a full disk."""
        mark = mark_of(self._path)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if not mark.exists() or mark.read_text() != identity:
                mark.write_text(identity)

    def check(self) -> None:
        """Raise DatabaseReplacedError unless the files are those of the open connections."""
        self._raise(self._changed(), DatabaseReplacedError)

    def _learn(self) -> None:
        if self._place is None:
            self._place = _place(self._path.stat())
        if not self._open:
            for end in BESIDE:
                try:
                    self._beside[end] = _place(os.stat(f"{self._path}{end}"))
                except OSError:  # a file system on which SQLite keeps none
                    continue

    def _refuse_to_begin_anew(self) -> None:
        """Raise RemovedError where the marker exists, and the database is missing or empty."""
        mark = mark_of(self._path)
        if self._place is not None or not mark.exists():
            return
        try:
            is_there = self._path.stat().st_size > 0
        except OSError:
            is_there = False
        if not is_there:
            raise RemovedError(
                f"the database {self._path} was removed, and no empty one takes its place: put it "
                f"back or restore a backup; to begin anew, remove {mark} too"
            )

    def _changed(self) -> str:
        """What has changed, in one line; empty: nothing."""
        if self._place is None:
            return ""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return f"the database {self._path} was removed"
        except OSError as error:
            return f"the database {self._path} cannot be looked at ({error.strerror})"
        if _place(status) != self._place:
            return f"the database {self._path} was replaced by another file"
        if status.st_size < HEADER_BYTES:
            return f"the database {self._path} was emptied"
        with self._lock:
            beside = dict(self._beside)
        for end, place in beside.items():
            try:
                if _place(os.stat(f"{self._path}{end}")) == place:
                    continue
            except OSError:
                pass
            with self._lock:
                if end not in self._beside:  # closed at this moment
                    continue
            return f"the file {self._path}{end} of the database was removed or replaced"
        return ""

    def _raise(self, reason: str, kind: type[Exception]) -> None:
        if reason:
            raise kind(
                f"{reason} while the service runs, and nothing is accepted that would be lost: put "
                "it back, or stop the service, restore a backup and start it again"
            )


def say_when_damaged(engine: Engine) -> None:
    """Raise OperationalError for a damaged SQLite file, as for a database that is away."""

    @event.listens_for(engine, "handle_error", retval=True)
    def _on_error(context: ExceptionContext) -> SQLAlchemyError | None:
        error = context.original_exception
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED or "file is not a database" in str(error):
            said = sqlite3.OperationalError(
                f"the database is damaged ({error}): nothing was stored; stop the service and "
                "restore a backup, or put the file back"
            )
            return OperationalError(context.statement, context.parameters, said)
        return None


def _place(status: os.stat_result) -> _Place:
    return status.st_dev, status.st_ino
