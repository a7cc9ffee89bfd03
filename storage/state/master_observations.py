"""Record what each fact says of the tracked columns of master data.

:mod:`storage.schema.tracked` names the tracked columns. An observation is recorded of every fact of a tracked group
that has a time of its own, whether it is newer than what is stored or not. So the history of an entity is its
observations in the order of their facts, whatever the order in which they arrived; the view
``charging.master_revision`` shows what changed from one to the next.

Of several reads that show the same time of change, the latest one counts, as in the state. AMPECO may report a new time
of change for anything about an entity, such as a status. So of successive reads that show the same, only the first and
the last are kept: a read that is written late, and whose time lies between them, ends with the last one. What has no
better time than when it was read, such as where a connector belongs, or a boot that a wrong clock dates far ahead, is
new only if it differs: of these reads only the first is kept. Reads of one entity that are written together are all
kept: each is compared with what is stored, and not with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from storage.documents import to_json
from storage.schema.entities import MIRRORS
from storage.schema.tracked import TRACKED_GROUPS, TrackedGroup
from storage.schema_names import CHARGING
from storage.state.changes import Entity, FactKey, is_tracked
from storage.state.fold import Fact
from storage.state.version import Version


def observe_master_data(
    connection: Connection,
    tenant: str,
    facts: Iterable[Fact],
    source_notifications: Mapping[FactKey, UUID],
    *,
    schema: str = CHARGING,
) -> dict[Entity, datetime]:
    """Record the observations of tracked columns; nothing is executed if there are none.

    Parameters:
        connection: has written the facts to the state, and so locked the rows of the entities.
        tenant: the tenant's name.
        facts: the facts of which some may be of tracked groups.
        source_notifications: the notifications that contain the facts.
        schema: the schema of the table; a rebuild has its own.

    Returns:
        The entities of which something new was recorded, each with the time of the earliest such fact. What a read
        shows again at a later time is nothing new.
    """
    rows = [
        _row(TRACKED_GROUPS[fact.kind, fact.group], fact, source_notifications) for fact in facts if is_tracked(fact)
    ]
    if not rows:
        return {}
    parameters = {"tenant": tenant, "rows": to_json(rows)}
    found = connection.execute(_insert(schema), parameters)
    return {Entity(kind, entity_id): at for kind, entity_id, at in found}


def _row(tracked: TrackedGroup, fact: Fact, source_notifications: Mapping[FactKey, UUID]) -> dict[str, Any]:
    key = FactKey(fact.kind, fact.entity_id, fact.group, fact.at, fact.version)
    return {
        "kind": fact.kind,
        "entity_id": fact.entity_id,
        "column_group": fact.group,
        "fact_at": fact.at,
        "source": "read" if fact.version.is_read else "notification",
        "fact_version": fact.version,
        "is_undated": fact.version.startswith(Version.first_of_reads_since(fact.at)),
        "columns": tracked.part_of(fact.values),
        "notification_id": source_notifications.get(key),
    }


def digest_sql(tracked: str) -> str:
    """Return the SQL of the digest of tracked columns, an expression of type jsonb."""
    return f"left(encode(sha256(convert_to(CAST({tracked} AS text), 'UTF8')), 'hex'), 16)"


def _typed(kind: str, tracked: TrackedGroup) -> str:
    """Return the SQL of the tracked columns of a group, spelled as the columns of their table are."""
    members = [f"'{name}', typed.{name}" for name in tracked.columns]
    members += [f"'{key}', typed.raw -> '{key}'" for key in tracked.raw_keys]
    return f"""
            WHEN shown.kind = '{kind}' AND shown.column_group = '{tracked.group.name}' THEN (
                 SELECT jsonb_build_object({", ".join(members)})
                   FROM json_populate_record(NULL::charging.{MIRRORS[kind].name}, shown.columns) AS typed)"""  # noqa: S608 - the names are ours


@cache
def _insert(schema: str) -> TextClause:
    """Return the statement that records observations. Index: the unique constraint."""
    cases = "".join(_typed(kind, tracked) for (kind, _), tracked in TRACKED_GROUPS.items())
    return text(f"""
