"""A notification that comes alone costs few statements: nearly all of what it costs is one of them."""

from __future__ import annotations

from itertools import islice
from statistics import median

from sqlalchemy import Engine

from bench.few import Meter, take
from bench.load import Fleet, began_at

#: Applied first: the first of each entity asks for more.
KNOWN = 1_000

ALONE = 40

#: The most statements of the median notification, each a round trip: to apply it, and to derive what it changed with its
#: findings. More of them need a reason, because a service that is little used does hardly anything else.
TO_APPLY = 14
TO_DERIVE = 33


def test_a_notification_alone_costs_few_statements(engine: Engine, database_url: str) -> None:
    bodies, meter = Fleet(began_at()).bodies(KNOWN + ALONE), Meter(engine)
    take(database_url, meter, list(islice(bodies, KNOWN)))
    applied, derived = zip(*(take(database_url, meter, [body]) for body in bodies), strict=True)
    assert len(applied) == ALONE
    assert 5 < median(spent.statements for spent in applied) <= TO_APPLY
    assert 10 < median(spent.statements for spent in derived) <= TO_DERIVE
