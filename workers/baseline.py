"""A tenant's rhythm: how many notifications each hour of the week brings, and whether it is silent now.

Nothing here knows of a database: it reckons with counts by the hour. Hours are whole hours since
1970 in UTC, so an hour's place in the week is its number modulo 168.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

HOURS_OF_WEEK = 168

#: The rhythm is learned from so many weeks before now, and from no fewer hours than make three weeks.
WEEKS_LEARNED = 8
MIN_LEARNED_HOURS = 3 * HOURS_OF_WEEK

#: No stretch of time that is judged is longer, hours.
MAX_STRETCH = 2 * HOURS_OF_WEEK

#: At least so many notifications must be expected. Where they come in bursts it must be more: it
#: grows until 99 of 100 learned stretches of about that weight (up to twice of it) held at least a
#: third of what was expected of them. Nearly twice the weight is judged then: of so much, to
#: hold less than a twentieth by chance is as good as impossible.
MIN_EXPECTED = 20.0
GROWTH = 1.5
ABOUT = 2.0
SELDOM = 0.01
USUAL_SHARE = 1 / 3
MIN_STRETCHES = 100
SAFETY = 1.75

#: Less than this share of what is expected is silence.
GAP_SHARE = 1 / 20

#: What is expected in an hour may come an hour earlier or later: twice a year people change
#: their clocks, and UTC does not.
_SHIFTS = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The latest stretch of time in which enough was expected to judge it.

    Attributes:
        hours: how many whole hours it has, beside the current one.
        expected, came: notifications.
    """

    hours: int
    expected: float
    received: int

    @property
    def is_gap(self) -> bool:
        return self.received < GAP_SHARE * self.expected


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was learned of a tenant.

    Attributes:
        rates: notifications expected in each hour of the week.
        telling: where so many notifications are expected, it tells something that none comes;
            None where nothing can be told of this tenant.
        learned_hours: how many hours it was learned from.
    """

    rates: tuple[float, ...]
    min_expected: float | None
    learned_hours: int

    def judge(self, recent: Sequence[int | None], hour: int, share_of_hour: float) -> Judgement | None:
        """Judge the shortest stretch up to now that tells something; None where none does.

        Parameters:
            recent: counts of the hours up to now, the current one last; None for one that does not count.
            hour: the current hour.
            share_of_hour: how much of the current hour has passed, 0 to 1.
        """
        if self.min_expected is None:
            return None
        expected, received, weight = [0.0] * len(_SHIFTS), 0, share_of_hour
        for back, count in enumerate(reversed(recent[-MAX_STRETCH - 1 :])):
            if count is not None:
                received += count
                for position, shift in enumerate(_SHIFTS):
                    expected[position] += weight * self.rates[(hour - back + shift) % HOURS_OF_WEEK]
            weight = 1.0
            if back and min(expected) >= self.min_expected:
                return Judgement(back, min(expected), received)
        return None


def learn(counts: Sequence[int | None], first_hour: int) -> Baseline:
    """Learn a tenant's rhythm.

    Parameters:
        counts: notifications of each hour from ``first_hour`` on; None for an hour that is not to
            be learned from, because we were down or the tenant was silent.
    """
    totals, weeks = [0] * HOURS_OF_WEEK, [0] * HOURS_OF_WEEK
    for hour, count in enumerate(counts, first_hour):
        if count is not None:
            totals[hour % HOURS_OF_WEEK] += count
            weeks[hour % HOURS_OF_WEEK] += 1
    rates = tuple(total / seen if seen else 0.0 for total, seen in zip(totals, weeks, strict=True))
    if sum(weeks) < MIN_LEARNED_HOURS:
        return Baseline(rates, None, sum(weeks))
    # What the other weeks foretell for an hour: its own count would make every hour look usual.
    foretold = [
        (totals[slot] - count) / (weeks[slot] - 1) if count is not None and weeks[slot] > 1 else 0.0
        for slot, count in ((hour % HOURS_OF_WEEK, count) for hour, count in enumerate(counts, first_hour))
    ]
    received = [0, *accumulate(count or 0 for count in counts)]
    expected = [0.0, *accumulate(foretold)]
    weight, longest = MIN_EXPECTED, sum(rates) * MAX_STRETCH / HOURS_OF_WEEK
    while weight <= longest:
        if (tested := _reliable(received, expected, weight)) is not None:
            return Baseline(rates, SAFETY * tested, sum(weeks))
        weight *= GROWTH
    return Baseline(rates, None, sum(weeks))


def _reliable(received: list[int], expected: list[float], weight: float) -> float | None:
    """Whether stretches in which about so much was expected hardly ever held much less.

    Parameters:
        came, expected: running totals by the hour, from 0 on.

    Returns:
        What was expected in the middle one of them; None where they tell nothing.
    """
    stretches = []
    for end in range(1, len(received) - 1):
        # The latest beginning from which enough is expected, whichever way the clocks went.
        begin = min(bisect_right(expected, expected[end + shift] - weight) - 1 - shift for shift in _SHIFTS)
        if begin >= 1 and end - begin <= MAX_STRETCH + 1:
            least = min(expected[end + shift] - expected[begin + shift] for shift in _SHIFTS)
            # A heavier one, as a busy hour is, says nothing of so little.
            if least <= ABOUT * weight:
                stretches.append(((received[end] - received[begin]) / least, least))
    if len(stretches) < MIN_STRETCHES or sorted(stretches)[int(SELDOM * len(stretches))][0] < USUAL_SHARE:
        return None
    return sorted(least for _, least in stretches)[len(stretches) // 2]
