"""Summarize a tenant's fleet for the dashboard of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that has not stopped; energy in Wh, power in W, state of charge in percent."""

    session_id: int
    evse: str
    location: str | None
    started_at: datetime | None
    energy_wh: Decimal | None
    power_w: Decimal | None
    soc_percent: Decimal | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The state of a tenant's fleet.

    Attributes:
        evses: how many EVSEs have each hardware status.
        charge_points: how many charge points have each network status.
        locations: how many locations there are.
        sessions_running: how many sessions have not stopped.
        sessions_stopped: how many sessions have stopped.
        running: the latest of the running sessions.
    """

    evses: dict[str, int]
    charge_points: dict[str, int]
    locations: int
    sessions_running: int
    sessions_stopped: int
    running: Sequence[RunningSession]


#: The SQL condition of a running session. One whose status is not known is neither running nor stopped.
_IS_RUNNING = "session.status IN ('active', 'pending')"

_EVSES = text("""
SELECT coalesce(hardware_status, 'never reported'), count(*)
  FROM charging.evse
 WHERE tenant = :tenant AND deleted_at IS NULL
 GROUP BY 1
 ORDER BY 2 DESC
""")

_CHARGE_POINTS = text("""
SELECT coalesce(network_status, 'never reported'), count(*)
  FROM charging.charge_point
 WHERE tenant = :tenant AND deleted_at IS NULL
 GROUP BY 1
 ORDER BY 2 DESC
""")

_COUNTS = text(f"""
SELECT (SELECT count(*) FROM charging.location WHERE tenant = :tenant AND deleted_at IS NULL),
       count(*) FILTER (WHERE {_IS_RUNNING}),
       count(*) FILTER (WHERE NOT {_IS_RUNNING})
  FROM charging.session
 WHERE tenant = :tenant AND deleted_at IS NULL
""")  # noqa: S608 - the condition is ours

_RUNNING = text(f"""
SELECT session.session_id,
       coalesce(evse.physical_reference, 'EVSE ' || session.evse_id, '–'),
       location.name,
       session.started_at,
       session.energy_wh,
       session.power_w,
       session.soc_percent
  FROM charging.session
  LEFT JOIN charging.evse USING (tenant, evse_id)
  LEFT JOIN charging.charge_point
         ON charge_point.tenant = session.tenant
        AND charge_point.charge_point_id = session.charge_point_id
  LEFT JOIN charging.location
         ON location.tenant = session.tenant
        AND location.location_id = charge_point.location_id
 WHERE session.tenant = :tenant
   AND session.deleted_at IS NULL
   AND {_IS_RUNNING}
 ORDER BY session.started_at DESC NULLS LAST, session.session_id DESC
 LIMIT :limit
""")  # noqa: S608 - the condition is ours


def fleet(connection: Connection, tenant: str, *, max_sessions: int = 12) -> Fleet:
    """Return the state of a tenant's fleet, with up to ``max_sessions`` of the latest running sessions."""
    parameters = {"tenant": tenant}
    locations, running, stopped = connection.execute(_COUNTS, parameters).one()
    sessions = connection.execute(_RUNNING, parameters | {"limit": max_sessions})
    return Fleet(
        evses=dict(connection.execute(_EVSES, parameters).tuples().all()),
        charge_points=dict(connection.execute(_CHARGE_POINTS, parameters).tuples().all()),
        locations=locations,
        sessions_running=running,
        sessions_stopped=stopped,
        running=[RunningSession(*row) for row in sessions],
    )
