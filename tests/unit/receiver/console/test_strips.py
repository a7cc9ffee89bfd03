"""Strips of days, of which each column is a day."""

from __future__ import annotations

import re
from datetime import date

import pytest

from receiver.console.strips import COLUMN, HEIGHT, MIN_HEIGHT, strip
from storage.reports.uptime_months import DayShare

DAYS = [date(2026, 3, day) for day in (1, 2, 3)]


def heights(paths: list[tuple[str, str]], column: int) -> dict[str, float]:
    """The heights of the parts of a column."""
    found = {}
    for part, outline in paths:
        for left, height in re.findall(r"M(\d+) [0-9.]+h[0-9]+v([0-9.]+)", outline):
            if int(left) == column * COLUMN:
                found[part] = float(height)
    return found


@pytest.mark.parametrize(
    ("outage_s", "excluded_s", "unknown_s", "parts"),
    [
        (0, 0, 0, {"up"}),
        (86_400, 0, 0, {"outage"}),
        (86_400, 86_400, 0, {"excluded"}),
        (60, 30, 0, {"outage", "excluded", "up"}),
        (43_200, 1, 43_200, {"outage", "excluded", "unknown"}),
        (0, 0, 86_399, {"unknown", "up"}),
    ],
)
def test_a_column_is_as_high_as_the_day_and_shows_every_part(
    outage_s: int, excluded_s: int, unknown_s: int, parts: set[str]
) -> None:
    drawn = strip(DAYS[:1], [DayShare(DAYS[0], 86_400, outage_s, excluded_s, unknown_s)], DAYS[1])
    column = heights(list(drawn.paths), 0)
    assert column.keys() == parts
    assert sum(column.values()) == pytest.approx(HEIGHT)
    assert min(column.values()) >= MIN_HEIGHT


def test_a_day_without_figures_is_unknown_and_one_that_is_not_over_is_not_drawn() -> None:
    drawn = strip(DAYS, [DayShare(DAYS[0], 86_400, 0, 0, 0)], DAYS[2])
    assert [heights(list(drawn.paths), column) for column in range(3)] == [{"up": HEIGHT}, {"unknown": HEIGHT}, {}]
    assert drawn.summary == "2 days are over: 0 with outages that count, 1 unknown in part or whole"
    assert strip(DAYS, [], None).paths == []
