"""How fresh and how complete a tenant's data are: the views of the contract, as the console shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Freshness:
    """A row of ``analytics.freshness``."""

    last_notification_at: datetime | None
    applied_until: datetime
    derived_until: datetime | None
    findings_until: datetime
    oldest_pending_at: datetime | None
    is_receiver_alive: bool


# The view takes each value from the end of a primary key.
_FRESHNESS = text("""
SELECT last_notification_at, applied_until, derived_until, findings_until, oldest_pending_at, is_receiver_alive
  FROM analytics.freshness
 WHERE tenant = :tenant
""")


def freshness(connection: Connection, tenant: str) -> Freshness | None:
    """Return how far a tenant has come; None: nothing of it was derived yet."""
    row = connection.execute(_FRESHNESS, {"tenant": tenant}).one_or_none()
    return None if row is None else Freshness(*row)


@dataclass(frozen=True, slots=True)
class CompletenessDay:
    """A row of ``analytics.completeness_day``; ``applied`` and ``ignored`` are None if the log dropped the day."""

    day: date
    received: int
    applied: int | None
    ignored: int | None
    failed: int
    pending: int
    found_by_reconcile: int
    healed_by_reconcile: int
    without_receiver_s: int


# The view computes only the days that are asked for; see its migration for the indexes.
_DAYS = text("""
SELECT day, received, applied, ignored, failed, pending, found_by_reconcile, healed_by_reconcile, without_receiver_s
  FROM analytics.completeness_day
 WHERE tenant = :tenant
   AND day > CAST(now() AT TIME ZONE 'UTC' AS date) - CAST(:days AS integer)
 ORDER BY day DESC
""")


def completeness_days(connection: Connection, tenant: str, days: int) -> list[CompletenessDay]:
    """Return the last UTC days, today first, of those since the first receiver."""
    return [CompletenessDay(*row) for row in connection.execute(_DAYS, {"tenant": tenant, "days": days})]
