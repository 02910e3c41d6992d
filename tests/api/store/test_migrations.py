from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from api.store.database import Database, clock
from api.store.migrate import migrate
from api.store.tables.base import Base


def test_the_migrations_build_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database)
    with database.reading() as session:
        assert clock(session) > 1.7e9


def test_sqlite_keeps_foreign_keys_and_a_write_ahead_log(database: Database) -> None:
    if not database.is_sqlite:
        return
    with database.reading() as session:
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
