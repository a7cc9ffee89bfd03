"""A ribbon draws the states of its time, in their order and without gaps, and says the same in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from receiver.console.ribbons import DAY, WEEK, WIDTH, Ribbon, ribbon
from storage.reports.evse_states import MAX_STRETCHES, Stretch

UNTIL = datetime(2026, 3, 5, 12, tzinfo=UTC)


def drawn(*stretches: tuple[float, str], span: timedelta = DAY) -> Ribbon:
    """The ribbon of states, each with the hours before the end at which it began; the last one is the present one."""
    begins = [UNTIL - timedelta(hours=hours) for hours, _ in stretches]
    ends = [*begins[1:], None][: len(begins)]
    made = [Stretch(begin, end, state) for begin, end, (_, state) in zip(begins, ends, stretches, strict=True)]
    return ribbon(made[::-1], UNTIL, span)


def test_pieces_are_in_the_order_of_time_and_without_a_gap() -> None:
    pieces = drawn((30, "available"), (12, "charging"), (6, "suspended")).pieces
    assert [(piece.x, piece.width, piece.state) for piece in pieces] == [
        (0, 180, "available"),
        (180, 90, "charging"),
        (270, 90, "suspended"),
    ]
    assert [piece.is_present for piece in pieces] == [False, False, True]


def test_stretches_of_one_state_are_one_piece() -> None:
    (piece,) = drawn((12, "charging"), (6, "charging"), (3, "charging")).pieces
    assert (piece.x, piece.width) == (180, 180)
    assert piece.title == "charging, 00:00 to 12:00 UTC, 12 h"


@pytest.mark.parametrize("state", ["faulted", "unavailable", "offline"])
def test_a_fault_of_seconds_is_seen_in_a_week(state: str) -> None:
    pieces = drawn((200, "available"), (100, state), (99.999, "available"), span=WEEK).pieces
    assert pieces[-1].state == state, "it is drawn over the others"
    assert pieces[-1].width >= 1


def test_many_short_changes_are_few_pieces() -> None:
    changes = [(12 - number / 3600, ("preparing", "available")[number % 2]) for number in range(1, 1400)]
    assert len(drawn(*changes).pieces) <= 2 * WIDTH


def test_a_ribbon_of_a_week_names_the_days() -> None:
    pieces = drawn((48, "available"), (24, "charging"), span=WEEK).pieces
    assert pieces[0].title == "available, Tue 12:00 to Wed 12:00 UTC, 1 d"


@pytest.mark.parametrize(
    ("stretches", "summary"),
    [
        ([(30, "available"), (6, "charging")], "available 18 h, charging 6 h"),
        ([(12, "available"), (3, "faulted"), (2, "available")], "available 11 h, faulted 1 h, not known 12 h"),
        ([], "nothing is known"),
    ],
)
def test_the_summary_says_how_long_each_state_lasted_and_what_is_not_known(
    stretches: list[tuple[float, str]], summary: str
) -> None:
    assert drawn(*stretches).summary == summary


def test_what_was_not_read_because_it_is_too_much_is_not_called_unknown() -> None:
    changes = [(1 - number / 3600, ("preparing", "available")[number % 2]) for number in range(MAX_STRETCHES)]
    assert drawn(*changes).summary.endswith("not shown 23 h")


def test_the_clock_of_an_evse_that_is_ahead_draws_nothing_after_the_end() -> None:
    pieces = drawn((6, "charging"), (-2, "available")).pieces
    assert [(piece.x, piece.width, piece.state) for piece in pieces] == [(270, 90, "charging")]
