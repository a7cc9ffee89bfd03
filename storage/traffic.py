"""What came when: notifications by the hour, and the times in which a tenant was silent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

# Index: primary key. Of several processes, the row lock lets one through.
_TAKE = text("""
INSERT INTO ingest.traffic_baseline AS known (tenant, looked_at)
VALUES (:tenant, now())
    ON CONFLICT (tenant) DO UPDATE SET looked_at = now()
 WHERE known.looked_at < now() - :interval
RETURNING now()
""")


def take(connection: Connection, tenant: str, interval: timedelta) -> datetime | None:
    """Take a tenant's look in hand; None where somebody looked within the interval.

    Whoever has it keeps it until the end of the transaction. Returns the present time.
    """
    now: datetime | None = connection.execute(_TAKE, {"tenant": tenant, "interval": interval}).scalar_one_or_none()
    return now


# Index: primary key, from its end.
_COUNTED_FROM = text("""
SELECT least(hour_at, date_trunc('hour', now() - interval '10 minutes', 'UTC'))
  FROM ingest.traffic
 WHERE tenant = :tenant
 ORDER BY hour_at DESC
 LIMIT 1
""")

# Index: the primary key of the batches, whose ids are made when they are and rise with time.
_COUNT = text("""
INSERT INTO ingest.traffic (tenant, hour_at, notifications)
SELECT tenant, date_trunc('hour', first_received_at, 'UTC'), sum(notifications)
  FROM ingest.batch
 WHERE tenant = :tenant
   AND batch_id >= :first_batch
   AND first_received_at >= :counted_from
 GROUP BY 1, 2
    ON CONFLICT (tenant, hour_at) DO UPDATE SET notifications = excluded.notifications
""")


def count(connection: Connection, tenant: str, since: datetime) -> None:
    """Bring the counts of a tenant up to date.

    The last counted hour is counted anew, and the one before it while it may still grow.

    Parameters:
        since: where to begin the first time.
    """
    counted_from = connection.execute(_COUNTED_FROM, {"tenant": tenant}).scalar_one_or_none() or since
    # A batch is named when its first notification has come, so a minute earlier is early enough.
    first_batch = UUID(int=int((counted_from.timestamp() - 60) * 1000) << 80)
    connection.execute(_COUNT, {"tenant": tenant, "first_batch": first_batch, "counted_from": counted_from})


# Index: primary key.
_HOURS = text("""
SELECT hour_at, notifications
  FROM ingest.traffic
 WHERE tenant = :tenant
   AND hour_at >= :since
 ORDER BY hour_at
""")


def hours(connection: Connection, tenant: str, since: datetime) -> Sequence[tuple[datetime, int]]:
    """The hours in which something came, with how much, oldest first."""
    return [(hour, number) for hour, number in connection.execute(_HOURS, {"tenant": tenant, "since": since})]


# Indexes: primary key; batch_pkey from its end.
_FIRST_AND_LAST = text("""
SELECT (SELECT min(hour_at) FROM ingest.traffic WHERE tenant = :tenant),
       (SELECT last_received_at FROM ingest.batch WHERE tenant = :tenant ORDER BY batch_id DESC LIMIT 1)
""")


def first_and_last(connection: Connection, tenant: str) -> tuple[datetime | None, datetime | None]:
    """The hour in which a tenant was first heard, and when it was last."""
    first, last = connection.execute(_FIRST_AND_LAST, {"tenant": tenant}).one()
    return first, last


# Index: primary key.
_GAPS = text("""
SELECT began_at, ended_at
  FROM ingest.traffic_gap
 WHERE tenant = :tenant
   AND coalesce(ended_at, now()) > :since
 ORDER BY began_at
""")


def gaps(connection: Connection, tenant: str, since: datetime) -> Sequence[tuple[datetime, datetime | None]]:
    """The times since then in which a tenant was silent; the last may last still."""
    found = connection.execute(_GAPS, {"tenant": tenant, "since": since})
    return [(began_at, ended_at) for began_at, ended_at in found]


_BEGIN = text("""
INSERT INTO ingest.traffic_gap (tenant, began_at, expected, received)
VALUES (:tenant, :began_at, :expected, :received)
    ON CONFLICT DO NOTHING
