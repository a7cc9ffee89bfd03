"""Count notifications by hour, and record each tenant's baseline and traffic gaps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.ids import first_made_at
from storage.pruning import prune_table

# Index: primary key. Of several processes at the same time, the row lock lets one through.
_TAKE = text("""
INSERT INTO ingest.traffic_baseline AS known (tenant, looked_at)
VALUES (:tenant, now())
    ON CONFLICT (tenant) DO UPDATE SET looked_at = excluded.looked_at
 WHERE excluded.looked_at - known.looked_at > :interval
RETURNING looked_at
""")


def take(connection: Connection, tenant: str, interval: timedelta) -> datetime | None:
    """Claim the traffic check of a tenant until the transaction ends.

    Returns:
        The present time; None if the traffic was checked within the interval.
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

# Index: the primary key of the batches, whose ids increase with the time at which the batches are made.
_COUNT = text("""
INSERT INTO ingest.traffic (tenant, hour_at, notifications)
SELECT :tenant, date_trunc('hour', first_received_at, 'UTC') AS hour_at, sum(notifications)
  FROM ingest.batch
 WHERE tenant = :tenant
   AND batch_id >= :first_batch
   AND first_received_at >= :counted_from
 GROUP BY hour_at
    ON CONFLICT (tenant, hour_at) DO UPDATE SET notifications = excluded.notifications
""")


def count(connection: Connection, tenant: str, since: datetime) -> None:
    """Update the hourly counts of a tenant.

    The last counted hour is counted again, and so is the one before it while its count may still grow.

    Parameters:
        since: where to begin if no hour was counted before.
    """
    counted_from = connection.execute(_COUNTED_FROM, {"tenant": tenant}).scalar_one_or_none() or since
    # A batch gets its id after its first notification is received, so a minute before is early enough.
    first_batch = first_made_at(counted_from - timedelta(minutes=1))
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
    """Return the hours since a time with received notifications, each with their number, oldest first."""
    return [(hour, number) for hour, number in connection.execute(_HOURS, {"tenant": tenant, "since": since})]


# Index: primary key. Of the first and the last hour only the share that lies in the time counts.
_COUNTED = text("""
SELECT max(hour_at),
       sum(notifications * extract(epoch FROM least(hour_at + interval '1 hour', :until) - greatest(hour_at, :since))
           / 3600) FILTER (WHERE hour_at < last.counted_at)
  FROM ingest.traffic
 CROSS JOIN (SELECT max(hour_at) AS counted_at FROM ingest.traffic WHERE tenant = :tenant) AS last
 WHERE tenant = :tenant
   AND hour_at > CAST(:since AS timestamptz) - interval '1 hour'
   AND hour_at < CAST(:until AS timestamptz)
""")

# Index: the primary key of the batches, whose ids increase with the time at which the batches are made.
_NOT_COUNTED = text("""
SELECT coalesce(sum(notifications), 0)
  FROM ingest.batch
 WHERE tenant = :tenant
   AND batch_id >= :first_batch
   AND batch_id <= :last_batch
   AND first_received_at >= :since
   AND first_received_at < :until
""")


def estimate(connection: Connection, tenant: str, since: datetime, until: datetime) -> int:
    """Return about how many notifications of a tenant were received from one time to another, without reading them."""
    parameters = {"tenant": tenant, "since": since, "until": until}
    last_hour_at, counted = connection.execute(_COUNTED, parameters).one()
    # The last counted hour may not be over yet.
    uncounted_from = max(since, last_hour_at or since)
    batches = {
        "since": uncounted_from,
        "first_batch": first_made_at(uncounted_from - timedelta(minutes=1)),
        "last_batch": first_made_at(until + timedelta(minutes=1)),
    }
    uncounted = connection.execute(_NOT_COUNTED, parameters | batches).scalar_one()
    return round(counted or 0) + int(uncounted)


# Indexes: primary key; batch_pkey from its end.
_FIRST_AND_LAST = text("""
SELECT (SELECT min(hour_at) FROM ingest.traffic WHERE tenant = :tenant),
       (SELECT last_received_at FROM ingest.batch WHERE tenant = :tenant ORDER BY batch_id DESC LIMIT 1)
""")


def first_and_last(connection: Connection, tenant: str) -> tuple[datetime | None, datetime | None]:
    """Return the hour of a tenant's first notification, and when its last one was received; None if there is none."""
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
    """Return begin and end of a tenant's traffic gaps since a time; the end of an open gap is None."""
    rows = connection.execute(_GAPS, {"tenant": tenant, "since": since})
    return [(began_at, ended_at) for began_at, ended_at in rows]


_BEGIN = text("""
INSERT INTO ingest.traffic_gap (tenant, began_at, expected, received)
VALUES (:tenant, :began_at, :expected, :received)
    ON CONFLICT DO NOTHING
""")


def begin_gap(connection: Connection, tenant: str, began_at: datetime, expected: float, received: int) -> None:
    """Record the begin of a traffic gap, with the expected and received notifications since then."""
    parameters = {"tenant": tenant, "began_at": began_at, "expected": expected, "received": received}
    connection.execute(_BEGIN, parameters)


# Index: traffic_gap_open_idx.
_END = text("UPDATE ingest.traffic_gap SET ended_at = now() WHERE tenant = :tenant AND ended_at IS NULL")


def end_gap(connection: Connection, tenant: str) -> None:
    """Record that a tenant's traffic gap has ended."""
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
    """How a tenant's traffic was last judged by its baseline.

    Attributes:
        tenant: the tenant's name.
        looked_at: when the traffic was judged; None if it never was.
        last_received_at: when the tenant's last notification was received, as of now; None if none was.
        learned_hours: hours of history in the baseline.
        min_expected: a period is judged only if at least so many notifications are expected in it; None: none is.
        judged_hours: length of the period that was judged, in hours; None if none was.
        expected: notifications expected in the period.
        received: notifications received in the period.
        gap_since_at: when the open traffic gap began; None if there is none.
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
    """Record how a tenant's traffic was judged.

    Parameters:
        last_received_at: when the tenant's last notification was received.
        learned_hours: hours of history in the baseline.
        min_expected: a period is judged only if at least so many notifications are expected in it.
        judged: length of the judged period in hours, and the notifications expected and received in it.
    """
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


# Indexes: primary key; traffic_gap_open_idx; batch_pkey from its end, as its ids increase with time. A batch may be
# dropped with its day of the log, so the time in traffic_baseline counts, too.
_STATUS = text("""
SELECT tenant,
       looked_at,
       greatest(traffic_baseline.last_received_at, latest.last_received_at),
       coalesce(learned_hours, 0),
       CAST(min_expected AS float8),
       judged_hours,
       CAST(traffic_baseline.expected AS float8),
       traffic_baseline.received,
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
    """Return how each tenant's traffic was last judged, and when its last notification was received, as of now."""
    return [TrafficStatus(*row) for row in connection.execute(_STATUS, {"tenants": list(tenants)})]


def prune(connection: Connection, age: timedelta) -> None:
    """Delete counts and traffic gaps that are older than ``age``."""
    prune_table(connection, "ingest.traffic", "hour_at < now() - :age", age)
    prune_table(connection, "ingest.traffic_gap", "ended_at < now() - :age", age)
