"""Derive attempts to charge: each authorization, also a refused one, and each session that no authorization allowed.

An authorization names its sessions, and a session its authorization; either is enough. The table
``analytics.authorization_session`` keeps the names that attempts were derived from, so that a session which is no
longer named is found.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import text

from analytics.schema.sessions import charge_attempt
from analytics.scope import merged, parts, whole
from analytics.sessions.drivers import DRIVERS_JOIN, driver_key_sql
from analytics.sessions.sessions import version_sql
from analytics.writing import Work

#: The stop reasons that report an error of the charge point, its supply or its connection, or that AMPECO had to end
#: the session. ``other`` is not among them, because many charge points report it for any stop.
ERROR_REASONS = (
    *("emergencystop", "groundfault", "overcurrentfault", "powerloss", "powerquality"),
    *("hardreset", "softreset", "immediatereset", "reboot", "charge_point_timeout", "evse_inoperative"),
    *("failed", "rejected", "not_supported", "remote_start_failed", "unknown_session", "system_force_stop"),
)

#: The most attempts that are derived together.
MAX_ATTEMPTS = 1_000


def derive(work: Work) -> None:
    """Derive the attempts of the authorizations that were marked, and of the sessions that changed."""
    authorizations, sessions = set(work.marks("authorization")), set(work.changes("session"))
    links = _links(work, authorizations, sessions)
    _relink(work, "authorization", authorizations)
    _relink(work, "session", sessions)
    links |= _links(work, authorizations, sessions)
    authorizations |= {authorization_id for authorization_id, _ in links}
    sessions |= {session_id for _, session_id in links}
    scope = merged(whole(authorizations), whole(_moved(work)))
    for part in parts(sorted(scope), MAX_ATTEMPTS):
        work.write_query(charge_attempt, whole(part), _OF_AUTHORIZATIONS, among="known.source = 'authorization'")
    for part in parts(sorted(sessions), MAX_ATTEMPTS):
        work.write_query(charge_attempt, whole(part), _OF_SESSIONS, among="known.source = 'session'")


# Indexes: primary key; authorization_session_tenant_session_id_idx.
_LINKS = text("""
SELECT authorization_id, session_id
  FROM analytics.authorization_session
 WHERE tenant = :tenant
   AND authorization_id = ANY(:authorization_ids)
 UNION
SELECT authorization_id, session_id
  FROM analytics.authorization_session
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
""")


def _links(work: Work, authorizations: Collection[int], sessions: Collection[int]) -> set[tuple[int, int]]:
    """Return which authorizations and sessions name each other, for those of a round."""
    if not (authorizations or sessions):
        return set()
    parameters = {"authorization_ids": sorted(authorizations), "session_ids": sorted(sessions)}
    rows = work.connection.execute(_LINKS, {"tenant": work.tenant, **parameters})
    return {(authorization_id, session_id) for authorization_id, session_id in rows}


# Indexes: primary keys.
_NAMED = {
    "authorization": """
    SELECT DISTINCT request.authorization_id, CAST(named.session_id AS bigint) AS session_id
      FROM charging.authorization AS request
     CROSS JOIN jsonb_array_elements_text(
           CASE WHEN jsonb_typeof(request.session_ids) = 'array' THEN request.session_ids ELSE '[]' END
           ) AS named (session_id)
     WHERE request.tenant = :tenant
       AND request.authorization_id = ANY(:ids)""",
    "session": """
    SELECT session.authorization_id, session.session_id
      FROM analytics.session AS session
     WHERE session.tenant = :tenant
       AND session.session_id = ANY(:ids)
       AND session.authorization_id IS NOT NULL""",
}


def _relink(work: Work, named_by: str, ids: Collection[int]) -> None:
    """Store what some authorizations or sessions name now. Indexes: primary key; that of session ids."""
    if not ids:
        return
    statement = f"""
WITH fresh AS MATERIALIZED ({_NAMED[named_by]}
), gone AS (
    DELETE FROM analytics.authorization_session AS known
     WHERE known.tenant = :tenant
       AND known.{named_by}_id = ANY(:ids)
       AND known.named_by = '{named_by}'
       AND NOT EXISTS (SELECT FROM fresh
                        WHERE fresh.authorization_id = known.authorization_id AND fresh.session_id = known.session_id)
)
INSERT INTO analytics.authorization_session (tenant, authorization_id, session_id, named_by)
SELECT :tenant, authorization_id, session_id, '{named_by}'
  FROM fresh
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - the names are ours
    work.connection.execute(text(statement), {"tenant": work.tenant, "ids": sorted(ids)})


# Indexes: charge_attempt_tenant_evse_id_attempted_at_idx; charge_attempt_tenant_charge_point_id_attempted_at_idx.
_MOVED = text("""
SELECT attempt.source_id
  FROM analytics.charge_attempt AS attempt
 WHERE attempt.tenant = :tenant
   AND attempt.source = 'authorization'
   AND attempt.evse_id = ANY(:evse_ids)
 UNION
SELECT attempt.source_id
  FROM analytics.charge_attempt AS attempt
 WHERE attempt.tenant = :tenant
   AND attempt.source = 'authorization'
   AND attempt.charge_point_id = ANY(:charge_point_ids)
""")


