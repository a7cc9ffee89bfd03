"""The API budget: how many calls of each tenant were made, for what, and how many were saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection, text

from storage.documents import to_json

#: Why a call is made. ``person``: somebody typed a command.
CallReason = Literal["refresh", "reconcile", "backfill", "status_log", "subscription_monitor", "manual"]


@dataclass(slots=True)
class Calls:
    """Calls of one tenant for one reason, made and saved."""

    made: int = 0
    saved: int = 0


# Index: primary key.
_ADD = text("""
INSERT INTO ingest.api_usage AS known (tenant, hour_at, reason, calls, saved)
SELECT tenant, date_trunc('hour', now(), 'UTC'), reason, calls, saved
  FROM json_populate_recordset(NULL::ingest.api_usage, CAST(:rows AS json))
 ORDER BY tenant, reason
    ON CONFLICT (tenant, hour_at, reason) DO UPDATE SET
       calls = known.calls + excluded.calls,
       saved = known.saved + excluded.saved
""")


def add(connection: Connection, calls: Mapping[tuple[str, CallReason], Calls]) -> None:
    """Add to the hour's figures, by tenant and reason."""
    rows = [
        {"tenant": tenant, "reason": reason, "calls": counted.made, "saved": counted.saved}
        for (tenant, reason), counted in calls.items()
    ]
    connection.execute(_ADD, {"rows": to_json(rows)})


# Index: primary key.
_SPENT = text("""
SELECT tenant, reason, CAST(sum(calls) AS bigint), CAST(sum(saved) AS bigint)
  FROM ingest.api_usage
 WHERE tenant = ANY(:tenants)
   AND hour_at > now() - :during
 GROUP BY tenant, reason
 ORDER BY tenant, reason
""")


def spent(connection: Connection, tenants: list[str], during: timedelta) -> dict[str, dict[CallReason, Calls]]:
    """Calls of the last hours, by tenant and reason."""
    found: dict[str, dict[CallReason, Calls]] = {tenant: {} for tenant in tenants}
    for tenant, reason, made, saved in connection.execute(_SPENT, {"tenants": tenants, "during": during}):
        found[tenant][reason] = Calls(made, saved)
    return found


# Index: primary key, read whole; an hour is a row for each tenant and reason.
_PRUNE = text("DELETE FROM ingest.api_usage WHERE hour_at < now() - :age")


def prune(connection: Connection, age: timedelta) -> None:
    """Drop the figures of hours longer ago than ``age``."""
    connection.execute(_PRUNE, {"age": age})
