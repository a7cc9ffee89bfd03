"""Revisions: what a session was before it was corrected, and what told us.

A session changes after it has stopped: it is billed, paid, taxed, its energy corrected. Each
change of a row that we knew to have stopped is kept, so that a report that was printed
before it can be explained. What one transaction changes is one revision of each group of
columns: the states between are not kept, and nobody ever saw them.

A revision is known by the fact that made it, and a fact changes a row only once. So
repeating notifications adds none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.resources import FINAL_SESSION_STATES
from storage.changes import SessionFact
from storage.mirrors import MIRRORS
from storage.version import is_read_sql

# Index: primary key, in whose order the upsert locks the same rows next. Those that still run are locked
# too: one that another transaction stops meanwhile is waited for here, and counts as stopped.
_LOCK_ROWS = text("""
SELECT session_id,
       CASE WHEN status = ANY(:final_states) THEN CAST(to_jsonb(session) - 'raw' AS text) END
  FROM charging.session
 WHERE tenant = :tenant
   AND session_id = ANY(:session_ids)
 ORDER BY session_id
   FOR UPDATE
""")


def lock_stopped(connection: Connection, tenant: str, session_ids: Sequence[int]) -> dict[int, str]:
    """Lock sessions before they are written; returns the columns of those that have stopped, as JSON."""
    rows = connection.execute(
        _LOCK_ROWS, {"tenant": tenant, "session_ids": list(session_ids), "final_states": list(FINAL_SESSION_STATES)}
    )
    return {session_id: columns for session_id, columns in rows if columns is not None}


def record_revisions(
    connection: Connection, tenant: str, stopped: Mapping[int, str], source_notifications: Mapping[SessionFact, UUID]
) -> None:
    """Keep what the sessions were that have changed since they were held.

    Parameters:
        stopped: what :func:`lock_stopped` returned in this transaction.
        source_notifications: the notifications that told the facts which were written since.
    """
    if not stopped:
        return
    connection.execute(
        text(revision_statement(_GIVEN)),
        {
            "tenant": tenant,
            "session_ids": list(stopped),
            "columns": list(stopped.values()),
            **source_parameters(
                {fact: source for fact, source in source_notifications.items() if fact.session_id in stopped}
            ),
        },
    )


#: Sessions as they were, by id.
_GIVEN = "unnest(CAST(:session_ids AS bigint[]), CAST(:columns AS jsonb[]))"


def source_parameters(source_notifications: Mapping[SessionFact, UUID]) -> dict[str, Any]:
    """Who told which fact, as arrays."""
    return {
        "source_sessions": [fact.session_id for fact in source_notifications],
        "source_groups": [fact.group for fact in source_notifications],
        "source_times": [fact.at for fact in source_notifications],
        "source_versions": [fact.version for fact in source_notifications],
        "source_notifications": list(source_notifications.values()),
    }


@cache
def revision_statement(former: str) -> str:
    """The insert of what changed since sessions were as ``former`` says: pairs of an id and their columns.

    Indexes: the primary keys. Of a price that only came another way round nothing is kept: numbers
    are compared as numbers.
    """
    groups = MIRRORS["session"].groups
    columns = ", ".join(f"('{name}', '{group.name}')" for group in groups for name in group.columns if name != "raw")
    return f"""
INSERT INTO charging.session_revision (
       tenant, session_id, column_group, fact_at, fact_version, changed_from, changed_to, source, notification_id)
SELECT known.tenant,
       known.session_id,
       changed.column_group,
       told.at,
       told.version,
       changed.changed_from,
       changed.changed_to,
       CASE
       WHEN {is_read_sql("told.version")} THEN 'read'
       WHEN origin.notification_id IS NOT NULL THEN 'notification'
       ELSE 'rebuild'
       END,
       origin.notification_id
  FROM {former} AS former (session_id, columns)
  JOIN charging.session AS known
    ON known.tenant = :tenant
   AND known.session_id = former.session_id
 CROSS JOIN LATERAL to_jsonb(known) AS stands
 CROSS JOIN LATERAL (
       SELECT column_group,
              jsonb_object_agg(name, former.columns -> name) AS changed_from,
              jsonb_object_agg(name, stands -> name) AS changed_to
         FROM (VALUES {columns}) AS described (name, column_group)
        WHERE former.columns -> name IS DISTINCT FROM stands -> name
        GROUP BY column_group) AS changed
 CROSS JOIN LATERAL (
       SELECT CAST(stands ->> (changed.column_group || '_at') AS timestamptz),
              stands ->> (changed.column_group || '_version')) AS told (at, version)
  LEFT JOIN unnest(
       CAST(:source_sessions AS bigint[]), CAST(:source_groups AS text[]), CAST(:source_times AS timestamptz[]),
       CAST(:source_versions AS text[]), CAST(:source_notifications AS uuid[])
       ) AS origin (session_id, column_group, at, version, notification_id)
    ON origin.session_id = known.session_id
   AND origin.column_group = changed.column_group
   AND origin.at = told.at
   AND origin.version = told.version
 ORDER BY known.session_id, changed.column_group
    ON CONFLICT DO NOTHING
"""  # noqa: S608 - the names are ours
