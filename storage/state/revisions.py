"""Record revisions: what a stopped session was before a correction, and the source of the correction.

A session changes after it has stopped: it is billed, paid and taxed, and its energy is corrected. Each change of a
session that is stored as stopped is recorded, so that a report that was printed before the change can be explained.
The changes of one transaction are one revision of each column group: states between them are not recorded, because
no other transaction could see them.

The fact that makes a revision identifies it, and a fact changes a row only once. So repeated notifications add no
revisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from ampeco.resources.charging import FINAL_SESSION_STATES
from storage.schema.entities import MIRRORS
from storage.state.changes import FactKey
from storage.state.version import is_read_sql

# Index: primary key, in whose order the upsert locks the same rows next. Running sessions are locked, too: if another
# transaction is stopping one, this statement waits for it and sees the session as stopped.
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
    """Lock sessions before they are written, and return the columns of those that have stopped, as JSON by id."""
    rows = connection.execute(
        _LOCK_ROWS, {"tenant": tenant, "session_ids": list(session_ids), "final_states": list(FINAL_SESSION_STATES)}
    )
    return {session_id: columns for session_id, columns in rows if columns is not None}


def record_revisions(
    connection: Connection, tenant: str, stopped: Mapping[int, str], source_notifications: Mapping[FactKey, UUID]
) -> None:
    """Record what the stopped sessions were that have changed since they were locked.

    Parameters:
        stopped: the result of :func:`lock_stopped` in this transaction.
        source_notifications: the notifications that contain the facts that were written since.
    """
    if not stopped:
        return
    connection.execute(
        revision_statement(_FORMER),
        {
            "tenant": tenant,
            "session_ids": list(stopped),
            "columns": list(stopped.values()),
            **source_parameters(
                {
                    fact: source
                    for fact, source in source_notifications.items()
                    if fact.kind == "session" and fact.entity_id in stopped
                }
            ),
        },
    )


#: Columns whose changes are no corrections: JSON that repeats other columns, and the parts of the price, which only a
#: read adds to a session that has stopped.
_NOT_REVISED = ("raw", "price_breakdown")

#: Ids of sessions, each with its former columns.
_FORMER = "unnest(CAST(:session_ids AS bigint[]), CAST(:columns AS jsonb[]))"


def source_parameters(source_notifications: Mapping[FactKey, UUID]) -> dict[str, Any]:
    """Return facts of sessions with their notifications as parameters for :func:`revision_statement`, in arrays."""
    return {
        "source_sessions": [fact.entity_id for fact in source_notifications],
        "source_groups": [fact.group for fact in source_notifications],
        "source_times": [fact.at for fact in source_notifications],
        "source_versions": [fact.version for fact in source_notifications],
        "source_notifications": list(source_notifications.values()),
    }


@cache
def revision_statement(former: str) -> TextClause:
    """Return the statement that records what changed in sessions since a former state.

    Indexes: the primary keys. JSON compares numbers as numbers, so a price with another number of decimals does not
    count as changed.

    Parameters:
        former: a SQL source of pairs of a session id and its former columns.
    """
    groups = MIRRORS["session"].groups
    columns = ", ".join(
        f"('{name}', '{group.name}')" for group in groups for name in group.columns if name not in _NOT_REVISED
    )
    return text(f"""
INSERT INTO charging.session_revision (
       tenant, session_id, column_group, fact_at, fact_version, changed_from, changed_to, source, notification_id)
SELECT :tenant,
       known.session_id,
       changed.column_group,
       fact.at,
       fact.version,
       changed.changed_from,
       changed.changed_to,
       CASE
       WHEN {is_read_sql("fact.version")} THEN 'read'
       WHEN origin.notification_id IS NOT NULL THEN 'notification'
       ELSE 'rebuild'
       END,
       origin.notification_id
  FROM {former} AS former (session_id, columns)
  JOIN charging.session AS known
    ON known.tenant = :tenant
   AND known.session_id = former.session_id
 CROSS JOIN LATERAL to_jsonb(known) AS present
 CROSS JOIN LATERAL (
       SELECT column_group,
              jsonb_object_agg(name, former.columns -> name) AS changed_from,
              jsonb_object_agg(name, present -> name) AS changed_to
         FROM (VALUES {columns}) AS described (name, column_group)
        WHERE former.columns -> name IS DISTINCT FROM present -> name
        GROUP BY column_group) AS changed
 CROSS JOIN LATERAL (
       SELECT CAST(present ->> (changed.column_group || '_at') AS timestamptz),
              present ->> (changed.column_group || '_version')) AS fact (at, version)
  LEFT JOIN unnest(
       CAST(:source_sessions AS bigint[]), CAST(:source_groups AS text[]), CAST(:source_times AS timestamptz[]),
       CAST(:source_versions AS text[]), CAST(:source_notifications AS uuid[])
       ) AS origin (session_id, column_group, at, version, notification_id)
    ON origin.session_id = known.session_id
   AND origin.column_group = changed.column_group
   AND origin.at = fact.at
   AND origin.version = fact.version
 ORDER BY known.session_id, changed.column_group
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - the names are ours
