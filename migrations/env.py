"""Run by Alembic: migrates over the connection that :mod:`migrations` hands it."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, text

from migrations import VERSION_TABLE_SCHEMA
from storage import erasure_tables, mirrors, watch_tables  # noqa: F401 - fill the metadata
from storage.database import create_database_engine
from storage.tables import metadata


def migrate(connection: Connection) -> None:
    # Alembic makes its own table before the first migration runs.
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_TABLE_SCHEMA}"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        version_table_schema=VERSION_TABLE_SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:  # the `alembic` command, for those who write a migration
    engine = create_database_engine(os.environ["DATABASE_URL"], application_name="alembic", pool_size=1)
    with engine.begin() as connection:
        migrate(connection)
