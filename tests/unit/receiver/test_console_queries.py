"""Filters in a URL: what cannot be read is left out, and said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from ampeco.values import MAX_BIGINT
from receiver.console.queries import Query, decode_log_position, decode_position, encode_position


def test_filters_are_read() -> None:
    query = Query({"outcome": "failed", "evse": f" {MAX_BIGINT} ", "min_kwh": "1.5", "from": "2026-03-04", "to": ""})
    assert query.choice("outcome", ("charged", "failed")) == "failed"
    assert query.identifier("evse") == MAX_BIGINT
    assert query.number("min_kwh", 100) == Decimal("1.5")
    assert query.day("from") == datetime(2026, 3, 4, tzinfo=UTC)
    assert query.day("from", after=1) == datetime(2026, 3, 5, tzinfo=UTC)
    assert query.day("to") is None
    assert query.identifier("missing") is None
    assert query.problems == []


@pytest.mark.parametrize("value", ["x", "\0", "-1", "1.5", "²", "9223372036854775808", "9" * 5_000])
def test_a_value_that_is_no_id_is_left_out_and_said(value: str) -> None:
    query = Query({"evse": value})
    assert query.identifier("evse") is None
    assert len(query.problems) == 1


@pytest.mark.parametrize("value", ["x", "NaN", "Infinity", "-1", "101", "1e9999999"])
def test_a_value_that_is_no_possible_number_is_left_out_and_said(value: str) -> None:
    query = Query({"min_kwh": value})
    assert query.number("min_kwh", 100) is None
    assert len(query.problems) == 1


@pytest.mark.parametrize("value", ["yesterday", "2026-02-30", "0000-01-01", "9999-12-31"])
def test_a_value_that_is_no_day_is_left_out_and_said(value: str) -> None:
    query = Query({"to": value})
    assert query.day("to", after=1) is None
    assert len(query.problems) == 1


@pytest.mark.parametrize("value", ["yesterday", "2026-02-30T00:00", "9999-12-31T23:59-23:00", "\0"])
def test_a_value_that_is_no_time_is_left_out_and_said(value: str) -> None:
    query = Query({"from": value})
    assert query.moment("from") is None
    assert len(query.problems) == 1


@pytest.mark.parametrize("value", ["7", "x", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_a_value_that_is_no_id_of_ours_is_left_out_and_said(value: str) -> None:
    query = Query({"id": value})
    assert query.uuid("id") is None
    assert len(query.problems) == 1


def test_a_text_is_cut_unless_something_is_done_to_what_it_selects() -> None:
    query = Query({"q": "\0 Łódź ", "long": "x" * 6}, {"long": "Text"})
    assert query.text("q") == "Łódź"
    assert query.text("long", longest=5) == "xxxxx"
    assert query.problems == []
    assert query.text("q", is_cut=False) is None
    assert query.text("long", longest=5, is_cut=False) is None
    assert query.text("long", longest=6, is_cut=False) == "xxxxxx"
    assert [problem.partition(" is left out")[0] for problem in query.problems] == [
        "The filter “q”",
        "The filter “Text”",
    ]


def test_what_was_understood_is_given() -> None:
    query = Query({"from": " 2026-03-04T12:00 ", "evse": "x", "id": "019c0000-0000-7000-8000-000000000000", "to": ""})
    assert query.moment("from") == datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert query.uuid("id") == UUID("019c0000-0000-7000-8000-000000000000")
    assert query.moment("to") is None
    assert query.identifier("evse") is None
    assert query.given == {"from": "2026-03-04T12:00", "id": "019c0000-0000-7000-8000-000000000000"}


def test_a_position_returns_as_it_was() -> None:
    for at in (None, datetime(2026, 3, 4, 7, 1, 2, 345678, tzinfo=UTC)):
        assert decode_position(encode_position(at, 5)) == (at, "5")
    for wrong in (None, "", "~", "x~1", "9999-12-31T23:59-23:00~1"):
        assert decode_position(wrong) is None


def test_a_position_in_the_log_returns_as_it_was() -> None:
    at, identifier = datetime(2026, 3, 4, 12, tzinfo=UTC), UUID(int=7)
    assert decode_log_position(encode_position(at, identifier)) == (at, identifier)
    for wrong in (
        None,
        "",
        "x",
        "2026-03-04",
        f"{at.isoformat()}~x",
        f"~{identifier}",
        f"{at.isoformat()},{identifier}",
    ):
        assert decode_log_position(wrong) is None, wrong
