"""Engine, transactions, and the database's own clock.

Two ways in: `reading()` and `writing()`. On SQLite a writing transaction takes the write lock at
its beginning, so that two writers wait for each other instead of failing half-way; the threads of a
process queue for it, and readers have connections of their own, which no writer holds. Either shows
what the viewer of the context may see (`api.store.visibility`).
"""

from __future__ import annotations

import copy
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Engine,
    ExceptionContext,
    QueuePool,
    create_engine,
    event,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InternalError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from api.store import visibility
from api.store.accounts import tables as _accounts  # noqa: F401  (its tables are among ours)
from api.store.identity import DatabaseReplacedError, FileIdentity, say_when_damaged
from api.store.jsonvalues import read_json
from api.store.limits import tables as _limits  # noqa: F401  (these as well)
from api.store.tables.base import DatabaseIdentity
from api.store.turns import Turns

BUSY_SECONDS = 15.0
CONNECTIONS = 5  # to PostgreSQL, unless told
READERS = 20  # connections to SQLite for reading
POOL_SECONDS = 5.0  # that a thread waits for a connection of this process
LOOK_SECONDS = 0.002  # between two looks at SQLite's write lock that another process holds
# SQLite's lock goes to whoever asks when it is free. A process whose threads hand it on without a
# gap leaves one after so long, in which another process finds it free.
BURST_SECONDS, GAP_SECONDS = 0.02, 2 * LOOK_SECONDS
STEPS_BETWEEN_LOOKS = 100_000  # of SQLite's virtual machine: a millisecond or so
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
# A process that is stopped in the middle of a transaction must not keep its locks: a job whose
# row it holds could not be recovered.
_END_WHEN_IDLE = "set_config('idle_in_transaction_session_timeout', '20s', true)"
_END_WHEN_LONG = "set_config('statement_timeout', '{}', true)"
_END_WHEN_LOCKED = "set_config('lock_timeout', '{}', true)"
TOO_LONG = ("interrupted", "canceling statement due to statement timeout")
REFUSED = ("too many clients already", "too many connections", "connection slots are reserved")

# The server ended the transaction of a process that stood still, or is a copy that may not be
# written to: for the driver these are defects, but they pass, like a server that is away.
_PASSING = ("25006", "25P03", "25P04")

_NO_TABLE = "42P01"  # somebody emptied the database, or put another one in its place


class now(FunctionElement[float]):  # noqa: N801  (a SQL function)
    """Seconds since 1970 by the database's clock, the only clock that leases go by."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())"


def clock(session: Session) -> float:
    """The database's time, seconds since 1970."""
    with session.no_autoflush:
        return session.execute(select(now())).scalar_one()


def check_address(url: str) -> None:
    """Raise ValueError, without the password, for an address that no database can have."""
    form = "give sqlite:///… or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    try:
        scheme = make_url(url).drivername
    except ArgumentError:
        raise ValueError(f"DATABASE_URL is no address; {form}") from None
    if scheme not in DRIVERS:
        raise ValueError(f"DATABASE_URL begins with {scheme!r}; {form}")


