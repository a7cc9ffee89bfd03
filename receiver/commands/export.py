"""The command ``export``, which writes the contract's rows to Parquet files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Engine

from ampeco.values import MAX_BIGINT
from analytics.export.errors import ExportError
from receiver.commands.progress import Piece, Stop, WorkProgress, until_asked_to_stop
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors

if TYPE_CHECKING:
    from analytics.export.destination import Destination
    from analytics.export.run import Progress as Reached


class Format(StrEnum):
    """The formats of exported files."""

    PARQUET = "parquet"


def export(
    to: Annotated[str, typer.Option(help="Where the files go: a folder, or s3://bucket/prefix.")],
    since_change: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MAX_BIGINT,
            help="Export the changes after this number that are missing there; by default, after the newest.",
        ),
    ] = None,
    meter_values: Annotated[
        str | None,
        typer.Option(metavar="MONTH", help="Export the meter values of a month instead, such as 2026-01."),
    ] = None,
    tenant: TenantOption = None,
    file_format: Annotated[Format, typer.Option("--format", help="Format of the files.")] = Format.PARQUET,
) -> None:
    """Export the tables of the schema analytics to files, continuing after the last export."""
    del file_format  # there is one
    if meter_values is not None and since_change is not None:
        raise typer.BadParameter("--meter-values and --since-change exclude each other.")
    _require_packages()
    with running("export") as settings:
        require_migrated(settings)
        with database(settings, pool_size=1, process="export") as engine:
            for name in chosen_tenants(settings, tenant):
                if meter_values is not None:
                    _export_month(engine, settings.required_database_url(), name, to, meter_values)
                else:
                    _export(engine, settings.required_database_url(), name, to, since_change)


def _require_packages() -> None:
    try:
        import adbc_driver_postgresql.dbapi  # noqa: F401
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"the package {error.name or 'pyarrow'}, which exports need, is not installed:"
            " install ampeco-receiver[export]."
        ) from None


def _export(engine: Engine, database_url: str, tenant: str, to: str, since: int | None) -> None:
    from analytics.export.destination import destination
    from analytics.export.run import export

    place = destination(to, tenant, os.environ)
    reports = export(database_url, place, tenant, since)
    reached = None
    with _running(engine, tenant, place, reports, "changes") as (piece, stop):
        for reached in reports:
            done, total = reached.reached - reached.since, reached.last - reached.since
            piece.advance(done, total=total, note=f"{reached.rows:,} rows", rows=reached.rows)
            if stop.is_set():
                errors.print(f"{tenant}: stopped. Run the same command again to continue.", highlight=False)
                raise typer.Exit(stop.exit_code)
    console.print(_summary(tenant, reached), highlight=False, soft_wrap=True)


def _export_month(engine: Engine, database_url: str, tenant: str, to: str, month: str) -> None:
    from analytics.export.destination import destination
    from analytics.export.meter_values import export_month

    place = destination(to, tenant, os.environ)
    reports = export_month(database_url, place, tenant, month)
    with _running(engine, tenant, place, reports, "meter values") as (piece, stop):
        for reached in reports:
            piece.advance(reached.rows, note=month, rows=reached.rows)
            if stop.is_set() and not reached.is_done:
                errors.print(f"{tenant}: stopped, and nothing was written.", highlight=False)
                raise typer.Exit(stop.exit_code)
    console.print(
        f"{tenant}: {reached.rows:,} meter values of {month}, {reached.bytes:,} bytes.", highlight=False, soft_wrap=True
    )


@contextlib.contextmanager
def _running(
    engine: Engine, tenant: str, place: Destination, reports: Generator[object], unit: str
) -> Iterator[tuple[Piece, Stop]]:
    """Exclude other exports to a place and show the progress of one, which ends with the block."""
    from analytics.export.run import alone

    with (
        alone(engine, tenant, place),
        WorkProgress(unit) as progress,
        until_asked_to_stop() as stop,
        contextlib.closing(reports),
    ):
        yield progress.begin(None, tenant=tenant), stop


def _summary(tenant: str, reached: Reached | None) -> str:
    if reached is None:
        return f"{tenant}: nothing was derived yet."
    if reached.reached == reached.since:
        return f"{tenant}: nothing changed since change {reached.since}."
    return (
        f"{tenant}: {reached.rows:,} rows in {reached.files:,} files, {reached.bytes:,} bytes;"
        f" changes {reached.since + 1} to {reached.reached}."
    )
