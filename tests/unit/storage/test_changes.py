"""Change sets of several notifications keep the least favourable evidence about each entity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from storage.state.changes import ChangeSet, Entity

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)
EVSE = Entity("evse", 902)


@pytest.mark.parametrize(
    ("times", "latest"),
    [
        ([NOW], NOW),
        ([NOW, NOW + timedelta(hours=1), NOW - timedelta(hours=1)], NOW + timedelta(hours=1)),
        ([NOW, None, NOW + timedelta(hours=1)], None),
    ],
)
def test_the_latest_time_counts_and_a_missing_one_outweighs_all(
    times: list[datetime | None], latest: datetime | None
) -> None:
    for ordered in permutations(times):
        together = ChangeSet()
        for at in ordered:
            changes = ChangeSet()
            changes.require_read(*EVSE, "changed", changed_at=at)
            changes.read_if_unknown(*EVSE, seen_at=at)
            together.add(changes)
        assert together.required_reads == {EVSE: "changed"}
        assert together.changed_at.get(EVSE) == latest
        assert together.reads_if_unknown == {EVSE: latest}
