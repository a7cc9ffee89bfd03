"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Severity = Literal["high", "medium", "low"]

#: The severities, the worst first.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

#: What is evaluated together: sessions, the use of EVSEs over a time, their outages over a time, locations.
ScopeName = Literal["session", "use", "outage", "location"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that the data should keep.

    The query yields ``entity_id``, ``began_at``, ``ended_at`` and ``evidence`` for the entities of ``scope (entity_id,
    since, until)``, and may refer to ``:tenant`` and ``:now``. It never subtracts instants, because the end of a
    stretch may be ``infinity``, and evidence has no personal data and no text of unlimited length.

    Attributes:
        name: its name, which stays.
        kind: the kind of entity that breaks it.
        severity: how bad it is.
        scope: the scope in which it is evaluated.
        meaning: what a finding means.
        remedy: what to do about it.
        query: the query of what breaks it.
    """

    name: str
    kind: Literal["session", "evse", "location"]
    severity: Severity
    scope: ScopeName
    meaning: str
    remedy: str
    query: str
