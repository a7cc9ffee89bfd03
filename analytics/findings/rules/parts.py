"""The parts of SQL that several rules have in common."""

from __future__ import annotations

from analytics.schema.sessions import LONG_DURATION, LONG_SESSION, OPEN_SESSION

#: AMPECO's downtime periods that began longer before an outage are not compared with it: no update reads them all.
LOOKBACK = "interval '2208 hours'"

#: A session that began longer ago is found by the indexes of open and of long sessions.
RECENT = LONG_DURATION

#: Rules ignore an energy of so many Wh or more, which no meter counts to. AMPECO's numbers have no limit, and may be
#: NaN: computing with a greater one could fail, and evidence with its digits would be long.
ENERGY_LIMIT_WH = "1e15"

#: The sessions of the scope that are not gone at AMPECO, as ``session``. Index: primary key.
SESSIONS = """
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
   AND session.removed_at IS NULL"""


def concerns(period: str, evse: str) -> str:
    """Return the condition that a downtime period is one of an EVSE, or of its charge point, as it is for outages.

    A period of an EVSE may name no charge point, or one of which the EVSE was a part before. Indexes:
    downtime_period_tenant_evse_id_started_at_idx, downtime_period_tenant_charge_point_id_started_at_idx.

    Parameters:
        period: an alias of ``analytics.downtime_period``.
        evse: an alias of ``analytics.evse``.
    """
    return (
        f"({period}.subject = 'evse' AND {period}.evse_id = {evse}.evse_id"
        f" OR {period}.subject = 'charge_point' AND {period}.charge_point_id = {evse}.charge_point_id)"
    )


def end_of(session: str) -> str:
    """Return the end of a session: infinity while it is open, its start if it failed without a stop."""
    return (
        f"coalesce({session}.stopped_at, CASE WHEN {session}.outcome IN ('pending', 'running')"
        f" THEN CAST('infinity' AS timestamptz) ELSE {session}.started_at END)"
    )


def sessions_during(evse_id: str, began_at: str, ended_at: str) -> str:
    """Return the query of the sessions of an EVSE that overlap a time.

    Indexes: session_tenant_evse_id_started_at_idx, session_open_idx, session_long_idx, one for each part.
    """
    parts = (
        f"known.started_at > {began_at} - {RECENT}",
        f"known.started_at <= {began_at} - {RECENT} AND {OPEN_SESSION}",
        f"known.started_at <= {began_at} - {RECENT} AND {LONG_SESSION}",
    )
    return "\n UNION ALL\n".join(
        f"""
SELECT known.session_id, known.started_at, {end_of("known")} AS ended_at
  FROM analytics.session AS known
 WHERE known.tenant = :tenant
   AND known.evse_id = {evse_id}
   AND known.started_at < {ended_at}
   AND {end_of("known")} > {began_at}
   AND known.removed_at IS NULL
   AND {part}"""  # noqa: S608 - the names are ours
        for part in parts
    )


def stretch_at(evse_id: str, at: str) -> str:
    """Return the subquery, for LATERAL, of the last stretch of an EVSE that began by a time.

    Index: primary key of evse_state_interval, backwards from the time.
    """
    return f"""(
       SELECT known.began_at, known.ended_at, known.state
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = {evse_id}
          AND known.began_at <= {at}
        ORDER BY known.began_at DESC
        LIMIT 1)"""  # noqa: S608 - the names are ours