def why_away(error: SQLAlchemyError) -> str:
    """Error of a database or its driver in one line, without a password."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    # psycopg: connection failed: connection to server at "…", port … failed: FATAL:  …
    return said.rpartition(" failed: ")[2].removeprefix("FATAL:").strip() or type(error).__name__


def is_starved(error: SQLAlchemyError) -> bool:
    """Whether no connection was free, in this process or at the server."""
    said = str(error)
    return "QueuePool limit" in said or any(refused in said for refused in REFUSED)


def took_too_long(error: SQLAlchemyError) -> bool:
    """Whether a statement was ended by its time limit."""
    said = str(getattr(error, "orig", None) or error)
    return any(words in said for words in TOO_LONG)


class Database:
    """One database, SQLite or PostgreSQL, and the transactions on it."""

    def __init__(
        self,
        url: str,
        *,
        busy_seconds: float = BUSY_SECONDS,
        statement_seconds: float = 0.0,
        connections: int = CONNECTIONS,
    ) -> None:
        """`busy_seconds` is how long to wait for the write lock of SQLite; then OperationalError,
        or TimeoutError where threads of this process had it. `statement_seconds` is what a
        transaction on SQLite, a statement on PostgreSQL may take, 0: any time; then
        OperationalError. At most `connections` are opened to PostgreSQL; TimeoutError where all of
        them are in use for 5 s.

        Nothing is connected yet. Raises ValueError as `check_address`.
        """
        check_address(url)
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            with suppress(OSError):  # who connects learns that the file cannot be had
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self._busy_seconds = busy_seconds
        self._turns = Turns()
        self._file: FileIdentity | None = None
        self._id: str | None = None
        if self.is_sqlite:
            if parsed.database and parsed.database != ":memory:":
                self._file = FileIdentity(Path(parsed.database).absolute())
            self.engine = _sqlite(url, busy_seconds, self._file)
            self.writer = _sqlite(url, busy_seconds, self._file, self._turns)
        else:
            self.engine = self.writer = create_engine(
                url,
                json_deserializer=read_json,
                pool_pre_ping=True,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=POOL_SECONDS,
                connect_args={
                    "connect_timeout": 5,
                    "application_name": "saf",
                    # A server that vanished without a word is given up after some 20 s.
                    "keepalives_idle": 10,
                    "keepalives_interval": 5,
                    "keepalives_count": 2,
                    "tcp_user_timeout": 20_000,
                },
            )
            _prepare_postgresql(self.engine)
        self._limit(statement_seconds)

    def patient(self) -> Database:
        """The same database, with shared connections, for work without a time limit."""
        other = copy.copy(self)
        other._limit(0.0)
        return other

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Context manager: a session for reading; nothing is committed."""
        with Session(self._reading, expire_on_commit=False) as session:
            visibility.restrict(session)
            yield session

    @contextmanager
    def writing(self, *, patience: float | None = None) -> Iterator[Session]:
        """Context manager: a session whose transaction is committed at the end, or rolled back
        by an exception. It waits at most `patience` seconds for others who write, on SQLite for
        all of them together and on PostgreSQL for each; None: as long as this database does."""
        engine = self._writing
        if patience is not None:
            engine = engine.execution_options(patience=patience)
        with (
            self._turn(self._busy_seconds if patience is None else patience),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            visibility.restrict(session)
            yield session
        if self._file is not None:
            self._file.check()  # before anybody takes the commit for done

    def confirm(self, session: Session) -> None:
        """Raise DatabaseReplacedError unless this is the database that the process began with."""
        found = session.scalar(select(DatabaseIdentity.id).limit(1))
        if self._id is None:
            self._id = found
            if self._file is not None and found is not None:
                self._file.remember(found)
        if found != self._id:
            raise DatabaseReplacedError(
                "the database was replaced by another one while the service runs, and nothing is "
                "accepted that would be lost: put it back, or start the service again"
            )

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self.writer.dispose()

    def _limit(self, seconds: float) -> None:
        self._reading = self.engine.execution_options(seconds=seconds)
        self._writing = self.writer.execution_options(seconds=seconds, writes=True)

    @contextmanager
    def _turn(self, seconds: float) -> Iterator[None]:
        """Wait for the turn to write, where one thread can write at a time."""
        if not self.is_sqlite:
            yield
            return
        if not self._turns.take(seconds):
            raise PoolTimeoutError(
                f"database is locked: {self._turns.waiting} threads of this process wait to write"
            )
        try:
            yield
        finally:
            if self._turns.waiting and self._turns.busy_seconds > BURST_SECONDS:
                self._turns.rest(GAP_SECONDS)
            self._turns.give()


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error", retval=True)
    def _on_error(context: ExceptionContext) -> SQLAlchemyError | None:
        error = context.sqlalchemy_exception
        state = getattr(getattr(error, "orig", None), "sqlstate", "")
        passes = isinstance(error, InternalError) and state in _PASSING
        if passes or (isinstance(error, ProgrammingError) and state == _NO_TABLE):
            assert isinstance(error, DBAPIError)
            return OperationalError(error.statement, error.params, context.original_exception)
        return None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        limits = [_END_WHEN_IDLE] if options.get("writes") else []
        if seconds := options.get("seconds"):
            limits.append(_END_WHEN_LONG.format(round(1000 * seconds)))
        if patience := options.get("patience"):
            limits.append(_END_WHEN_LOCKED.format(round(1000 * patience)))
        if limits:
            connection.exec_driver_sql("SELECT " + ", ".join(limits))


class _Deadline:
    """Time until which a connection to SQLite may compute."""

    def __init__(self) -> None:
        self.at = math.inf

    def is_over(self) -> bool:
        return time.monotonic() > self.at


def _sqlite(
    url: str, busy_seconds: float, file: FileIdentity | None, turns: Turns | None = None
) -> Engine:
    """An engine for reading, or with `turns` for writing, which one thread at a time uses."""
    engine = create_engine(
        url,
        json_deserializer=read_json,
        poolclass=QueuePool,
        pool_size=1 if turns else READERS,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        connect_args={"timeout": busy_seconds},
    )
    say_when_damaged(engine)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        # A text that is no UTF-8 stops no query.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        cursor = connection.cursor()
        # Of a new file only: what is deleted can be given back to the disk
        # (`api.maintenance.space`). Of any other one it would wait for the write lock.
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # Last, as those above may have to wait too. Writers wait below.
        cursor.execute(f"PRAGMA busy_timeout={0 if turns else round(1000 * busy_seconds)}")
        cursor.close()
        deadline = record.info["deadline"] = _Deadline()
        connection.set_progress_handler(deadline.is_over, STEPS_BETWEEN_LOOKS)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if file is not None:
            file.check()
        connection.info["deadline"].at = math.inf
        if turns:
            _begin_writing(connection, turns.ends_waiting)
        else:
            connection.exec_driver_sql(f"BEGIN {options.get('sqlite_begin', 'DEFERRED')}")
        if seconds := options.get("seconds"):
            connection.info["deadline"].at = time.monotonic() + seconds

    if file is not None:
        file.watch(engine)
    return engine


def _begin_writing(connection: Connection, until: float) -> None:
    """Take the write lock as soon as it is free. SQLite itself polls ever less often, so that
    those who have waited longest would wait longest."""
    driver: Any = connection.connection.dbapi_connection
    while time.monotonic() < until:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                break
        time.sleep(LOOK_SECONDS)
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # for the error of it
