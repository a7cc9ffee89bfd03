"""Read the contract's tables as they are at one moment, as batches of Arrow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_postgresql import StatementOptions, dbapi
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics.export.errors import ExportError
from storage.connection import settings_of_transaction
from storage.database import connection_arguments

#: Longer than any statement of a range takes; a destination that does not take data holds the snapshot no longer.
STATEMENT_TIMEOUT = timedelta(minutes=15)

#: The memory of a batch, about.
BATCH_BYTES = 4 * 2**20

#: What precedes the server's own message in a message of the driver.
_PREFIX = re.compile(r"^.*?(?:ERROR|FATAL|PANIC):\s+|^[A-Z_]+: (?:\[libpq\] )?", re.DOTALL)


_FEED = """
SELECT CAST(epoch AS text), last_change_number, major || '.' || minor
  FROM analytics.feed CROSS JOIN analytics.contract
"""


@dataclass(frozen=True, slots=True)
class Feed:
    """How far the change feed of a tenant has come.

    Attributes:
        epoch: it changes if numbers may be given twice.
        last: the number of the newest change.
        contract: the version of the contract, such as ``1.0``.
    """

    epoch: str
    last: int
    contract: str


class Snapshot:
    """One transaction that sees the database as it was when its first query began."""

    def __init__(self, connection: dbapi.Connection) -> None:
        self._connection = connection

    def feed(self, tenant: str) -> Feed | None:
        """Return how far a tenant's feed has come; None if nothing was derived for the tenant yet."""
        # Index: primary key.
        found = self._rows(f"{_FEED} WHERE tenant = {sql.quote(tenant)}")
        return Feed(*found[0]) if found else None

    def holds(self, query: str) -> bool:
        """Return the one value of a query, which is a truth."""
        return bool(self._rows(query)[0][0])

    def months(self, query: str) -> dict[str, int]:
        """Return the numbers of rows by month that a query counts."""
        return dict(self._rows(query))

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query; only a few megabytes of them are in memory."""
        with self._connection.cursor() as cursor:
            options = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)}
            cursor.adbc_statement.set_options(**options)
            with _explained():
                cursor.execute(query)
                reader = cursor.fetch_record_batch()
            while True:
                with _explained():
                    batch = next(reader, None)
                if batch is None:
                    return
                yield batch

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor, _explained():
            cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]


@contextlib.contextmanager
def snapshot(database_url: str) -> Iterator[Snapshot]:
    """Open a connection of its own for a snapshot, and close it at the end of the block.

    Raises:
        ExportError: Postgres cannot be reached, or refuses.
        DatabaseUrlError: the URL cannot be read.
    """
    # What is on a standby may be older than what was exported before.
    arguments = connection_arguments(database_url, "ampeco-receiver export") | {"target_session_attrs": "primary"}
    with _explained():
        connection = dbapi.connect(make_conninfo(**arguments), autocommit=False)
    try:
        timeout = f"'{STATEMENT_TIMEOUT // timedelta(milliseconds=1)}'"
        timeouts = {"statement_timeout": timeout, "idle_in_transaction_session_timeout": timeout}
        with connection.cursor() as cursor, _explained():
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(settings_of_transaction(timeouts))
            cursor.fetchall()
        yield Snapshot(connection)
    finally:
        with contextlib.suppress(adbc_driver_manager.Error):
            connection.close()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn errors of the driver into one sentence with the server's own message."""
    try:
        yield
    except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
        message = _PREFIX.sub("", str(error), count=1).strip().partition("\n")[0].rstrip(".")
        raise ExportError(f"Postgres: {message} (DATABASE_URL)") from error
