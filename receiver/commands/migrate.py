"""The command ``migrate``, which migrates the database to a revision, up or back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Connection, Engine, text

import migrations
from migrations import MigrationError, roles
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.progress import WorkProgress
from receiver.environment import database, running
from receiver.terminal import console, errors
from storage.inbox.partitions import make_partitions
from storage.state.meter_partitions import make_meter_partitions

#: Rows of a table are counted up to this number; beyond it Postgres's estimate is shown.
MAX_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class LostTable:
    """A table that a downgrade drops with its rows.

    Attributes:
        table: its name, as ``schema.table``.
        holds: its comment.
        rows: number of its rows.
        is_estimated: whether the number is Postgres's estimate.
    """

    table: str
    holds: str | None
    rows: int
    is_estimated: bool


def migrate(
    revision: Annotated[
        str, typer.Argument(help="Revision to migrate to, up or back; `base` removes everything.")
    ] = "head",
    yes: Annotated[bool, typer.Option("--yes", help="Migrate back without asking for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Migrate the database to the tables of this release, and make partitions ahead of time."""
    with running("migrate", needs_tenants=False) as settings, database(settings) as engine:
        with engine.connect() as connection:
            before = migrations.current(connection)
        target = migrations.head() if revision == "head" else revision
        tables: list[LostTable] = []
        columns: list[str] = []
        if _is_back(before, target):
            tables, columns = _go_back(engine, before, target, yes=yes, as_json=as_json)
        elif target != migrations.BASE:
            with _progress(before, target) as on_revision:
                missing = migrations.upgrade(engine, target, on_revision=on_revision)
            if missing:
                errors.print(roles.advice(missing), style="yellow", soft_wrap=True)
        if target == migrations.head():
            make_partitions(engine)
            make_meter_partitions(engine)
        if as_json:
            dropped = {"tables": [asdict(table) for table in tables], "columns": columns}
            print_json({"from": before, "to": target, "dropped": dropped})
        else:
            console.print(_summary(before, target))


@contextmanager
def _progress(before: str | None, target: str) -> Iterator[Callable[[str], None]]:
    """Show the progress of a migration; yield what to call after each revision."""
    steps = [migrations.BASE, *migrations.revisions()]
    begin, end = steps.index(before or migrations.BASE), steps.index(target)
    with WorkProgress("revisions") as progress:
        piece = progress.begin(abs(end - begin), work="migrating")

        def on_revision(revision: str) -> None:
            # A revision that is removed is counted from the one above it.
            piece.advance(abs(steps.index(revision) - begin) + (end < begin), note=revision)

        yield on_revision


def _summary(before: str | None, target: str) -> str:
    if target == (before or migrations.BASE):
        return f"The database is at revision {before or 'none'} already."
    back = " back" if _is_back(before, target) else ""
    return f"Migrated{back} from {before or 'nothing'} to {target}."


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


def _go_back(
    engine: Engine, before: str | None, target: str, *, yes: bool, as_json: bool
) -> tuple[list[LostTable], list[str]]:
    """Migrate back, if the option or the operator says so; return what that dropped.

    Raises:
        MigrationError: the service runs, or the operator cannot be asked.
    """
    with engine.connect() as connection:
        migrations.require_alone(connection)
    losses = migrations.losses(engine, target)
    with engine.connect() as connection:
        tables = [table for name in losses.tables if (table := _lost_table(connection, name)).rows]
    if not as_json:
        _show(tables, losses.columns, f"Going back from {before} to {target} drops")
    if not yes:
        if as_json or not console.is_terminal:
            raise MigrationError("what going back drops is in no log, only in a backup: add --yes to go back.")
        typer.confirm(f"Go back to {target}?", abort=True)
    with _progress(before, target) as on_revision:
        migrations.downgrade(engine, target, on_revision=on_revision)
    return tables, losses.columns


def _show(tables: Sequence[LostTable], columns: Sequence[str], title: str) -> None:
    table = Table("Table", "Holds", title=f"{title} for good", title_justify="left")
    table.add_column("Rows", justify="right")
    for lost in tables:
        table.add_row(lost.table, lost.holds, f"{'about ' if lost.is_estimated else ''}{lost.rows:,}")
    if tables:
        console.print(table)
    for column in columns:
        console.print(f"{title} for good the column {column}.", highlight=False, soft_wrap=True)
    if not tables and not columns:
        console.print(f"{title} no row.", highlight=False, soft_wrap=True)


def _lost_table(connection: Connection, table: str) -> LostTable:
    """Count the rows of a table up to ``MAX_COUNTED``; return the estimate of a longer one."""
    schema, name = table.split(".")
    quoted = f'"{schema}"."{name}"'
    described = text("SELECT obj_description(CAST(:name AS regclass), 'pg_class')")
    holds = connection.execute(described, {"name": table}).scalar()
    counted = connection.execute(
        text(f"SELECT count(*) FROM (SELECT FROM {quoted} LIMIT {MAX_COUNTED + 1}) AS counted")  # noqa: S608 - ours
    ).scalar_one()
    if counted <= MAX_COUNTED:
        return LostTable(table, holds, counted, is_estimated=False)
    estimated = connection.execute(
        text("""
            SELECT sum(greatest(reltuples, 0))
              FROM pg_class
             WHERE relkind = 'r'
               AND (oid = CAST(:name AS regclass) OR oid IN (SELECT relid FROM pg_partition_tree(:name)))
        """),
        {"name": quoted},
    ).scalar()
    return LostTable(table, holds, max(int(estimated or 0), counted), is_estimated=True)
