"""A tenant is silent by its own rhythm: soon where much is expected, never in a night that is always quiet."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from workers.monitoring.baseline import HOURS_OF_WEEK, MIN_LEARNED_HOURS, Baseline, learn

#: A Monday at midnight, as a number of hours.
MONDAY = 4 * 24 + 2_900 * HOURS_OF_WEEK


def by_day(hour: int) -> float:
    """Busy from 6 to 22 o'clock, nothing else."""
    return 1.0 if 6 <= hour % 24 < 22 else 0.0


def by_workday(hour: int) -> float:
    return by_day(hour) if (hour - MONDAY) // 24 % 7 < 5 else 0.0


def always(_hour: int) -> float:
    return 1.0


def lived(chance: Random, weeks: int, sessions_an_hour: float, each: int, shape: Callable[[int], float]) -> list[int]:
    """Counts by the hour: sessions come by chance, last some hours, and notify ``each`` times an hour."""
    hours = weeks * HOURS_OF_WEEK
    counts = [0] * (hours + 200)
    for hour in range(hours):
        for _ in range(_poisson(chance, sessions_an_hour * shape(MONDAY + hour))):
            for further in range(1 + int(chance.expovariate(1 / 2))):
                counts[hour + further] += round(each * chance.uniform(0.7, 1.3))
    return counts[:hours]


def _poisson(chance: Random, mean: float) -> int:
    count, product = 0, chance.random()
    while product > math.exp(-mean):
        count, product = count + 1, product * chance.random()
    return count


def silent_after(baseline: Baseline, counts: list[int], hours: int) -> int | None:
    """After how many hours in which nothing comes it is noticed; None where it is not."""
    for passed in range(hours):
        end = MONDAY + len(counts) + passed
        judgement = baseline.judge([*counts, *[0] * passed, 0], end, 0.0)
        if judgement is not None and judgement.is_gap:
            return passed
    return None


def alarms(counts: list[int], begin_week: int) -> list[int]:
    """The hours in which a traffic gap would have been reported."""
    found, baseline = [], learn([], MONDAY)
    for hour in range(begin_week * HOURS_OF_WEEK, len(counts)):
        if hour % 24 == 0:
            first = max(hour - 8 * HOURS_OF_WEEK, 0)
            baseline = learn(counts[first:hour], MONDAY + first)
        for share in (0.0, 0.5):
            now = round(counts[hour] * share)
            judgement = baseline.judge([*counts[max(hour - 400, 0) : hour], now], MONDAY + hour, share)
            if judgement is not None and judgement.is_gap:
                found.append(hour)
    return found


def test_nothing_is_judged_before_three_weeks_are_learned() -> None:
    counts = [1_000] * (MIN_LEARNED_HOURS - 1)
    baseline = learn(counts, MONDAY)
    assert baseline.min_expected is None
    assert silent_after(baseline, counts, 400) is None
    assert silent_after(learn([*counts, 1_000], MONDAY), counts, 400) is not None


def test_a_busy_tenant_is_noticed_within_three_hours() -> None:
    counts = lived(Random(1), 4, 40, 20, always)
    assert silent_after(learn(counts, MONDAY), counts, 24) == 2


def test_less_than_a_twentieth_is_silence_too() -> None:
    counts = lived(Random(1), 4, 40, 20, always)
    baseline = learn(counts, MONDAY)
    hour = MONDAY + len(counts)
    usual = round(sum(baseline.rates) / HOURS_OF_WEEK)
    few, half = (baseline.judge([*counts, *[share] * 3, 0], hour + 3, 0.0) for share in (usual // 30, usual // 2))
    assert few is not None
    assert few.is_gap
    assert half is not None
    assert not half.is_gap


@pytest.mark.parametrize("sessions_an_hour", [1, 5, 50])
def test_a_tenant_that_is_quiet_every_night_is_never_silent_at_night(sessions_an_hour: float) -> None:
    counts = lived(Random(2), 12, sessions_an_hour, 20, by_day)
    assert alarms(counts, 4) == []


def test_a_tenant_that_rests_at_weekends_is_not_silent_on_sunday() -> None:
    assert alarms(lived(Random(3), 12, 5, 20, by_workday), 4) == []


@pytest.mark.parametrize(("sessions_a_day", "seed"), [(100, 4), (30, 5), (10, 6)])
def test_what_comes_in_bursts_is_waited_for(sessions_a_day: float, seed: int) -> None:
    assert alarms(lived(Random(seed), 16, sessions_a_day / 24, 20, always), 4) == []


def test_people_who_change_their_clocks_are_not_silent() -> None:
    counts = lived(Random(7), 8, 20, 20, by_day)
    for shift in (-1, 1):
        moved = counts[-24 * 7 - shift : -shift or None] if shift > 0 else [*counts[-24 * 7 + 1 :], 0]
        assert alarms([*counts, *moved], 8) == []


@pytest.mark.parametrize(("sessions_a_day", "max_days"), [(1_000, 0.5), (100, 1), (30, 3), (10, 12)])
def test_the_silence_of_a_smaller_tenant_is_noticed_later_but_is(sessions_a_day: float, max_days: float) -> None:
    counts = lived(Random(8), 8, sessions_a_day / 24, 20, always)
    noticed = silent_after(learn(counts, MONDAY), counts, 14 * 24)
    assert noticed is not None
    assert noticed <= max_days * 24


def test_a_tenant_that_was_silent_all_day_is_silent_all_night() -> None:
    counts = lived(Random(9), 8, 50, 20, by_day)
    baseline = learn(counts, MONDAY)
    for passed in range(24, 48):
        judgement = baseline.judge([*counts, *[0] * passed, 0], MONDAY + len(counts) + passed, 0.0)
        assert judgement is not None
        assert judgement.is_gap


def test_an_hour_in_which_we_were_down_is_no_silence() -> None:
    counts: list[int | None] = [*lived(Random(10), 8, 50, 20, always)]
    baseline = learn(counts, MONDAY)
    hour = MONDAY + len(counts) + 3
    judgement = baseline.judge([*counts, None, None, None, None], hour, 0.9)
    assert judgement is not None
    assert not judgement.is_gap
    # And what we did not receive is not learned.
    gap: list[int | None] = [*counts[:-100], *[None] * 100]
    assert learn(gap, MONDAY).learned_hours == len(counts) - 100
    assert learn(gap, MONDAY).min_expected == pytest.approx(baseline.min_expected, rel=0.6)
