"""How the console writes times, durations and numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from receiver.console.charts import Chart, Series
from receiver.console.rendering import create_environment, duration, energy, money, relative, share, when

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.25, "250 ms"),
        (9.94, "9.9 s"),
        (42, "42 s"),
        (60, "1 min"),
        (3_723, "1 h 2 min"),
        (3_605, "1 h"),
        (timedelta(days=2, hours=3, minutes=4), "2 d 3 h"),
        (Decimal("86400"), "1 d"),
    ],
)
def test_a_duration_is_written_in_its_two_largest_units(value: float | timedelta | None, written: str) -> None:
    assert duration(value) == written


def test_a_moment_is_written_exactly_and_relative_to_now() -> None:
    assert "2026-03-04 12:00:00 UTC" in when(NOON)
    assert relative(NOON, NOON + timedelta(hours=2)) == "2 h ago"
    assert relative(NOON, NOON - timedelta(minutes=3)) == "in 3 min"
    assert when(None) == "–"


def test_a_share_reaches_one_hundred_percent_only_if_nothing_is_missing() -> None:
    assert share(Decimal("0.9999999")) == "99.99 %"
    assert share(1) == "100.00 %"
    assert (energy(Decimal("12345.6")), money(Decimal("1234.5"), "EUR")) == ("12.35 kWh", "1,234.50 EUR")


def test_what_a_template_shows_is_escaped() -> None:
    template = create_environment().from_string('<a title="{{ name }}">{{ name }}</a>')
    assert template.render(name='"><script>alert(1)</script>').count("<") == 2


def test_a_chart_says_in_words_what_it_shows() -> None:
    chart = Chart("Rate", "1/s", [NOON], [Series("received", [Decimal("2.5")]), Series("refused", [None])])
    assert chart.summary() == "received: 2.5 to 2.5, last 2.5 1/s"
    assert not chart.is_empty
    assert Chart("Rate", "1/s", [NOON], [Series("refused", [None])]).is_empty


def test_the_axis_of_a_chart_is_the_time_that_was_chosen_and_never_one_moment() -> None:
    hour = timedelta(hours=1)
    line = [Series("received", [1])]
    since, until = json.loads(Chart("Rate", "1/s", [NOON], line, NOON - hour, NOON + hour).data())["span"]
    assert (since, until) == ((NOON - hour).timestamp(), (NOON + hour).timestamp())
    since, until = json.loads(Chart("Rate", "1/s", [NOON], line).data())["span"]
    assert since < NOON.timestamp() < until < since + 7_200
