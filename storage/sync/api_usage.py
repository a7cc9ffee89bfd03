"""Count the API calls of each tenant by hour and reason, and the reads that needed no call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Connection, text

from storage.clock import clock
from storage.documents import to_json
from storage.pruning import prune_table

#: Why a call is made; ``manual``: a person ran a command.
CallReason = Literal["refresh", "reconcile", "backfill", "status_log", "consumption", "subscription_monitor", "manual"]


@dataclass(slots=True)
class Calls:
    """Calls of one tenant for one reason: those that were made, and those that were saved."""

    made: int = 0
    saved: int = 0


# Index: primary key.
_ADD = text("""
INSERT INTO ingest.api_usage AS known (tenant, hour_at, reason, calls, saved)
SELECT :tenant, date_trunc('hour', now(), 'UTC'), reason, calls, saved
  FROM json_populate_recordset(NULL::ingest.api_usage, CAST(:rows AS json))
 ORDER BY reason
    ON CONFLICT (tenant, hour_at, reason) DO UPDATE SET
       calls = known.calls + excluded.calls,
       saved = known.saved + excluded.saved
""")


def add(connection: Connection, calls: Mapping[tuple[str, CallReason], Calls]) -> None:
    """Add calls to the counts of the present hour, by tenant and reason."""
    by_tenant: dict[str, list[dict[str, Any]]] = {}
    for (tenant, reason), counts in sorted(calls.items()):
        by_tenant.setdefault(tenant, []).append({"reason": reason, "calls": counts.made, "saved": counts.saved})
    for tenant, rows in by_tenant.items():
        connection.execute(_ADD, {"tenant": tenant, "rows": to_json(rows)})


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
    """Return the calls of the last ``during``, by tenant and reason."""
    calls: dict[str, dict[CallReason, Calls]] = {tenant: {} for tenant in tenants}
    for tenant, reason, made, saved in connection.execute(_SPENT, {"tenants": tenants, "during": during}):
        calls[tenant][reason] = Calls(made, saved)
    return calls


def spent_today(connection: Connection, tenants: list[str]) -> dict[str, dict[CallReason, Calls]]:
    """Return the calls of the present day in UTC, with those that failed, by tenant and reason."""
    now = clock.now()
    # A second more, so that the hour that begins at midnight counts.
    today = now - now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=1)
    return spent(connection, tenants, today)


def prune(connection: Connection, age: timedelta) -> None:
    """Delete the counts of hours that are longer ago than ``age``."""
    prune_table(connection, "ingest.api_usage", "hour_at < now() - :age", age)
