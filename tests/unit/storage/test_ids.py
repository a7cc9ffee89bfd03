from __future__ import annotations

from datetime import timedelta

import pytest

from storage import ids
from storage.clock import clock
from storage.ids import first_made_at, made_at, uuid7


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ns = clock.now_ns()

    def now_ns(self) -> int:
        return self.ns


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    found = SetClock()
    monkeypatch.setattr(ids, "clock", found)
    monkeypatch.setattr(ids, "_last_tick", 0)
    return found


def test_ids_rise_are_version_7_and_keep_to_the_clock() -> None:
    before = clock.now_ns() // 1_000_000
    made = [uuid7() for _ in range(20_000)]
    after = clock.now_ns() // 1_000_000
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert before <= made[0].int >> 80 <= after
    assert made[-1].int >> 80 <= after + 20_000 // 4096 + 1


def test_ids_keep_rising_when_the_clock_falls_behind_for_a_moment(set_clock: SetClock) -> None:
    made = [uuid7()]
    for step in (-500_000_000, 100, -400_000_000, 300_000_000):
        set_clock.ns += step
        made.append(uuid7())
    assert made == sorted(made)
    assert made_at(made[-1]) - made_at(made[0]) < timedelta(seconds=1)


def test_ids_are_back_at_the_clock_as_soon_as_it_is_right_again(set_clock: SetClock) -> None:
    right = [uuid7() for _ in range(3)]
    set_clock.ns += 9 * 86_400 * 10**9
    ahead = [uuid7() for _ in range(3)]
    assert made_at(ahead[0]) - made_at(right[0]) >= timedelta(days=8, hours=23)
    set_clock.ns -= 9 * 86_400 * 10**9 - 5 * 10**6
    again = [uuid7() for _ in range(3)]
    # Then they rise again among themselves, follow those from before, and none is there twice
    assert [*right, *again] == sorted([*right, *again])
    assert made_at(again[-1]) - made_at(right[0]) < timedelta(seconds=1)
    assert len({*right, *ahead, *again}) == 9


def test_no_id_of_a_time_is_less_than_its_first_one() -> None:
    made = uuid7()
    assert first_made_at(made_at(made)) <= made < first_made_at(made_at(made) + timedelta(milliseconds=1))
