"""Migration of a database to the newest tables, one process at a time."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import migrations
from api.store.database import Database

LOCK = 0x5AF  # one advisory lock, so that ten machines that start at once migrate once


class NewerDatabaseError(ValueError):
    """The tables are of a version that this program does not know; it must not write to them."""


def refuse_newer(database: Database) -> None:
    """Raise NewerDatabaseError where a newer version of this program has made the tables."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    unknown = sorted(set(found) - revisions())
    if unknown:
        raise NewerDatabaseError(
            "the database is of a newer version of this program: its tables are of version "
            f"{unknown[0]!r}, and {newest()!r} is the newest that this one knows. Start the newer "
            "version, or restore a backup that was written before it"
        )


def migrate(database: Database, *, to: str = "head") -> None:
    """Run the migrations that are missing, up to a revision; does nothing when there are none.

    Raises NewerDatabaseError, and then changes nothing.
    """
    refuse_newer(database)
    if to == "head" and is_current(database):
        return
    config = _config()
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()


def is_current(database: Database) -> bool:
    """Whether the database has the newest tables."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_heads() == (newest(),)


@cache
def revisions() -> frozenset[str]:
    """The versions of the tables that this program knows."""
    return frozenset(revision.revision for revision in _scripts().walk_revisions())


@cache
def newest() -> str | None:
    """The newest of them."""
    return _scripts().get_current_head()


@cache
def _scripts() -> ScriptDirectory:
    """All migrations, each a file that is loaded for it."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _literally(Path(migrations.__file__).parent))
    return config


def _literally(path: Path) -> str:
    """The path as a value of a configuration file, where % is syntax."""
    return str(path).replace("%", "%%")
