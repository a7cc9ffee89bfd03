"""Clocks of charge points: what they told cannot be newer than when it was learnt.

AMPECO passes on the times that charge points report. One whose clock is months ahead would
pin its status for months, as of two facts the newer stands. So a fact from too far ahead counts
from when it was learnt. What the charge point said stays as it said it in the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from storage.fold import Fact

#: Groups that go by the charge point's clock; the others go by AMPECO's.
CHARGE_POINT_GROUPS = frozenset({"hardware", "network", "boot"})

#: A clock this far ahead is left alone. Local time that is sent as UTC is up to 14 hours ahead, and
#: still orders its own facts rightly, however late each of them arrives.
TOLERANCE = timedelta(days=1)


def is_ahead(at: datetime, learnt_at: datetime) -> bool:
    """Whether a charge point tells a time that cannot be."""
    return at - learnt_at > TOLERANCE


def bounded(facts: Sequence[Fact], learnt_at: datetime) -> list[Fact]:
    """The facts, none newer than when it was learnt, but for what is tolerated.

    Parameters:
        learnt_at: of a notification, when it came; of a read, when it began by the tenant's clock.
            It has to be stored, or else a replay would end in other rows.
    """
    return [
        replace(fact, at=learnt_at) if fact.group in CHARGE_POINT_GROUPS and is_ahead(fact.at, learnt_at) else fact
        for fact in facts
    ]
