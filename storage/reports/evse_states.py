"""Read the states of EVSEs for the console: how many are in which, what changed, and what they were before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

#: The most stretches of one EVSE that are read: a faulty one may change its status all day.
MAX_STRETCHES = 1_500

#: The most intervals of a time that are read with their evidence: a loose contact makes thousands in a month.
MAX_INTERVALS = 1_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which an EVSE was in one state; ``ended_at`` is None for the present one."""

    began_at: datetime
    ended_at: datetime | None
    state: str


# Indexes: the primary key of the EVSEs, evse_state_interval_open_idx.
_COUNTS = text("""
SELECT coalesce(present.state, 'unknown') AS state, count(*)
  FROM analytics.evse
  LEFT JOIN analytics.evse_state_interval AS present
         ON present.tenant = evse.tenant
        AND present.evse_id = evse.evse_id
        AND present.ended_at = 'infinity'
 WHERE evse.tenant = :tenant
   AND evse.deleted_at IS NULL
 GROUP BY 1
""")


def state_counts(connection: Connection, tenant: str) -> dict[str, int]:
    """Return how many of a tenant's EVSEs are in each state."""
    rows = connection.execute(_COUNTS, {"tenant": tenant})
    return {state: count for state, count in rows}  # noqa: C416 - a row is no pair for the type checker


# Index: evse_state_interval_open_idx. A twentieth of the EVSEs may have clocks that are fast without moving the time.
_FLEET_TIME = text("""
SELECT greatest(now(), percentile_disc(0.95) WITHIN GROUP (ORDER BY began_at))
  FROM analytics.evse_state_interval
 WHERE tenant = :tenant
   AND ended_at = 'infinity'
""")


def fleet_time(connection: Connection, tenant: str) -> datetime:
    """Return the time that the fleet's clocks show: now, or later if nearly all of them are ahead, as in a demo."""
    moment: datetime = connection.execute(_FLEET_TIME, {"tenant": tenant}).scalar_one()
    return moment


# Index: evse_state_interval_tenant_evse_id_ended_at_key.
_STRETCHES = text("""
SELECT name.evse_id, stretch.began_at, stretch.ended_at, stretch.state
  FROM unnest(CAST(:evse_ids AS bigint[])) AS name (evse_id)
 CROSS JOIN LATERAL (
       SELECT began_at, nullif(ended_at, 'infinity') AS ended_at, state
         FROM analytics.evse_state_interval
        WHERE evse_state_interval.tenant = :tenant
          AND evse_state_interval.evse_id = name.evse_id
          AND evse_state_interval.ended_at > :since
        ORDER BY evse_state_interval.ended_at DESC
        LIMIT :limit) AS stretch
""")


def stretches(
    connection: Connection, tenant: str, evse_ids: Collection[int], since: datetime
) -> Mapping[int, Sequence[Stretch]]:
    """Return the states of EVSEs since a time, by EVSE, the latest first and at most ``MAX_STRETCHES`` of each."""
    parameters = {"tenant": tenant, "evse_ids": list(evse_ids), "since": since, "limit": MAX_STRETCHES}
    found: dict[int, list[Stretch]] = defaultdict(list)
    for evse_id, *values in connection.execute(_STRETCHES, parameters):
        found[evse_id].append(Stretch(*values))
    return found


# Index: the primary key.
_LAST_NUMBER = text("SELECT last_change_number FROM analytics.feed WHERE tenant = :tenant")


def last_change_number(connection: Connection, tenant: str) -> int:
    """Return the number of the newest change of a tenant's feed; 0 if nothing was derived yet."""
    return connection.execute(_LAST_NUMBER, {"tenant": tenant}).scalar() or 0


# Index: evse_state_interval_tenant_change_number_idx.
_CHANGED = text("""
SELECT evse_id, change_number
  FROM analytics.evse_state_interval
 WHERE tenant = :tenant
   AND change_number > :last
   AND ended_at = 'infinity'
 ORDER BY change_number
 LIMIT :limit
""")


def changed_evses(connection: Connection, tenant: str, last: int, limit: int) -> tuple[list[int], int]:
    """Return the EVSEs whose present state changed after a change number, and up to which number these are all.

    Parameters:
        last: the change number.
        limit: the most EVSEs; the rest is returned for the number that is returned.
    """
    newest = last_change_number(connection, tenant)
    if newest <= last:
        return [], newest
    rows = connection.execute(_CHANGED, {"tenant": tenant, "last": last, "limit": limit}).all()
    return [row.evse_id for row in rows], rows[-1].change_number if len(rows) == limit else newest


