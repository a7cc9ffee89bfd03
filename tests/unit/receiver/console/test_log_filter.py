"""The filter of the pages about notifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from receiver.console.log_filter import read_filter
from storage.ids import made_at, uuid7
from storage.log.scope import BEFORE_ANY

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def test_a_search_covers_the_last_hour_and_failures_the_whole_log() -> None:
    assert read_filter({}, "t", NOW).scope.since == NOW - timedelta(hours=1)
    assert read_filter({"state": "failed"}, "t", NOW).scope.since == BEFORE_ANY
    assert read_filter({"reason": "not JSON"}, "t", NOW).scope.since == BEFORE_ANY
    notification_id = uuid7()
    assert read_filter({"id": str(notification_id)}, "t", NOW).scope.since == made_at(notification_id)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"state": "failed", "reason": "a&b=c"},
        {"state": "pending"},
        {"from": "2026-03-04T01:00:00+02:00", "type": "X", "session": "1", "evse": "2", "charge_point": "3"},
        {"containing": "Łódź ?#%"},
        {"id": "019c0000-0000-7000-8000-000000000000"},
    ],
)
def test_a_fixed_filter_selects_the_same_later(values: dict[str, str]) -> None:
    first = read_filter(values, "t", NOW)
    query = urlsplit("?" + first.fixed().query()).query
    later = read_filter({name: value for name, (value,) in parse_qs(query).items()}, "t", NOW + timedelta(days=1))
    assert (later.scope, later.is_pending, later.problems) == (first.scope, first.is_pending, ())
