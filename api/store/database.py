"""Engine, transactions, and the database's own clock.

Two ways in: `reading()` and `writing()`. On SQLite a writing transaction takes the write lock at
its beginning, so that two writers wait for each other instead of failing half-way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

BUSY_SECONDS = 15.0
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
# A process that is stopped in the middle of a transaction must not keep its locks: a job whose
# row it holds could not be recovered.
_END_WHEN_IDLE = text("SET LOCAL idle_in_transaction_session_timeout = '20s'")

# The server ended the transaction of a process that stood still, or is a copy that may not be
# written to: for the driver these are defects, but they pass, like a server that is away.
_PASSING = ("25006", "25P03", "25P04")

_SERVER_START = text("SELECT extract(epoch from pg_postmaster_start_time())::float8")


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


def started_at(session: Session) -> float | None:
    """When the database server started, by its clock; None for SQLite, which has none."""
    if session.get_bind().dialect.name != "postgresql":
        return None
    return float(session.scalar(_SERVER_START) or 0.0)


def check_address(url: str) -> None:
    """Raise ValueError for an address that no database can have; it does not tell the password."""
    form = "give sqlite:///… or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    try:
        scheme = make_url(url).drivername
    except ArgumentError:
        raise ValueError(f"DATABASE_URL is no address; {form}") from None
    if scheme not in DRIVERS:
        raise ValueError(f"DATABASE_URL begins with {scheme!r}; {form}")


def why_away(error: SQLAlchemyError) -> str:
    """What a database or its driver says, in one line and without a password."""
    said = str(getattr(error, "orig", None) or error).partition("\n")[0]
    # psycopg: connection failed: connection to server at "…", port … failed: FATAL:  …
    return said.rpartition(" failed: ")[2].removeprefix("FATAL:").strip() or type(error).__name__


class Database:
    """One database, SQLite or PostgreSQL, and the transactions on it."""

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """`busy_seconds` is how long to wait for a lock of SQLite; then OperationalError.

        Nothing is connected yet. Raises ValueError as `check_address`.
        """
        check_address(url)
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            with suppress(OSError):  # who connects learns that the file cannot be had
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        if self.is_sqlite:
            self.engine = create_engine(url, connect_args={"timeout": busy_seconds})
            _prepare_sqlite(self.engine, busy_seconds)
        else:
            self.engine = create_engine(
                url,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=20,
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
        self._writing = self.engine.execution_options(sqlite_begin="IMMEDIATE")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading; nothing is committed."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose transaction is committed at the end, or rolled back by an exception."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            if not self.is_sqlite:
                session.execute(_END_WHEN_IDLE)
            yield session

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error", retval=True)
    def _on_error(context: ExceptionContext) -> SQLAlchemyError | None:
        error = context.sqlalchemy_exception
        if isinstance(error, InternalError) and getattr(error.orig, "sqlstate", "") in _PASSING:
            return OperationalError(error.statement, error.params, context.original_exception)
        return None


def _prepare_sqlite(engine: Engine, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute(f"PRAGMA busy_timeout={round(1000 * busy_seconds)}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")
