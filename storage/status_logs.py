"""Which status logs are worth a call: where a status was taken as shown, and where one changed since the last look."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from storage.mirrors import MIRRORS
from storage.version import is_read_sql


class DueLog(NamedTuple):
    """A log that is due, first those that are unexplained, then by the time of the last look.

    Attributes:
        is_explained: False where a read showed a status that nothing announced, and the log was not read.
        looked_at: the end of what is covered; None where nothing is.
        entity_id: whose log it is.
    """

    is_explained: bool
    looked_at: datetime | None
    entity_id: int


def due_logs(
    connection: Connection, tenant: str, kind: str, status: str, *, looked_before: datetime, limit: int
) -> list[DueLog]:
    """The logs of one status that hold news, most urgent first. The tenant's rows are read whole.

    Parameters:
        kind: ``evse`` or ``charge_point``.
        status: ``hardware`` or ``network``.
        looked_before: one whose last look is younger waits, by the tenant's clock.
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
