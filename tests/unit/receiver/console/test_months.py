"""Months as addresses of the console name them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from receiver.console.months import Month


@pytest.mark.parametrize("month", ["2026-01", "2026-02", "2024-02", "2026-12", "2000-01", "2999-12"])
def test_a_month_is_written_as_it_is_read_and_has_neighbours(month: str) -> None:
    read = Month.parse(month)
    assert read is not None
    assert str(read) == month
    assert read.next.previous == read == read.previous.next
    assert read.days[0] == read.first_day
    assert read.next.first_day - read.days[-1] == timedelta(days=1)
    assert (read.next.first_day.year, read.next.first_day.month) == (
        read.first_of_twelve.year + 1,
        read.first_of_twelve.month,
    )


@pytest.mark.parametrize(
    "text", [None, "", "2026", "2026-13", "2026-1", "0001-01", "9999-12", "２０２６-01", "2026-01\n"]
)
def test_what_is_no_month_is_none(text: str | None) -> None:
    assert Month.parse(text) is None