@dataclass(frozen=True, slots=True)
class StatusEvidence:
    """Where a status came from that a state was made of.

    Attributes:
        subject: whose status it is: evse, charge_point or network.
        status: the status; None if it was never reported.
        observed_at: its time, as AMPECO shows it; None if it is not known.
        source: notification, status_log or read; None if it is not known.
        notification_id: the notification that reported it; None if a read or a status log showed it.
    """

    subject: str
    status: str | None
    observed_at: datetime | None
    source: str | None
    notification_id: UUID | None


@dataclass(frozen=True, slots=True)
class StateInterval:
    """A row of ``analytics.evse_state_interval``: a time in which an EVSE was in one state, and what it was made of.

    Attributes:
        ended_at: when it ended; None while it lasts.
        evidence: where each status came from, in the order of the row.
    """

    began_at: datetime
    ended_at: datetime | None
    state: str
    coverage: str
    hardware_status: str | None
    charge_point_status: str | None
    network_status: str | None
    evidence: list[StatusEvidence]


_INTERVAL_COLUMNS = """
       began_at, nullif(ended_at, 'infinity') AS ended_at, state, coverage, hardware_status, charge_point_status,
       network_status, evidence"""

# Index: the primary key.
_BEFORE = text(f"""
SELECT {_INTERVAL_COLUMNS}
  FROM analytics.evse_state_interval
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND began_at < :before
 ORDER BY began_at DESC
 LIMIT :limit
""")  # noqa: S608 - the names are ours


def intervals_before(
    connection: Connection, tenant: str, evse_id: int, before: datetime, limit: int
) -> list[StateInterval]:
    """Return the states of an EVSE that began before a time, the latest first, with their evidence."""
    parameters = {"tenant": tenant, "evse_id": evse_id, "before": before, "limit": limit}
    return [_interval(row) for row in connection.execute(_BEFORE, parameters)]


# Index: the primary key, from the interval in which the time begins.
_IN = text(f"""
SELECT {_INTERVAL_COLUMNS}
  FROM analytics.evse_state_interval
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND began_at >= coalesce((
       SELECT max(earlier.began_at)
         FROM analytics.evse_state_interval AS earlier
        WHERE earlier.tenant = :tenant
          AND earlier.evse_id = :evse_id
          AND earlier.began_at <= :began_at), :began_at)
   AND began_at < :ended_at
   AND state = ANY(:states)
 ORDER BY began_at
 LIMIT :limit
""")  # noqa: S608 - the names are ours


def intervals_in(
    connection: Connection,
    tenant: str,
    evse_id: int,
    began_at: datetime,
    ended_at: datetime,
    states: Collection[str],
) -> list[StateInterval]:
    """Return the intervals of a time in which an EVSE was in one of some states, in order, with their evidence."""
    parameters = {
        "tenant": tenant,
        "evse_id": evse_id,
        "began_at": began_at,
        "ended_at": ended_at,
        "states": list(states),
        "limit": MAX_INTERVALS,
    }
    return [_interval(row) for row in connection.execute(_IN, parameters)]


def _interval(row: Row[Any]) -> StateInterval:
    statuses = {"evse": row.hardware_status, "charge_point": row.charge_point_status, "network": row.network_status}
    evidence = row.evidence if isinstance(row.evidence, dict) else {}
    return StateInterval(
        began_at=row.began_at,
        ended_at=row.ended_at,
        state=row.state,
        coverage=row.coverage,
        hardware_status=row.hardware_status,
        charge_point_status=row.charge_point_status,
        network_status=row.network_status,
        evidence=[_evidence(subject, statuses.get(subject), each) for subject, each in evidence.items()],
    )


def _evidence(subject: str, status: str | None, observation: Mapping[str, str | None]) -> StatusEvidence:
    observed_at, notification_id = observation.get("observed_at"), observation.get("notification_id")
    return StatusEvidence(
        subject=subject,
        status=status,
        observed_at=None if observed_at is None else datetime.fromisoformat(observed_at),
        source=observation.get("source"),
        notification_id=None if notification_id is None else UUID(notification_id),
    )
