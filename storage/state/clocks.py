"""Limit the times that charge points report: no fact is newer than the notification or read that contains it.

AMPECO passes on the times that charge points report. A charge point whose clock is months ahead would pin its
status for months, because the newer of two facts wins. So a fact from too far ahead gets the time at which we
learned it. The history keeps the time that the charge point reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from storage.state.fold import Fact

#: Column groups whose times are by the charge point's clock; those of the others are by AMPECO's.
CHARGE_POINT_GROUPS = frozenset({"hardware", "network", "boot"})

#: A clock that is ahead by no more than this is trusted. Local time that is sent as UTC is up to 14 hours ahead, and
#: still orders the charge point's own facts correctly, however late each of them arrives.
TOLERANCE = timedelta(days=1)


def is_ahead(at: datetime, learned_at: datetime) -> bool:
    """Return whether a time that a charge point reports is too far in the future."""
    return at - learned_at > TOLERANCE


def bounded(facts: Sequence[Fact], learned_at: datetime) -> list[Fact]:
    """Return the facts, with the time of each that is too far ahead set to when we learned it.

    Parameters:
        facts: facts of one notification or read.
        learned_at: of a notification, when it arrived; of a read, when it began, by the tenant's clock.
            It must be a stored time, or a replay would result in other rows.
    """
    return [
        replace(fact, at=learned_at) if fact.group in CHARGE_POINT_GROUPS and is_ahead(fact.at, learned_at) else fact
        for fact in facts
    ]
