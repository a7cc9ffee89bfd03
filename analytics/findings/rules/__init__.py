"""The rules of findings: what looks wrong in the data, why it matters, and the query that finds it."""

from __future__ import annotations

from collections.abc import Mapping

from analytics.findings.rules import locations, outages, sessions, use
from analytics.findings.rules.rule import SEVERITIES, Rule, ScopeName

__all__ = ["RULES", "SEVERITIES", "Rule", "ScopeName", "describe"]

#: The rules in the order of the documentation.
_IN_ORDER = (
    sessions.SESSION_OPEN,
    use.CHARGING_WITHOUT_SESSION,
    sessions.SESSION_WHILE_AVAILABLE,
    use.SESSIONS_AT_ONCE,
    sessions.REGISTER_FALLS,
    sessions.ENERGY_ABOVE_POWER,
    sessions.CDR_DIFFERS,
    sessions.AMOUNT_WITHOUT_CURRENCY,
    use.CLOCK_AHEAD,
    locations.TIMEZONE_MISSING,
    outages.OUTAGE_DIFFERS,
    sessions.PROVISIONAL,
    locations.NO_POSITION,
)

#: All rules, by name.
RULES: Mapping[str, Rule] = {rule.name: rule for rule in _IN_ORDER}


def describe() -> str:
    """Return the rules as Markdown, a row for each."""
    rows = [
        f"| `{rule.name}` | {rule.kind} | {rule.severity} | {rule.meaning} | {rule.remedy} |" for rule in RULES.values()
    ]
    return "\n".join(["| rule | entity | severity | meaning | what to do |", "|---|---|---|---|---|", *rows])
