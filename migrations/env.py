"""Migrate over the connection that :mod:`migrations` passes; Alembic runs this module."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, text

from migrations import VERSION_TABLE_SCHEMA
from storage.database import create_database_engine
from storage.schema.tables import metadata


def migrate(connection: Connection) -> None:
    """Run the migrations that Alembic has chosen over a connection."""
    on_revision = context.config.attributes.get("on_revision", lambda _revision: None)
    # Alembic makes its own table in this schema before the first migration runs.
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {VERSION_TABLE_SCHEMA}"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        version_table_schema=VERSION_TABLE_SCHEMA,
        on_version_apply=lambda *, step, **_: on_revision(step.up_revision_id),
    )
    with context.begin_transaction():
        context.run_migrations()


passed_connection = context.config.attributes.get("connection")
if passed_connection is not None:
    migrate(passed_connection)
else:  # the `alembic` command, which developers use to write a migration
    engine = create_database_engine(os.environ["DATABASE_URL"], application_name="alembic", pool_size=1)
    with engine.begin() as connection:
        migrate(connection)
