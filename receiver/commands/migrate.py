"""The command ``migrate``, which migrates the database to a revision, up or back."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Connection, Engine, text

import migrations
from migrations import Losses, MigrationError
from receiver.environment import database, running
from receiver.terminal import console, errors
from storage.inbox.partitions import make_partitions

#: Rows of a table are counted up to this number; beyond it Postgres's estimate is shown.
MAX_COUNTED = 100_000


def migrate(
    revision: Annotated[
        str, typer.Argument(help="Revision to migrate to, up or back; `base` removes everything.")
    ] = "head",
    yes: Annotated[bool, typer.Option("--yes", help="Migrate back without asking for confirmation.")] = False,
) -> None:
    """Migrate the database to the tables of this release, and make the partitions of the log ahead of time."""
    with running("migrate", needs_tenants=False) as settings, database(settings) as engine:
        with engine.connect() as connection:
            before = migrations.current(connection)
        target = migrations.head() if revision == "head" else revision
        if _is_back(before, target):
            _go_back(engine, before, target, yes=yes)
        elif target != migrations.BASE:
            missing = migrations.upgrade(engine, target)
            if target == before:
                console.print(f"The database is at revision {before} already.")
            else:
                console.print(f"Migrated from {before or 'nothing'} to {target}.")
            if missing:
                errors.print(migrations.roles.advice(missing), style="yellow", markup=False, soft_wrap=True)
        if target == migrations.head():
            make_partitions(engine)


def _is_back(before: str | None, target: str) -> bool:
    """Return whether a revision is earlier than the current one.

    Raises:
        MigrationError: this release does not know one of the two.
    """
    steps = [migrations.BASE, *migrations.revisions()]
    if before is not None and before not in steps:
        raise MigrationError(f"DATABASE_URL: {migrations.mismatch(before)}")
    if target not in steps:
        raise MigrationError(
            f"this release knows no revision {target}: it knows {steps[1]} to {steps[-1]}, `head` and `base`."
        )
    return steps.index(target) < steps.index(before or migrations.BASE)


def _go_back(engine: Engine, before: str | None, target: str, *, yes: bool) -> None:
    with engine.connect() as connection:
        migrations.require_alone(connection)
    _show(engine, migrations.losses(engine, target), f"Going back from {before} to {target} drops")
    if not yes:
        if not console.is_terminal:
            raise MigrationError("what going back drops is in no log, only in a backup: add --yes to go back.")
        typer.confirm(f"Go back to {target}?", abort=True)
    migrations.downgrade(engine, target)
    console.print(f"Migrated back from {before} to {target}.")


def _show(engine: Engine, losses: Losses, title: str) -> None:
    table = Table("Table", "Holds", title=f"{title} for good", title_justify="left")
    table.add_column("Rows", justify="right")
    with engine.connect() as connection:
        for name in losses.tables:
            if rows := _rows(connection, name):
                described = text("SELECT obj_description(CAST(:name AS regclass), 'pg_class')")
                table.add_row(name, connection.execute(described, {"name": name}).scalar(), rows)
    if table.row_count:
        console.print(table)
    for column in losses.columns:
        console.print(f"{title} for good the column {column}.", highlight=False, soft_wrap=True)
    if not table.row_count and not losses.columns:
        console.print(f"{title} no row.", highlight=False, soft_wrap=True)


def _rows(connection: Connection, table: str) -> str:
    """Return the number of rows of a table as text; empty for none."""
    schema, name = table.split(".")
    quoted = f'"{schema}"."{name}"'
    counted = connection.execute(
        text(f"SELECT count(*) FROM (SELECT FROM {quoted} LIMIT {MAX_COUNTED + 1}) AS counted")  # noqa: S608 - ours
    ).scalar_one()
    if counted <= MAX_COUNTED:
        return f"{counted:,}" if counted else ""
    estimated = connection.execute(
        text("""
            SELECT sum(greatest(reltuples, 0))
              FROM pg_class
             WHERE relkind = 'r'
               AND (oid = CAST(:name AS regclass) OR oid IN (SELECT relid FROM pg_partition_tree(:name)))
        """),
        {"name": quoted},
    ).scalar()
    return f"about {max(int(estimated or 0), counted):,}"
