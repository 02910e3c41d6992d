"""Alembic's entry: brings a database to the newest tables."""

from alembic import context

from api.settings import settings
from api.store.database import Database
from api.store.tables.base import Base

connection = context.config.attributes.get("connection")
if connection is not None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    database = Database(settings().database)
    with database.engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, render_as_batch=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    database.dispose()
