"""The log of tenant ``t``, replayed and rebuilt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from storage.log.scope import Scope
from tests.support.facts import sample
from workers.maintenance.rebuild import Comparison, began_at, compare, fold_log, scope_of
from workers.maintenance.replay import Replayed, replay

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def scope(**changes: Any) -> Scope:
    """Return a scope of the whole log, except for the changes."""
    return Scope(**{"tenant": "t", "since": LONG_AGO, "until": datetime.now(UTC) + timedelta(minutes=1), **changes})


def replayed(engine: Engine, *, limit: int = 3, **changes: Any) -> Replayed:
    """Replay to the end."""
    total = Replayed()
    for chunk in replay(engine, scope(**changes), limit=limit):
        total.add(chunk)
    return total


def faulted_at(second: int) -> dict[str, Any]:
    """Return a hardware status with a time of its own."""
    return sample("HardwareStatusNotification.faulted") | {"timestamp": f"2026-03-04T07:00:{second:02}Z"}


def compared(engine: Engine, *, limit: int = 3, in_between: Any = lambda: None) -> Comparison:
    """Rebuild and compare; ``in_between`` is called between the folding and the comparison."""
    scope, since = scope_of(engine, "t"), began_at(engine)
    for _ in fold_log(engine, scope, limit=limit):
        pass
    in_between()
    return compare(engine, scope, since, limit=limit)


def differences(found: Comparison) -> dict[str, tuple[int, int, int]]:
    """Return the numbers of missing, extra and different rows of each table that differs."""
    return {one.table: (one.missing, one.extra, one.different) for one in found.tables if one.differs}
