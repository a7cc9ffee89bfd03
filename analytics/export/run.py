"""Export a tenant's changes by ranges of change numbers, each read in a snapshot of its own.

The last range ends with the newest change of its own snapshot. A row of an earlier range that changed or went since
then has a change in a later one, so all ranges together are the tables as the last snapshot sees them. For the same
reason a range that was interrupted may be completed from another snapshot, if a further range follows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine

from analytics.export.columns import Exported, exported_tables
from analytics.export.destination import Destination
from analytics.export.errors import ExportError
from analytics.export.manifest import ExportedFile, Exports, Manifest, Range, covered
from analytics.export.snapshot import Feed, Snapshot, snapshot
from storage.database import wait_in_transaction
from storage.locks import try_lock_export

#: The most change numbers of a range: a snapshot lasts for seconds, and files have a size that readers like.
MAX_RANGE = 1_000_000

#: The most rows, and about the most bytes, of a row group, which is in memory as a whole.
MAX_GROUP_ROWS = 100_000
MAX_GROUP_BYTES = 64 * 2**20


@dataclass(slots=True)
class Progress:
    """How far the export of a tenant has come.

    Attributes:
        since: the number after which it began.
        reached: the number up to which everything is exported.
        last: the newest number.
        rows: how many rows were written.
        files: how many files were written.
        bytes: the size of these files.
    """

    since: int
    reached: int
    last: int
    rows: int = 0
    files: int = 0
    bytes: int = 0


@contextlib.contextmanager
def alone(engine: Engine, tenant: str, destination: Destination) -> Iterator[None]:
    """Exclude other exports of the tenant to the destination during the block.

    Raises:
        ExportError: another one is running.
    """
    with engine.connect() as connection:
        wait_in_transaction(connection)
        if not try_lock_export(connection, tenant, destination.shown):
            raise ExportError(f"{tenant}: an export to {destination.shown} is running; let it end first.")
        yield


def export(database_url: str, destination: Destination, tenant: str, since: int | None = None) -> Generator[Progress]:
    """Export what is missing at a destination, and yield the progress after each file; the export may end there.

    Parameters:
        database_url: the URL of the database.
        destination: where the files go.
        tenant: the tenant.
        since: export the changes after this number that are missing; None: those after the newest export.

    Raises:
        ExportError: Postgres or the destination fails, or the numbers do not continue what was exported.
        DatabaseUrlError: the URL cannot be read.
    """
    destination.remove_temporary()
    exports = Exports(destination, tenant)
    newest, interrupted = exports.newest(), exports.unfinished()
    progress: Progress | None = None
    while True:
        with snapshot(database_url) as tables:
            feed = tables.feed(tenant)
            if feed is None:
                return
            for known in (newest, interrupted):
                if known is not None:
                    _require_continued(known, feed, destination)
            reached = covered(exports.ranges, since if since is not None else exports.last or 0)
            _require_no_gap(reached, exports, feed, destination, tenant)
            if progress is None:
                progress = Progress(reached, reached, feed.last)
            progress.reached, progress.last = reached, feed.last
            if interrupted is not None:
                yield from _export_range(tables, destination, exports, interrupted, progress)
                interrupted = None
                continue
            if reached < feed.last:
                wanted = Range(reached + 1, min(reached + MAX_RANGE, feed.last))
                manifest = Manifest(feed.contract, feed.epoch, tenant, wanted)
                yield from _export_range(tables, destination, exports, manifest, progress)
                progress.reached = wanted.last
            if progress.reached == feed.last:
                yield progress
                return


def _require_continued(known: Manifest, feed: Feed, destination: Destination) -> None:
    """Fail if the numbers of the feed do not continue those of an export."""
    version = known.contract.partition(".")[0]
    if known.epoch != feed.epoch or known.range.last > feed.last:
        reason = (
            "its change numbers were given again since the last export, as the database was restored or failed over"
        )
    elif version != feed.contract.partition(".")[0]:
        reason = f"what was exported is of version {version} of the contract"
    else:
        return
    raise ExportError(
        f"{known.tenant}: {reason}: export everything again, with --since-change 0 and to another place than"
        f" {destination.shown}."
    )


def _require_no_gap(reached: int, exports: Exports, feed: Feed, destination: Destination, tenant: str) -> None:
    last = exports.last
    if reached > feed.last:
        raise ExportError(f"{tenant}: --since-change: the newest change has the number {feed.last}.")
    if last is not None and reached > last:
        raise ExportError(
            f"{tenant}: --since-change: the changes from {last + 1} to {reached} would be missing at"
            f" {destination.shown}; leave the option out to continue there."
        )


def _export_range(
    tables: Snapshot, destination: Destination, exports: Exports, manifest: Manifest, progress: Progress
) -> Iterator[Progress]:
    """Export the files of a range that are missing, then its manifest."""
    wanted = manifest.range
    manifest = replace(manifest, files=tuple(file for file in manifest.files if _is_there(file, destination)))
    exports.begin(manifest)
    there = {(file.table, file.month) for file in manifest.files}
    counted = [
        (table, month, rows)
        for table in exported_tables()
        for month, rows in tables.months(table.months(manifest.tenant, wanted.first, wanted.last)).items()
        if (table.name, month) not in there
    ]
    total, done = sum(rows for _, _, rows in counted), 0
    for table, month, rows in counted:
        batches = tables.batches(table.rows(manifest.tenant, wanted.first, wanted.last, month))
        file = _write_file(destination, exports, manifest, table, month, batches)
        manifest = replace(manifest, files=(*manifest.files, file))
        done += rows
        progress.rows += file.rows
        progress.files += 1
        progress.bytes += file.bytes
        progress.reached = wanted.first - 1 + (wanted.last - wanted.first + 1) * done // total
        yield progress
    exports.end(manifest)


def _is_there(file: ExportedFile, destination: Destination) -> bool:
    return destination.size(file.path) == file.bytes


def _write_file(
    destination: Destination,
    exports: Exports,
    manifest: Manifest,
    table: Exported,
    month: str,
    batches: Iterable[pa.RecordBatch],
) -> ExportedFile:
    """Write the rows of a table and a month, and note the file before it gets its name."""
    folder = f"table={table.name}/tenant={manifest.tenant}/changed_month={month}"
    path = f"{folder}/{manifest.range.name}.parquet"
    schema = table.schema.with_metadata(
        {"contract": manifest.contract, "epoch": manifest.epoch, "tenant": manifest.tenant, "table": table.name}
    )
    rows = 0
    with destination.writing(path) as sink:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in row_groups(batches):
                writer.write_table(group.cast(schema), row_group_size=MAX_GROUP_ROWS)
                rows += group.num_rows
        file = ExportedFile(path, table.name, month, rows, sink.size, sink.sha256)
        exports.begin(replace(manifest, files=(*manifest.files, file)))
    return file


def row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows of batches in tables of at most :data:`MAX_GROUP_ROWS` rows, full ones unless rows are long."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        table = pa.Table.from_batches(waiting)
        while table.num_rows >= MAX_GROUP_ROWS:
            yield table.slice(0, MAX_GROUP_ROWS)
            table = table.slice(MAX_GROUP_ROWS)
        if table.nbytes >= MAX_GROUP_BYTES:
            yield table
            table = table.slice(table.num_rows)
        waiting = table.to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting)
