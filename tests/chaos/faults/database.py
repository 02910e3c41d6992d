"""Faults of the database as a whole: removed, or another one in its place, under the service.

Each function begins one and says whether there was something to break.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from api.store.database import Database
from api.store.migrate import migrate
from tests.chaos.cluster import DATABASE_NAME, SQLITE_FILE, Cluster
from tests.chaos.faults.means import Means

AWAY, OTHER = f"{DATABASE_NAME}_away", f"{DATABASE_NAME}_other"
BESIDE = ("", "-wal", "-shm")
REPLACED_SECONDS = 1.5


def remove_database(means: Means) -> bool:
    """Take it away, and put it back later. Processes that are started meanwhile do without it."""
    if not means.is_free("database"):
        return False
    watch = means.watch("remove the database", means.observer.active(), means.ready)
    if means.cluster.postgres is None:
        ends = means.choose.choice([BESIDE, ("",)])
        put_back = _move_away(means, ends)
    else:
        put_back = _rename_away(means.cluster)
    is_away = threading.Event()
    is_away.set()
    _ask_meanwhile(means, is_away)

    def heal() -> None:
        is_away.clear()
        put_back()

    seconds = means.cluster.times.lease_seconds * means.choose.uniform(0.3, 1.2)
    return means.last(watch, "database", seconds, heal)


def replace_database(means: Means) -> bool:
    """Put another one in its place for a moment, in which nothing else happens: a process that is
    started on the other one could not know it."""
    if not means.is_free("database") or not all(m.is_settled for m in means.cluster.members):
        return False
    watch = means.watch("replace the database", means.observer.active(), means.ready)
    cluster = means.cluster
    if cluster.postgres is None:
        replace = means.choose.choice([_by_a_copy, _by_nothing_beside])
        put_back = replace(means)
    else:
        put_back = _rename_away(cluster)
        _make_other(cluster)
        cluster.postgres.rename_database(OTHER, DATABASE_NAME)
        put_away = put_back

        def put_back() -> None:
            cluster.postgres.rename_database(DATABASE_NAME, OTHER)  # type: ignore[union-attr]
            put_away()

    is_away = threading.Event()
    is_away.set()
    _ask_meanwhile(means, is_away)
    time.sleep(REPLACED_SECONDS)
    is_away.clear()
    put_back()
    watch.since = time.monotonic()
    return True


def _ask_meanwhile(means: Means, is_away: threading.Event) -> None:
    """A client submits and asks whether the service is ready. Neither is answered as if all were
    well; the job is submitted again once the database is back."""
    means.keys += 1
    key = f"chaos-{means.seed}-without-database-{means.keys}"

    def ask() -> None:
        while is_away.is_set():
            ready = means.cluster.answers("/readyz")
            if ready and is_away.is_set():
                means.memory.violated("ready without its database", key, "/readyz answers 200")
            status = means.clients.try_to_submit(key)
            if status == 201 and is_away.is_set():
                means.memory.violated("accepted without a database", key, f"answer {status}")
            time.sleep(0.2)
        means.clients.submit(key)

    thread = threading.Thread(target=ask, name="asks without a database", daemon=True)
    thread.start()
    means.clients.also_wait_for(thread)


def _move_away(means: Means, ends: tuple[str, ...]) -> Callable[[], None]:
    """Move files of SQLite's database into a folder beside it; what puts them back."""
    path = means.cluster.directory / SQLITE_FILE
    away = means.cluster.directory / AWAY
    away.mkdir(exist_ok=True)
    moved = [Path(f"{path}{end}") for end in ends if Path(f"{path}{end}").exists()]
    for file in moved:
        file.rename(away / file.name)

    def put_back() -> None:
        if path in moved and path.exists():
            size = path.stat().st_size
            means.memory.violated("another database in its place", path.name, f"{size} bytes")
        for file in reversed(moved):
            (away / file.name).rename(file)

    return put_back


def _by_a_copy(means: Means) -> Callable[[], None]:
    """As a restore by hand does."""
    path = means.cluster.directory / SQLITE_FILE
    copy, original = path.with_name("copy"), path.with_name("original")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    target.close()
    source.close()
    original.unlink(missing_ok=True)
    original.hardlink_to(path)
    copy.rename(path)
    return lambda: _rename(original, path)


def _by_nothing_beside(means: Means) -> Callable[[], None]:
    """A file that SQLite keeps beside it is gone, and with it what was written last."""
    return _move_away(means, (means.choose.choice(BESIDE[1:]),))


def _rename(source: Path, target: Path) -> None:
    source.rename(target)


def _rename_away(cluster: Cluster) -> Callable[[], None]:
    assert cluster.postgres is not None
    postgres = cluster.postgres
    postgres.rename_database(DATABASE_NAME, AWAY)
    return lambda: postgres.rename_database(AWAY, DATABASE_NAME)


def _make_other(cluster: Cluster) -> None:
    """A database with the same tables and another identity, once."""
    assert cluster.postgres is not None
    if cluster.postgres.has_database(OTHER):
        return
    database = Database(cluster.postgres.create_database(OTHER))
    migrate(database)
    database.dispose()
