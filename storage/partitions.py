"""The log's partitions, one for each UTC day, made ahead of time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import LiteralString

#: A week ahead: everything that makes partitions may be down for a week before the
#: accept path has to make one itself.
DAYS_AHEAD = 7

#: Serialises the makers of partitions: any number of processes may try at once.
_LOCK = 7_406_201_100


def partition_statements(today: date, days_ahead: int = DAYS_AHEAD) -> Iterable[LiteralString]:
    """The statements that make the partitions from yesterday on, where missing.

    Yesterday's is among them because a clock of ours may be behind at midnight. A
    partition is made beside its parent and then attached, which does not lock out
    readers or writers as ``CREATE TABLE … PARTITION OF`` would.
    """
    yield f"SELECT pg_advisory_xact_lock({_LOCK})"
    for offset in range(-1, days_ahead + 1):
        day = today + timedelta(days=offset)
        name = f"notification_{day:%Y%m%d}"
        yield f"""
DO $$
BEGIN
    IF to_regclass('ingest.{name}') IS NULL THEN
        CREATE TABLE ingest.{name} (LIKE ingest.notification INCLUDING ALL);
        ALTER TABLE ingest.notification
            ATTACH PARTITION ingest.{name}
            FOR VALUES FROM ('{day:%Y-%m-%d} 00:00+00') TO ('{day + timedelta(days=1):%Y-%m-%d} 00:00+00');
    END IF;
END
$$
"""


def utc_today() -> date:
    return datetime.now(UTC).date()