def _moved(work: Work) -> Collection[int]:
    """Return the authorizations whose EVSE or charge point has other versions now, perhaps of another place."""
    evses, charge_points = work.changes("evse_version"), work.changes("charge_point_version")
    if not (evses or charge_points):
        return []
    parameters: dict[str, Any] = {"evse_ids": sorted(evses), "charge_point_ids": sorted(charge_points)}
    return list(work.connection.execute(_MOVED, {"tenant": work.tenant, **parameters}).scalars())


_IS_OPEN = "coalesce(session.outcome IN ('pending', 'running', 'unknown'), false)"

# What follows from the session, if there is one.
_IS_SUCCESS = f"CASE WHEN NOT {_IS_OPEN} THEN coalesce(session.energy_wh > 0, false) END"
_IS_CSR_SUCCESS = f"""CASE WHEN NOT {_IS_OPEN} THEN session.outcome = 'charged'
            AND coalesce(session.stop_reason NOT IN ({", ".join(map(repr, ERROR_REASONS))}), true) END"""

# A session that has ended without a time of its end counts as ended when it started.
_ENDED_AT = f"coalesce(session.stopped_at, CASE WHEN NOT {_IS_OPEN} THEN session.started_at END)"


def _or_refused(from_session: str) -> str:
    """Return the SQL expression of a success: without a session, a decided authorization has failed."""
    return f"""CASE WHEN session.session_id IS NOT NULL THEN {from_session}
            WHEN request.status IN ('accepted', 'rejected') THEN false END"""


_ATTEMPTED_AT = "coalesce(request.created_at, session.started_at)"

# Indexes: primary keys. By coalesce, the planner does not go through all sessions in the order of their starts.
_OF_AUTHORIZATIONS = f"""
SELECT 'authorization' AS source,
       request.authorization_id AS source_id,
       {_ATTEMPTED_AT} AS attempted_at,
       coalesce(charge_point.location_id, session.location_id) AS location_id,
       place.charge_point_id,
       coalesce(request.evse_id, session.evse_id) AS evse_id,
       session.session_id,
       coalesce({driver_key_sql("request.user_id")}, session.driver_key) AS driver_key,
       request.method,
       request.status AS result,
       request.rejection_reason,
       session.outcome,
       CASE WHEN session.session_id IS NULL THEN request.created_at ELSE {_ENDED_AT} END AS ended_at,
       session.energy_wh,
       {_or_refused(_IS_SUCCESS)} AS is_success,
       {_or_refused(_IS_CSR_SUCCESS)} AS is_csr_success,
       coalesce(request.deleted_at, session.removed_at) AS removed_at
  FROM scope
  JOIN charging.authorization AS request
    ON request.tenant = :tenant
   AND request.authorization_id = scope.entity_id
  {DRIVERS_JOIN}
  LEFT JOIN LATERAL (
       SELECT first.*
         FROM analytics.authorization_session AS link
         JOIN analytics.session AS first
           ON first.tenant = :tenant
          AND first.session_id = link.session_id
        WHERE link.tenant = :tenant
          AND link.authorization_id = request.authorization_id
        ORDER BY first.removed_at IS NOT NULL, coalesce(first.started_at, 'infinity'), first.session_id
        LIMIT 1) AS session ON true
  LEFT JOIN LATERAL {version_sql("evse", "request.evse_id", _ATTEMPTED_AT)} AS evse ON true
 CROSS JOIN LATERAL (
       SELECT coalesce(request.charge_point_id, evse.charge_point_id, session.charge_point_id) AS charge_point_id
       ) AS place
  LEFT JOIN LATERAL {version_sql("charge_point", "place.charge_point_id", _ATTEMPTED_AT)} AS charge_point ON true
"""  # noqa: S608 - the names are ours

# Indexes: primary keys; authorization_session_tenant_session_id_idx.
_OF_SESSIONS = f"""
SELECT 'session' AS source,
       session.session_id AS source_id,
       session.started_at AS attempted_at,
       session.location_id,
       session.charge_point_id,
       session.evse_id,
       session.session_id,
       session.driver_key,
       NULL AS method,
       NULL AS result,
       NULL AS rejection_reason,
       session.outcome,
       {_ENDED_AT} AS ended_at,
       session.energy_wh,
       {_IS_SUCCESS} AS is_success,
       {_IS_CSR_SUCCESS} AS is_csr_success,
       session.removed_at
  FROM scope
  JOIN analytics.session AS session
    ON session.tenant = :tenant
   AND session.session_id = scope.entity_id
 WHERE NOT EXISTS (
       SELECT FROM analytics.authorization_session AS link
         JOIN charging.authorization AS request
           ON request.tenant = :tenant
          AND request.authorization_id = link.authorization_id
        WHERE link.tenant = :tenant
          AND link.session_id = session.session_id)
"""  # noqa: S608 - the names are ours
