"""Bring a database to the newest tables, one process at a time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import migrations
from api.store.database import Database

LOCK = 0x5AF  # one advisory lock, so that ten machines that start at once migrate once


def migrate(database: Database, *, to: str = "head") -> None:
    """Run the migrations that are missing, up to a revision; does nothing when there are none."""
    config = _config()
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()


def is_current(database: Database) -> bool:
    """Whether the database has the newest tables."""
    script = ScriptDirectory.from_config(_config())
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == script.get_current_head()


def revisions() -> frozenset[str]:
    """The versions of the tables that this program knows."""
    script = ScriptDirectory.from_config(_config())
    return frozenset(revision.revision for revision in script.walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _literally(Path(migrations.__file__).parent))
    return config


def _literally(path: Path) -> str:
    """The path as a value of a configuration file, where % is syntax."""
    return str(path).replace("%", "%%")
