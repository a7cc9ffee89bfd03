"""Export the meter values of a tenant's month to a file, to keep them after the month is dropped from Postgres."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from analytics.export.destination import Destination
from analytics.export.errors import ExportError
from analytics.export.run import MAX_GROUP_ROWS, row_groups
from analytics.export.snapshot import snapshot

#: The columns of the file. A reading is text: a charge point may send any number of digits.
SCHEMA = pa.schema(
    [
        pa.field("session_id", pa.int64(), nullable=False),
        pa.field("measured_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("measurand", pa.string(), nullable=False),
        pa.field("ordinal", pa.int16(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("unit", pa.string()),
        pa.field("location", pa.string()),
        pa.field("evse_id", pa.int64()),
        pa.field("charge_point_id", pa.int64()),
        pa.field("notification_id", pa.string()),
    ]
)

_AS_TEXT = ("value", "notification_id")


@dataclass(frozen=True, slots=True)
class ExportedMonth:
    """How much of a month is written; ``is_done`` once the file has its name."""

    rows: int
    bytes: int
    is_done: bool = False


def month_of(month: str) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a month in UTC.

    Parameters:
        month: such as ``2026-01``.

    Raises:
        ExportError: it is no month.
    """
    try:
        began_at = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        ended_at = began_at.replace(year=began_at.year + began_at.month // 12, month=began_at.month % 12 + 1)
    except ValueError:
        raise ExportError(f"--meter-values: {month} is no month such as 2026-01.") from None
    return began_at, ended_at


def export_month(database_url: str, destination: Destination, tenant: str, month: str) -> Generator[ExportedMonth]:
    """Export a month, in place of an earlier file of it, and yield the progress; the export may end there.

    Raises:
        ExportError: the month is none, is not over, or was dropped, or Postgres or the destination fails.
        DatabaseUrlError: the URL cannot be read.
    """
    began_at, ended_at = month_of(month)
    if ended_at > datetime.now(UTC):
        raise ExportError(f"--meter-values: {month} is not over yet.")
    destination.remove_temporary()
    path = f"table=meter_value/tenant={tenant}/month={month}/meter-values.parquet"
    rows = 0
    with snapshot(database_url) as tables:
        if tables.holds(f"SELECT EXISTS (SELECT FROM ingest.dropped_month WHERE ended_at >= '{ended_at}')"):  # noqa: S608 - ours
            raise ExportError(f"--meter-values: the meter values of {month} were dropped from Postgres.")
        with (
            destination.writing(path) as sink,
            pq.ParquetWriter(sink, SCHEMA.with_metadata({"tenant": tenant}), compression="zstd") as writer,
        ):
            for group in row_groups(tables.batches(_query(tenant, began_at, ended_at))):
                writer.write_table(group.cast(writer.schema), row_group_size=MAX_GROUP_ROWS)
                rows += group.num_rows
                yield ExportedMonth(rows, sink.size)
        yield ExportedMonth(rows, sink.size, is_done=True)


def _query(tenant: str, began_at: datetime, ended_at: datetime) -> str:
    """Return the query of the samples of a month. Index: none; it reads the partition of the month."""
    columns = ", ".join(f"CAST({name} AS text) AS {name}" if name in _AS_TEXT else name for name in SCHEMA.names)
    return (
        f"SELECT {columns} FROM charging.meter_value"  # noqa: S608 - values are quoted
        f" WHERE tenant = {sql.quote(tenant)} AND measured_at >= '{began_at}' AND measured_at < '{ended_at}'"
    )
