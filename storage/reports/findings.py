"""What looks wrong in a tenant's data: how many findings each rule has, and the findings themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many findings a rule has, open or resolved, and when the oldest of them was found first."""

    rule: str
    findings: int
    first_seen_at: datetime


# Index: finding_open_idx for the open ones, of which there are few; the resolved ones of a tenant are read as a whole.
_COUNTS = """
SELECT rule, count(*), min(first_seen_at)
  FROM analytics.finding
 WHERE tenant = :tenant
   AND resolved_at {resolved}
 GROUP BY rule
"""

_COUNT_OPEN, _COUNT_RESOLVED = (text(_COUNTS.format(resolved=resolved)) for resolved in ("IS NULL", "IS NOT NULL"))


def rule_counts(connection: Connection, tenant: str, *, is_open: bool) -> dict[str, RuleCount]:
    """Return how many findings each rule has, by rule; one without any is missing."""
    rows = connection.execute(_COUNT_OPEN if is_open else _COUNT_RESOLVED, {"tenant": tenant})
    return {row.rule: RuleCount(*row) for row in rows}


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of ``analytics.finding``.

    Attributes:
        began_at: from when on it holds; None: the rule has no time.
        ended_at: until when it held; None: it does.
        change_number: the number of its last change, by which findings are listed.
        name: the beginning of the name of the EVSE or the location; None: it has none, or is a session.
    """

    rule: str
    kind: str
    entity_id: int
    severity: str
    began_at: datetime | None
    ended_at: datetime | None
    first_seen_at: datetime
    resolved_at: datetime | None
    evidence: Mapping[str, Any]
    change_number: int
    name: str | None


# Indexes: finding_open_idx if they are open, else finding_tenant_change_number_idx backwards; primary keys.
_LIST = """
SELECT finding.rule,
       finding.kind,
       finding.entity_id,
       finding.severity,
       nullif(finding.began_at, '-infinity'),
       nullif(finding.ended_at, 'infinity'),
       finding.first_seen_at,
       finding.resolved_at,
       finding.evidence,
       finding.change_number,
       left(coalesce(evse.label, location.name), 200)
  FROM (SELECT *
          FROM analytics.finding
         WHERE finding.tenant = :tenant
           AND finding.resolved_at {resolved}
           AND finding.rule = ANY(:rules)
           AND finding.change_number < :before
         ORDER BY finding.change_number DESC
         LIMIT :limit) AS finding
  LEFT JOIN analytics.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = finding.entity_id
   AND finding.kind = 'evse'
  LEFT JOIN analytics.location AS location
    ON location.tenant = :tenant
   AND location.location_id = finding.entity_id
   AND finding.kind = 'location'
 ORDER BY finding.change_number DESC
"""

_OPEN, _RESOLVED = (text(_LIST.format(resolved=resolved)) for resolved in ("IS NULL", "IS NOT NULL"))


def findings(
    connection: Connection, tenant: str, rules: Collection[str], *, is_open: bool, before: int, limit: int
) -> list[Finding]:
    """Return findings, the one that changed last first.

    Parameters:
        rules: the rules that they broke.
        before: only those whose last change has a lower number.
    """
    parameters = {"tenant": tenant, "rules": sorted(rules), "before": before, "limit": limit}
    return [Finding(*row) for row in connection.execute(_OPEN if is_open else _RESOLVED, parameters)]