WITH said AS (
    SELECT shown.kind, shown.entity_id, shown.column_group, shown.fact_at, shown.source, shown.fact_version,
           shown.notification_id,
           shown.is_undated,
           shown.source = 'read' AND (shown.column_group <> 'boot' OR shown.is_undated) AS may_repeat,
           count(*) OVER (PARTITION BY shown.kind, shown.entity_id, shown.column_group) = 1 AS is_alone,
           CASE{cases}
            END AS tracked
      FROM json_to_recordset(CAST(:rows AS json)) AS shown (
           kind text, entity_id bigint, column_group text, fact_at timestamptz, source text, fact_version text,
           notification_id uuid, is_undated boolean, columns json)
), placed AS MATERIALIZED (
    SELECT said.*,
           first.fact_at AS first_at,
           earlier.fact_at AS earlier_at,
           coalesce(earlier.tracked = said.tracked, false) AS repeats_earlier,
           coalesce(first.tracked = earlier.tracked, false) AS earlier_repeats_first,
           coalesce(later.tracked = said.tracked, false) AS repeats_later,
           coalesce(later.fact_at = said.fact_at, false) AS is_known
      FROM said
      LEFT JOIN LATERAL ({_read(schema, "< said.fact_at", "DESC")}) AS earlier ON may_repeat
      LEFT JOIN LATERAL ({_read(schema, "< earlier.fact_at", "DESC")}) AS first ON may_repeat
      LEFT JOIN LATERAL ({_read(schema, ">= said.fact_at", "ASC")}) AS later ON may_repeat
), thinned AS (
    DELETE FROM {schema}.master_observation AS known
     USING placed
     WHERE known.tenant = :tenant
       AND known.kind = placed.kind
       AND known.entity_id = placed.entity_id
       AND known.column_group = placed.column_group
       AND known.fact_at = placed.earlier_at
       AND known.source = 'read'
       AND placed.repeats_earlier
       AND placed.earlier_repeats_first
       AND placed.is_alone
       AND NOT placed.is_known
       AND NOT EXISTS (
           SELECT
             FROM {schema}.master_observation AS between
            WHERE between.tenant = :tenant
              AND between.kind = placed.kind
              AND between.entity_id = placed.entity_id
              AND between.column_group = placed.column_group
              AND between.fact_at BETWEEN placed.first_at AND placed.earlier_at
              AND between.source <> 'read')
), added AS (
    INSERT INTO {schema}.master_observation AS known (
           tenant, kind, entity_id, column_group, fact_at, source, digest, fact_version, tracked, notification_id)
    SELECT DISTINCT ON (kind, entity_id, column_group, fact_at, source, digest.digest)
           :tenant, kind, entity_id, column_group, fact_at, source, digest.digest, fact_version, tracked,
           notification_id
      FROM placed
     CROSS JOIN LATERAL (
           SELECT CASE WHEN source = 'notification' THEN {digest_sql("tracked")} END) AS digest (digest)
     WHERE NOT (is_alone AND repeats_earlier AND (repeats_later OR is_undated))
     ORDER BY kind, entity_id, column_group, fact_at, source, digest.digest, fact_version COLLATE "C" DESC
        ON CONFLICT (tenant, kind, entity_id, column_group, fact_at, source, digest) DO UPDATE
       SET tracked = excluded.tracked, fact_version = excluded.fact_version
     WHERE excluded.fact_version > known.fact_version
       AND excluded.tracked IS DISTINCT FROM known.tracked
    RETURNING known.kind, known.entity_id, known.column_group, known.fact_at, known.source
)
SELECT added.kind, added.entity_id, min(added.fact_at)
  FROM added
  JOIN placed USING (kind, entity_id, column_group, fact_at, source)
 WHERE placed.is_known
    OR NOT placed.repeats_earlier
 GROUP BY added.kind, added.entity_id
""")  # noqa: S608 - the names are ours


def _read(schema: str, time: str, order: str) -> str:
    """Return the query of the next observation of a read from a time on, in an order. Index: the unique constraint."""
    return f"""
        SELECT other.fact_at, other.tracked
          FROM {schema}.master_observation AS other
         WHERE other.tenant = :tenant
           AND other.kind = said.kind
           AND other.entity_id = said.entity_id
           AND other.column_group = said.column_group
           AND other.source = 'read'
           AND other.fact_at {time}
         ORDER BY other.fact_at {order}
         LIMIT 1"""  # noqa: S608 - the names are ours
