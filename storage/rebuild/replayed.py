"""What a replay has to correct and may leave out: outcomes of notifications that are applied now, and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from storage.schema.entities import MIRRORS
from storage.state.changes import Entity

#: How much the tenant's clock, which gives the time of a read, may differ from ours, which gives the time of receipt.
CLOCK_DIFFERENCE = timedelta(minutes=5)


# Index: primary keys. Rows are locked in one order, so that two replays of the same notifications do not wait for
# each other in a circle. If nothing is cleared, the row of totals is not locked.
_CLEAR = text("""
WITH locked AS (
    SELECT notification_id
      FROM ingest.outcome
     WHERE tenant = :tenant
       AND notification_id = ANY(:notification_ids)
     ORDER BY notification_id
       FOR UPDATE
), cleared AS (
    DELETE FROM ingest.outcome
     USING locked
     WHERE outcome.tenant = :tenant
       AND outcome.notification_id = locked.notification_id
    RETURNING state
), counted AS (
    SELECT count(*) AS outcomes,
           count(*) FILTER (WHERE state = 'ignored') AS ignored,
           count(*) FILTER (WHERE state = 'failed') AS failed
      FROM cleared
)
UPDATE ingest.total
   SET ignored = total.ignored - counted.ignored,
       failed = total.failed - counted.failed
  FROM counted
 WHERE total.tenant = :tenant
   AND counted.outcomes > 0
RETURNING counted.outcomes
""")


def clear_outcomes(connection: Connection, tenant: str, notification_ids: Sequence[UUID]) -> int:
    """Delete the outcomes of notifications that are now applied, and return how many there were."""
    if not notification_ids:
        return 0
    return connection.execute(_CLEAR, {"tenant": tenant, "notification_ids": list(notification_ids)}).scalar() or 0


def read_since(connection: Connection, tenant: str, asked_at: Mapping[Entity, datetime]) -> set[Entity]:
    """Return the entities that were read from the API after a notification that requests a read was received.

    Index: the primary key of each mirrored table.

    Parameters:
        asked_at: when the notification was received, by entity.
    """
    entities: set[Entity] = set()
    for kind in sorted({entity.kind for entity in asked_at}):
        mirror = MIRRORS[kind]
        times = {entity.entity_id: at for entity, at in asked_at.items() if entity.kind == kind}
        rows = connection.execute(
            text(f"""
                SELECT entity_id
                  FROM unnest(CAST(:ids AS bigint[]), CAST(:times AS timestamptz[])) AS asked (entity_id, asked_at)
                  JOIN charging.{mirror.name} AS known
                    ON {mirror.matches("known")}
                   AND known.{mirror.key} = asked.entity_id
                 WHERE known.presence_at > asked_at + :difference
            """),  # noqa: S608 - the names are ours
            {
                "tenant": tenant,
                "ids": list(times),
                "times": list(times.values()),
                "difference": CLOCK_DIFFERENCE,
            },
        )
        entities |= {Entity(kind, entity_id) for entity_id in rows.scalars()}
    return entities
