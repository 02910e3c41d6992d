"""The room that a SQLite file keeps for what was deleted from it, given back to the disk.

A file that this program made gives it back in small steps, beside everybody else. One from before
has to be written anew for it once (`VACUUM`); meanwhile nobody else can write. PostgreSQL does all
this by itself.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from api.store.blobs.base import Item
from api.store.database import Database

LEAST_BYTES = 2**20  # that is worth it
LEAST_SHARE = 0.05  # of the file
BUSY_SECONDS = 5.0  # to wait for somebody who writes
STEP_PAGES = 1000  # in one transaction: 4 MB
INCREMENTAL = 2  # of `PRAGMA auto_vacuum`
log = logging.getLogger(__name__)


class Space:
    """The unused pages of one database."""

    def __init__(self, database: Database, *, whole: bool) -> None:
        """`whole`: a file that cannot do it in steps may be written anew."""
        self._database = database
        self._whole = whole

    def find(self) -> Iterator[Item]:
        """The unused room, where it is worth it. Raises what the database raises."""
        if not self._database.is_sqlite:
            return
        with self._database.engine.connect() as connection:
            pages, unused, size = _pages(connection)
            stepwise = _pragma(connection, "auto_vacuum") == INCREMENTAL
        if unused * size < LEAST_BYTES or unused < LEAST_SHARE * pages:
            return
        if not (stepwise or self._whole):
            return
        path = Path(self._database.engine.url.database or "")
        remove = partial(self._in_steps if stepwise else self._anew, path)
        yield Item(kind="room in the database", name=path.name, bytes=unused * size, remove=remove)

    def _in_steps(self, path: Path) -> bool:
        while True:
            with self._database.writing() as session:
                connection = session.connection()
                before = _pragma(connection, "freelist_count")
                # By the driver: it frees a page with each row that is fetched, and has no columns.
                cursor = connection.connection.cursor()
                cursor.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})")
                cursor.fetchall()
                left = _pragma(connection, "freelist_count")
            if left == 0 or left >= before:
                break
        _shorten(path)
        return True

    def _anew(self, path: Path) -> bool:
        """VACUUM needs room for a second copy, and for one in the write-ahead log."""
        with self._database.engine.connect() as connection:
            pages, unused, size = _pages(connection)
        if shutil.disk_usage(path.parent).free < 2 * (pages - unused) * size + LEAST_BYTES:
            log.warning("the disk has no room to write %s anew, so it stays as large", path)
            return False
        try:
            # A connection of its own, outside of any transaction: VACUUM begins its own.
            with closing(sqlite3.connect(path, BUSY_SECONDS, isolation_level=None)) as driver:
                driver.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
                driver.execute("VACUUM")
        except sqlite3.Error as error:
            log.warning("%s stays as large as it is: %s", path, error)
            return False
        _shorten(path)
        return True


def _shorten(path: Path) -> None:
    """Take what the write-ahead log holds into the file, which becomes shorter with it."""
    try:
        with closing(sqlite3.connect(path, BUSY_SECONDS, isolation_level=None)) as driver:
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:  # a reader of before; the next checkpoint does it
        log.info("the write-ahead log stays for now: %s", error)


def _pages(connection: Connection) -> tuple[int, int, int]:
    """(all, unused, bytes of one)."""
    names = ("page_count", "freelist_count", "page_size")
    pages, unused, size = (_pragma(connection, name) for name in names)
    return pages, unused, size


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
