"""Count the open findings of high severity."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text

from analytics.findings.rules import RULES


@dataclass(frozen=True, slots=True)
class HighFindings:
    """The open findings of a rule of high severity that were first seen on one UTC day."""

    tenant: str
    rule: str
    day: date
    count: int


# Index: finding_open_idx.
_HIGH = text("""
SELECT tenant, rule, CAST(first_seen_at AT TIME ZONE 'UTC' AS date) AS day, count(*)
  FROM analytics.finding
 WHERE tenant = ANY(:tenants)
   AND rule = ANY(:rules)
   AND resolved_at IS NULL
 GROUP BY tenant, rule, day
 ORDER BY tenant, rule, day
""")


def high_findings(connection: Connection, tenants: Collection[str]) -> Sequence[HighFindings]:
    """Return the open findings of high severity, counted by tenant, rule, and the day on which they were first seen."""
    rules = [rule.name for rule in RULES.values() if rule.severity == "high"]
    rows = connection.execute(_HIGH, {"tenants": list(tenants), "rules": rules})
    return [HighFindings(*row) for row in rows]
