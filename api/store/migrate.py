"""Bring a database to the newest tables, one process at a time."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import migrations
from api.store.database import Database

LOCK = 0x5AF  # one advisory lock, so that ten machines that start at once migrate once


def migrate(database: Database) -> None:
    """Run the migrations that are missing; does nothing when there are none."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
