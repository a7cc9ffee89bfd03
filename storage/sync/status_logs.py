"""Find the status logs that are due for a read, because their status changed after the covered time."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from storage.schema.entities import MIRRORS
from storage.state.version import is_read_sql


class DueLog(NamedTuple):
    """A status log that is due for a read; logs sort by urgency.

    Attributes:
        is_explained: False if a read, and no notification, showed the present status, and earlier time is covered.
        looked_at: the end of the covered time, by the tenant's clock; None if no time is covered.
        entity_id: the id of the entity whose log it is.
    """

    is_explained: bool
    looked_at: datetime | None
    entity_id: int


def due_logs(
    connection: Connection, tenant: str, kind: str, status: str, *, looked_before: datetime, limit: int
) -> list[DueLog]:
    """Return the logs of one status that changed since the log was read, most urgent first.

    This reads all rows of the tenant.

    Parameters:
        kind: ``evse`` or ``charge_point``.
        status: ``hardware`` or ``network``.
        looked_before: a log whose covered time ends at this time of the tenant's clock or later waits, unless a
            read showed the status.
        limit: the most logs to return.
    """
    key, is_read = MIRRORS[kind].key, is_read_sql(f"{status}_version")
    statement = text(f"""
        SELECT NOT ({is_read} AND {status}_log_at IS NOT NULL) AS is_explained,
               {status}_log_at, {key}
          FROM charging.{kind}
         WHERE tenant = :tenant
           AND deleted_at IS NULL
           AND {status}_at > coalesce({status}_log_at, '-infinity')
           AND (coalesce({status}_log_at, '-infinity') < :looked_before OR {is_read})
         ORDER BY is_explained, {status}_log_at NULLS FIRST, {key}
         LIMIT :limit
    """)  # noqa: S608 - the names are ours
    rows = connection.execute(statement, {"tenant": tenant, "looked_before": looked_before, "limit": limit})
    return [DueLog(*row) for row in rows]
