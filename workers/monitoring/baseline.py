"""A tenant's baseline: how many notifications it sends in each hour of the week, and whether there is a gap now.

This module does not use the database: it computes with counts by the hour. Hours are whole hours since 1970 in UTC,
so an hour's place in the week is its number modulo 168.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

HOURS_OF_WEEK = 168

#: The baseline is learned from the last so many weeks, and from at least three weeks of hours.
WEEKS_LEARNED = 8
MIN_LEARNED_HOURS = 3 * HOURS_OF_WEEK

#: Longest stretch of time that is judged, hours.
MAX_STRETCH = 2 * HOURS_OF_WEEK

#: A stretch is judged only if at least so many notifications are expected in it. If a tenant sends in bursts, more are
#: needed: the number (the weight) grows by ``GROWTH`` until 99 of 100 learned stretches of about that weight, up to
#: ``ABOUT`` times of it, contained at least a third of what was expected of them. The minimum is then ``SAFETY`` times
#: the typical weight: that such a stretch contains less than a twentieth by chance is practically impossible.
MIN_EXPECTED = 20.0
GROWTH = 1.5
ABOUT = 2.0
SELDOM = 0.01
USUAL_SHARE = 1 / 3
MIN_STRETCHES = 100
SAFETY = 1.75

#: If less than this share of what is expected was received, it is a traffic gap.
GAP_SHARE = 1 / 20

#: Notifications that are expected in an hour may arrive an hour earlier or later, because people change their clocks
#: twice a year and UTC does not.
_SHIFTS = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The latest stretch of time in which enough notifications were expected to judge it.

    Attributes:
        hours: number of whole hours in it, without the current one.
        expected, received: number of notifications.
    """

    hours: int
    expected: float
    received: int

    @property
    def is_gap(self) -> bool:
        """Whether the stretch is a traffic gap."""
        return self.received < GAP_SHARE * self.expected


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was learned about a tenant.

    Attributes:
        rates: notifications expected in each of the 168 hours of the week.
        min_expected: a stretch of time can be judged if at least so many notifications are expected in it; None if
            this tenant cannot be judged.
        learned_hours: number of hours that it was learned from.
    """

    rates: tuple[float, ...]
    min_expected: float | None
    learned_hours: int

    def judge(self, recent: Sequence[int | None], hour: int, share_of_hour: float) -> Judgement | None:
        """Judge the shortest stretch up to now in which enough is expected; return None if there is none.

        Parameters:
            recent: counts of the hours up to now, the current hour last; None for an hour that does not count.
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
    """Learn a tenant's baseline.

    Parameters:
        counts: notifications of each hour from ``first_hour`` on; None for an hour to leave out, because the receiver
            was down or the tenant had a traffic gap.
        first_hour: the number of the first hour.
    """
    totals, weeks = [0] * HOURS_OF_WEEK, [0] * HOURS_OF_WEEK
    for hour, count in enumerate(counts, first_hour):
        if count is not None:
            totals[hour % HOURS_OF_WEEK] += count
            weeks[hour % HOURS_OF_WEEK] += 1
    rates = tuple(total / seen if seen else 0.0 for total, seen in zip(totals, weeks, strict=True))
    if sum(weeks) < MIN_LEARNED_HOURS:
        return Baseline(rates, None, sum(weeks))
    # The prediction for an hour uses the other weeks only: its own count would make every hour look usual.
    predicted = [
        (totals[slot] - count) / (weeks[slot] - 1) if count is not None and weeks[slot] > 1 else 0.0
        for slot, count in ((hour % HOURS_OF_WEEK, count) for hour, count in enumerate(counts, first_hour))
    ]
    received = [0, *accumulate(count or 0 for count in counts)]
    expected = [0.0, *accumulate(predicted)]
    weight, longest = MIN_EXPECTED, sum(rates) * MAX_STRETCH / HOURS_OF_WEEK
    while weight <= longest:
        if (tested := _reliable(received, expected, weight)) is not None:
            return Baseline(rates, SAFETY * tested, sum(weeks))
        weight *= GROWTH
    return Baseline(rates, None, sum(weeks))


def _reliable(received: list[int], expected: list[float], weight: float) -> float | None:
    """Check whether stretches of about this weight hardly ever contained much less than expected.

    Parameters:
        received, expected: running totals by the hour, starting at 0.
        weight: notifications expected in a stretch.

    Returns:
        The median of what was expected in these stretches; None if they allow no judgement.
    """
    stretches = []
    # For each end, one more than the latest beginning from which enough is expected. A shift of the clocks takes the
    # neighbour's, so each is searched once.
    begins = [bisect_right(expected, total - weight) for total in expected]
    # Not even if every end had a stretch would more of them be seldom.
    poor, max_poor = 0, int(SELDOM * (len(received) - 2))
    for end in range(1, len(received) - 1):
        # The latest beginning from which enough is expected, for each shift of the clocks. This is written out for the
        # shifts of _SHIFTS, because it takes most of the time of learning.
        begin = min(begins[end - 1], begins[end] - 1, begins[end + 1] - 2)
        if begin >= 1 and end - begin <= MAX_STRETCH + 1:
            least = min(
                expected[end - 1] - expected[begin - 1],
                expected[end] - expected[begin],
                expected[end + 1] - expected[begin + 1],
            )
            # A much heavier stretch, such as a busy hour, shows nothing about this weight.
            if least <= ABOUT * weight:
                share = (received[end] - received[begin]) / least
                if share < USUAL_SHARE:
                    poor += 1
                    if poor > max_poor:
                        return None
                stretches.append((share, least))
    if len(stretches) < MIN_STRETCHES or sorted(stretches)[int(SELDOM * len(stretches))][0] < USUAL_SHARE:
        return None
    return sorted(least for _, least in stretches)[len(stretches) // 2]
