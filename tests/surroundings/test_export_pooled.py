"""Behind PgBouncer, in either mode and with its settings as they are, an export reads the same rows."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from analytics.export.destination import destination
from analytics.export.errors import ExportError
from analytics.export.run import export
from tests.support.pgbouncer import PoolMode, own_pgbouncer
from tests.support.servers import own_postgres

ROWS = """
INSERT INTO analytics.finding
SELECT 't', 'rule', 'session', number, '-infinity', 'infinity', 'low', '{}', now(), NULL, number, '2026-03-01 00:00+02'
  FROM generate_series(1, 1000) AS number
"""

FEED = """
INSERT INTO analytics.feed (tenant, epoch, origin, last_change_number, derived_until)
VALUES ('t', gen_random_uuid(), '', 1000, now())
"""


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_an_export_through_a_pooler_reads_every_row(prepared: Path, tmp_path: Path, mode: PoolMode) -> None:
    with own_postgres(like=prepared) as postgres:
        with psycopg.connect(postgres.url) as connection:
            connection.execute(ROWS)
            connection.execute(FEED)
            for setting in ("TimeZone = 'Asia/Kathmandu'", "default_transaction_read_only = on"):
                connection.execute(f"ALTER ROLE postgres SET {setting}".encode())
        with own_pgbouncer(postgres, mode, ignored="") as pooler:
            *_, done = export(pooler.url, destination(str(tmp_path), "t", os.environ), "t")
            assert (done.rows, done.files) == (1000, 1)
            (path,) = tmp_path.glob("table=finding/tenant=t/changed_month=2026-02/*.parquet")
            keys = pq.ParquetFile(path).read()["row_key"].to_pylist()
            assert keys[0] == '{"kind": "session", "rule": "rule", "began_at": "-infinity", "entity_id": 1}'
            with pytest.raises(ExportError, match=r"^Postgres: .*unsupported startup parameter.* \(DATABASE_URL\)$"):
                [*export(f"{pooler.url}&options=-cwork_mem%3D7MB", destination(str(tmp_path), "t", os.environ), "t")]
