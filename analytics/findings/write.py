"""Make the open findings of a rule those that its query finds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from analytics.findings.rules import Rule
from analytics.findings.spans import Spans
from analytics.writing import Work
from storage.documents import to_json

#: The most entities that are evaluated together, and the most EVSEs as a whole: one may have years of stretches.
MAX_ENTITIES = 1_000
MAX_WHOLE_EVSES = 50


def write_rule(work: Work, rule: Rule, spans: Spans) -> None:
    """Evaluate a rule for the entities of its scope, each in its span, and write the findings that differ."""
    statement = _write_of_rule(rule)
    for part in _parts(rule, spans):
        parameters = {"scope": to_json(part), "rule": rule.name, "kind": rule.kind, "severity": rule.severity}
        work.write("finding", statement, parameters | {"now": work.now})


def _parts(rule: Rule, spans: Spans) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a rule's scope in parts."""
    rows = [
        {"entity_id": entity_id, "since": span.since, "until": span.until} for entity_id, span in sorted(spans.items())
    ]
    everything = [row for row in rows if row["since"] is None and rule.kind == "evse"]
    some = [row for row in rows if row["since"] is not None or rule.kind != "evse"]
    for part, size in ((everything, MAX_WHOLE_EVSES), (some, MAX_ENTITIES)):
        for first in range(0, len(part), size):
            yield part[first : first + size]


_SCOPE = "json_to_recordset(CAST(:scope AS json)) AS scope (entity_id bigint, since timestamptz, until timestamptz)"


def _is_in_scope(row: str) -> str:
    """Return the condition that a finding belongs to the scope; one without a time always does."""
    return f"""{row}.entity_id = scope.entity_id
   AND ({row}.began_at = '-infinity' OR {row}.began_at BETWEEN
        coalesce(scope.since, '-infinity') AND coalesce(scope.until, 'infinity'))"""


@cache
def _write_of_rule(rule: Rule) -> str:
    """Return the statement that makes the open findings of a scope those that a rule finds. Index: primary key.

    A finding that is resolved ends then, if it had no end. The first round of a tenant finds many thousands in a table
    of which Postgres knows nothing yet; LATERAL with OFFSET and NOT IN look each of them up, and compare no two lists.
    """
    return f"""
WITH scope AS MATERIALIZED (
    SELECT entity_id, since, until FROM {_SCOPE}
), found AS MATERIALIZED (
    SELECT DISTINCT ON (entity_id, began_at)
           broken.entity_id, broken.began_at, coalesce(broken.ended_at, 'infinity') AS ended_at, broken.evidence
      FROM ({rule.query}) AS broken
      JOIN scope ON {_is_in_scope("broken")}
     WHERE broken.began_at IS NOT NULL
     ORDER BY entity_id, began_at, ended_at DESC, evidence
), changed AS (
    SELECT found.entity_id,
           found.began_at,
           found.ended_at,
           CAST(:severity AS text) AS severity,
           found.evidence,
           CAST(NULL AS timestamptz) AS resolved_at
      FROM found
      LEFT JOIN LATERAL (
           SELECT tenant, resolved_at, ended_at, severity, evidence
             FROM analytics.finding
            WHERE finding.tenant = :tenant
              AND finding.rule = :rule
              AND finding.kind = :kind
              AND finding.entity_id = found.entity_id
              AND finding.began_at = found.began_at
           OFFSET 0) AS known ON true
     WHERE known.tenant IS NULL
        OR known.resolved_at IS NOT NULL
        OR (known.ended_at, known.severity, known.evidence) IS DISTINCT FROM
           (found.ended_at, CAST(:severity AS text), found.evidence)
     UNION ALL
    SELECT known.entity_id,
           known.began_at,
           CASE known.ended_at WHEN 'infinity' THEN greatest(known.began_at, CAST(:now AS timestamptz))
           ELSE known.ended_at END,
           known.severity,
           known.evidence,
           CAST(:now AS timestamptz)
      FROM scope
      JOIN analytics.finding AS known
        ON known.tenant = :tenant
       AND known.rule = :rule
       AND known.kind = :kind
       AND {_is_in_scope("known")}
     WHERE known.resolved_at IS NULL
       AND (known.entity_id, known.began_at) NOT IN (SELECT entity_id, began_at FROM found)
), written AS (
    INSERT INTO analytics.finding AS known (
        tenant, rule, kind, entity_id, began_at, ended_at, severity, evidence, first_seen_at, resolved_at,
        change_number, changed_at)
    SELECT :tenant, :rule, :kind, entity_id, began_at, ended_at, severity, evidence, :changed_at, resolved_at,
           CAST(:last AS bigint) + row_number() OVER (ORDER BY entity_id, began_at), :changed_at
      FROM changed
     ORDER BY entity_id, began_at
        ON CONFLICT (tenant, rule, kind, entity_id, began_at) DO UPDATE SET
           ended_at = excluded.ended_at,
           severity = excluded.severity,
           evidence = excluded.evidence,
           resolved_at = excluded.resolved_at,
           change_number = excluded.change_number,
           changed_at = excluded.changed_at
    RETURNING known.entity_id
)
SELECT entity_id, count(*), CAST(NULL AS timestamptz) FROM written GROUP BY entity_id
"""  # noqa: S608 - the names are ours