""")


def begin_gap(connection: Connection, tenant: str, began_at: datetime, expected: float, received: int) -> None:
    """A tenant is silent."""
    given = {"tenant": tenant, "began_at": began_at, "expected": expected, "received": received}
    connection.execute(_BEGIN, given)


# Index: traffic_gap_open_idx.
_END = text("UPDATE ingest.traffic_gap SET ended_at = now() WHERE tenant = :tenant AND ended_at IS NULL")


def end_gap(connection: Connection, tenant: str) -> None:
    """A tenant is heard again."""
    connection.execute(_END, {"tenant": tenant})


_NOTE = text("""
UPDATE ingest.traffic_baseline
   SET last_received_at = greatest(last_received_at, CAST(:last_received_at AS timestamptz)),
       learned_hours = :learned_hours,
       min_expected = :min_expected,
       judged_hours = :judged_hours,
       expected = :expected,
       received = :received
 WHERE tenant = :tenant
""")


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """How a tenant was last judged against its own baseline.

    Attributes:
        looked_at: when; None where it has yet to be.
        last_received_at: when its last notification came, as of the question; None where none did.
        learned_hours: what the baseline is made of.
        min_expected: where so many notifications are expected, their absence tells; None: nothing does yet.
        judged_hours, expected, received: the stretch that was judged; None where none tells anything.
        gap_since_at: from when on too little came, where it is silent.
    """

    tenant: str
    looked_at: datetime | None
    last_received_at: datetime | None
    learned_hours: int
    min_expected: float | None
    judged_hours: int | None
    expected: float | None
    received: int | None
    gap_since_at: datetime | None


def note(
    connection: Connection,
    tenant: str,
    *,
    last_received_at: datetime | None,
    learned_hours: int,
    min_expected: float | None,
    judged: tuple[int, float, int] | None,
) -> None:
    """Note how a tenant was judged; ``judged`` is hours, expected and came."""
    judged_hours, expected, received = judged or (None, None, None)
    connection.execute(
        _NOTE,
        {
            "tenant": tenant,
            "last_received_at": last_received_at,
            "learned_hours": learned_hours,
            "min_expected": min_expected,
            "judged_hours": judged_hours,
            "expected": expected,
            "received": received,
        },
    )


# Indexes: primary key; traffic_gap_open_idx; batch_pkey from its end, as its ids rise with time. A batch may be dropped
# with its day; the last look at it is kept.
_STATUS = text("""
SELECT tenant,
       looked_at,
       greatest(traffic_baseline.last_received_at, latest.last_received_at),
       coalesce(learned_hours, 0),
       CAST(min_expected AS float8),
       judged_hours,
       CAST(traffic_baseline.expected AS float8),
       traffic_baseline.came,
       traffic_gap.began_at
  FROM unnest(CAST(:tenants AS text[])) AS asked (tenant)
  LEFT JOIN ingest.traffic_baseline USING (tenant)
  LEFT JOIN (SELECT tenant, began_at FROM ingest.traffic_gap WHERE ended_at IS NULL) AS traffic_gap USING (tenant)
  LEFT JOIN LATERAL (
       SELECT last_received_at
         FROM ingest.batch
        WHERE batch.tenant = asked.tenant
        ORDER BY batch_id DESC
        LIMIT 1
  ) AS latest ON true
 ORDER BY tenant
""")


def traffic_status(connection: Connection, tenants: Collection[str]) -> Sequence[TrafficStatus]:
    """How each of the tenants was last judged, and when its last notification came, as of now."""
    return [TrafficStatus(*row) for row in connection.execute(_STATUS, {"tenants": list(tenants)})]


# Indexes: the primary keys, read whole; an hour is a row for each tenant.
_PRUNE = (
    text("DELETE FROM ingest.traffic WHERE hour_at < now() - :age"),
    text("DELETE FROM ingest.traffic_gap WHERE ended_at < now() - :age"),
)


def prune(connection: Connection, age: timedelta) -> None:
    """Drop what is known of times longer ago than ``age``."""
    for statement in _PRUNE:
        connection.execute(statement, {"age": age})
