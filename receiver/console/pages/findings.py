"""The page *Findings*: what looks wrong in the data, by rule and severity, and what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ampeco.values import MAX_BIGINT
from analytics.findings.rules import RULES, SEVERITIES, Rule
from receiver.console.console import Console
from receiver.console.queries import Query
from receiver.console.rendering import when
from storage.reports.findings import Finding, findings, rule_counts

PER_PART = 50

STATES = ("open", "resolved")

#: Longest text of a value that is shown; a rule keeps no long ones.
MAX_VALUE = 120

#: The page of each kind of entity.
_PAGES = {"session": "sessions", "evse": "evses", "location": "locations"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a person chose; None is everything.

    Attributes:
        before: only findings whose last change has a lower number.
        problems: a sentence for each value that was left out.
    """

    tenant: str
    is_open: bool
    rule: str | None
    severity: str | None
    kind: str | None
    before: int | None
    problems: Sequence[str]

    @classmethod
    def of(cls, request: Request, tenant: str) -> Filters:
        """Return the filters of a request; a value that cannot be read is left out."""
        query = Query(request.query_params)
        return cls(
            tenant,
            query.choice("state", STATES) != "resolved",
            query.choice("rule", RULES),
            query.choice("severity", SEVERITIES),
            query.choice("kind", _PAGES),
            query.identifier("before"),
            query.problems,
        )

    def rules(self) -> list[Rule]:
        """Return the rules that are chosen, the worst first."""
        chosen = [
            rule
            for rule in RULES.values()
            if self.rule in (None, rule.name)
            and self.severity in (None, rule.severity)
            and self.kind in (None, rule.kind)
        ]
        return sorted(chosen, key=lambda rule: (SEVERITIES.index(rule.severity), rule.name))

    def link(self) -> Callable[..., str]:
        """Return the function that makes addresses of the page with some filters changed, from its beginning on."""

        def link(**changes: object) -> str:
            chosen = {
                "tenant": self.tenant,
                "state": "open" if self.is_open else "resolved",
                "rule": self.rule,
                "severity": self.severity,
                "kind": self.kind,
            }
            return "/findings?" + urlencode({name: value for name, value in (chosen | changes).items() if value})

        return link


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    filters = Filters.of(request, tenant)
    rules = filters.rules()
    names = [rule.name for rule in rules]
    before = MAX_BIGINT if filters.before is None else filters.before
    counts, found = await console.read(
        lambda connection: (
            rule_counts(connection, tenant, is_open=filters.is_open),
            findings(connection, tenant, names, is_open=filters.is_open, before=before, limit=PER_PART + 1),
        )
    )
    return console.page(
        request,
        "findings.html",
        tenant=tenant,
        filters=filters,
        broken=[(rule, counts[rule.name]) for rule in rules if rule.name in counts],
        kept=[rule for rule in rules if rule.name not in counts],
        findings=found[:PER_PART],
        next_before=found[PER_PART - 1].change_number if len(found) > PER_PART else None,
        all_rules=RULES,
        severities=SEVERITIES,
        kinds=list(_PAGES),
        link=filters.link(),
        evidence_of=evidence_of,
        page_of=lambda finding: page_of(tenant, finding),
        is_first=filters.before is None,
    )


def page_of(tenant: str, finding: Finding) -> str:
    """Return the address of the page of what broke a rule."""
    return f"/tenants/{tenant}/{_PAGES.get(finding.kind, finding.kind)}/{finding.entity_id}"


def evidence_of(finding: Finding) -> list[tuple[str, str]]:
    """Return the values that break the rule, each with its name and as it is written."""
    return [(name, _written(name, value)) for name, value in finding.evidence.items()]


def _written(name: str, value: object) -> str:
    if value is None:
        return "unknown"
    if name.endswith("_at"):
        with contextlib.suppress(ValueError, OverflowError):
            return when(datetime.fromisoformat(str(value)))
    return str(value)[:MAX_VALUE]


routes = [Route("/findings", show)]
