"""The energy of quarters of an hour is that of a plain recomputation, to the last digit."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from heapq import nlargest
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.energy.intervals import (
    ENERGY_CONSUMED,
    ENERGY_REGISTER,
    POINT_ENERGY,
    POINT_POWER,
    POWER,
    Sample,
    Session,
    intervals,
)

MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
SESSIONS = 200

#: Minutes; fractions of them are seconds.
QUARTER = Fraction(15)
TWO_WEEKS = 14 * 24 * 60

FACTORS = {"": 1, "WH": 1, "KWH": 1000, "W": 1, "KW": 1000}
UNITS = {
    ENERGY_CONSUMED: ("", "WH", "KWH"),
    ENERGY_REGISTER: ("", "WH", "KWH"),
    POWER: ("", "W", "KW"),
    POINT_ENERGY: ("", "WH", "KWH"),
    POINT_POWER: ("", "W", "KW"),
}


class Case(NamedTuple):
    """A session, times in minutes; without a stop it runs until the minute of its state."""

    start: Fraction
    stop: Fraction | None
    state: Fraction
    energy: Decimal
    meter_start: Decimal | None
    meter_stop: Decimal | None


class Taken(NamedTuple):
    """A sample, the time in minutes."""

    minute: Fraction
    measurand: str
    value: Decimal
    unit: str | None


class Curve(NamedTuple):
    """The energy until a time, and how much of it is estimated, in any unit."""

    method: str
    until: Callable[[Fraction], Fraction]
    estimated_until: Callable[[Fraction], Fraction]
    falls: list[Fraction]


def rounded(number: Fraction, digits: int = 3) -> Fraction:
    return Fraction(math.floor(number * 10**digits + Fraction(1, 2)), 10**digits)


def read(sample: Taken) -> Fraction | None:
    """The number of a sample in its base unit; None if it cannot be."""
    unit = (sample.unit or "").strip().upper()
    if unit not in UNITS[sample.measurand] or not sample.value.is_finite():
        return None
    number = Fraction(sample.value) * FACTORS[unit]
    limit = 2**31 - 1 if sample.measurand in (POWER, POINT_POWER) else 10**11 - 1
    return rounded(number) if 0 <= number < limit else None


def line(points: list[tuple[Fraction, Fraction]]) -> Callable[[Fraction], Fraction]:
    """The function that is linear between points, and constant outside."""

    def value(at: Fraction) -> Fraction:
        if at <= points[0][0]:
            return points[0][1]
        if at >= points[-1][0]:
            return points[-1][1]
        (x, y), (next_x, next_y) = points[(i := bisect_left(points, (at,))) - 1], points[i]
        return y + (next_y - y) * (at - x) / (next_x - x)

    return value


def register(
    start: Fraction,
    stop: Fraction,
    known: dict[Fraction, Fraction],
    first: Fraction | None,
    expected: Fraction | None,
    method: str,
) -> Curve | None:
    """The curve of a register: what it grew, and what of that is in gaps or beyond the samples."""
    if not known:
        return None
    times = sorted(known)
    grown = max(Fraction(0), known[times[0]] - first) if first is not None and times[0] > start else Fraction(0)
    energy, estimate = [(start, Fraction(0)), (times[0], grown)], [(start, Fraction(0)), (times[0], grown)]
    unsure, falls = grown, []
    for i in range(1, len(times)):
        growth = known[times[i]] - known[times[i - 1]]
        if growth < 0:
            falls.append(times[i])
        grown += max(growth, Fraction(0))
        unsure += max(growth, Fraction(0)) if times[i] - times[i - 1] > 15 else 0
        energy.append((times[i], grown))
        estimate.append((times[i], unsure))
    if grown == 0:
        return None
    if expected is not None and stop > times[-1]:
        rest = max(Fraction(0), expected - grown)
        energy.append((stop, grown + rest))
        estimate.append((stop, unsure + rest))
    return Curve(method, line(distinct(energy)), line(distinct(estimate)), falls)


def distinct(points: list[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    return sorted(dict(points).items())


def power(start: Fraction, stop: Fraction, known: dict[Fraction, Fraction], method: str) -> Curve | None:
    """The curve of power: its integral up to a time, of each pair of samples by itself."""
    times = sorted(known)
    pairs = list(pairwise(times))
    if not any((known[a] + known[b]) * (b - a) for a, b in pairs):
        return None

    def between(a: Fraction, b: Fraction, at: Fraction) -> Fraction:
        """The integral from a to a time before b."""
        if at <= a:
            return Fraction(0)
        part = min(at, b) - a
        if b - a > 15:
            return part * (known[a] + known[b]) / 2
        return part * known[a] + part * part * (known[b] - known[a]) / (b - a) / 2

    def outside(at: Fraction) -> Fraction:
        first, last = times[0], times[-1]
        return known[first] * (min(at, first) - start) + known[last] * max(Fraction(0), min(at, stop) - last)

    def until(at: Fraction) -> Fraction:
        return outside(at) + sum((between(a, b, at) for a, b in pairs), Fraction(0))

    def estimated_until(at: Fraction) -> Fraction:
        return outside(at) + sum((between(a, b, at) for a, b in pairs if b - a > 15), Fraction(0))

    return Curve(method, until, estimated_until, [])


def expected_rows(case: Case, samples: list[Taken]) -> list[tuple[Any, ...]]:
    """Minute, seconds, energy, estimate, peak, method and anomalies of each quarter."""
    total = rounded(Fraction(case.energy)) if case.energy.is_finite() and 0 < case.energy < 10**11 - 1 else Fraction(0)
    if total == 0:
        return []
    start = case.start
    stop = min(max(start, case.state if case.stop is None else case.stop), start + TWO_WEEKS)
    first = start // QUARTER
    count = max(1, math.ceil(stop / QUARTER) - first)
    edges = [(first + i) * QUARTER for i in range(count + 1)]

    def quarter(minute: Fraction) -> int:
        return max(0, min(count - 1, minute // QUARTER - first))

    anomalies, peaks = [0] * count, [None] * count
    known: dict[str, dict[Fraction, Fraction]] = {name: {} for name in UNITS}
    for sample in samples:
        if case.stop is None and sample.minute > stop:
            continue
        number = read(sample)
        if number is None or sample.minute < start - 15 or sample.minute > stop + 15:
            anomalies[quarter(sample.minute)] += 1
            continue
        minute = min(max(sample.minute, start), stop)
        known[sample.measurand][minute] = max(number, known[sample.measurand].get(minute, number))
    for name in (POWER, POINT_POWER):
        for minute, number in known[name].items():
            watts: Any = int(rounded(number, 0))
            peaks[quarter(minute)] = max(watts, peaks[quarter(minute)] or 0)

    meter_start, meter_stop = (
        None if each is None or not each.is_finite() or not 0 <= each < 10**11 - 1 else rounded(Fraction(each))
        for each in (case.meter_start, case.meter_stop)
    )
    metered = None if meter_start is None or meter_stop is None else meter_stop - meter_start
    curve = (
        register(start, stop, known[ENERGY_CONSUMED], Fraction(0), total, "register")
        or register(start, stop, known[ENERGY_REGISTER], meter_start, metered, "register")
        or power(start, stop, known[POWER], "power")
        or register(start, stop, known[POINT_ENERGY], Fraction(0), total, "consumption_stats")
        or power(start, stop, known[POINT_POWER], "consumption_stats")
    )
    if curve is None and start == stop:
        return [(edges[0], 0, total, total, peaks[0], "linear", anomalies[0])]
    if curve is None:
        even = line([(start, Fraction(0)), (stop, Fraction(1))])
        curve = Curve("linear", even, even, [])
    for minute in curve.falls:
        anomalies[quarter(minute)] += 1

    whole = curve.until(stop)

    def shares(until: Callable[[Fraction], Fraction]) -> list[Fraction]:
        values = [until(min(max(edge, start), stop)) for edge in edges]
        return [(after - before) * total / whole for before, after in pairwise(values)]

    exact, estimates = shares(curve.until), shares(curve.estimated_until)
    energy = [Fraction(math.floor(each * 1000), 1000) for each in exact]
    missing = [each - given for each, given in zip(exact, energy, strict=True)]
    left = int((total - sum(energy)) * 1000)
    for i in nlargest(left, range(count), key=lambda i: (missing[i], -i)):
        energy[i] += Fraction(1, 1000)
    rows = []
    for i in range(count):
        estimate = energy[i] if estimates[i] == exact[i] else min(energy[i], rounded(estimates[i]))
        before, after = (max(0, math.floor((min(edges[j], stop) - start) * 60)) for j in (i, i + 1))
        rows.append((edges[i], after - before, energy[i], estimate, peaks[i], curve.method, anomalies[i]))
    return rows


def instant(minute: Fraction) -> datetime:
    return MIDNIGHT + timedelta(microseconds=int(minute * 60_000_000))


def actual_rows(case: Case, samples: list[Taken]) -> list[tuple[Any, ...]]:
    session = Session(
        1,
        902,
        31,
        "Asia/Kathmandu",
        instant(case.start),
        None if case.stop is None else instant(case.stop),
        instant(case.state),
        case.energy,
        case.meter_start,
        case.meter_stop,
    )
    rows = intervals(session, [Sample(instant(each.minute), *each[1:]) for each in samples])
    return [
        (
            Fraction((row["began_at"] - MIDNIGHT) // timedelta(microseconds=1), 60_000_000),
            row["duration_s"],
            Fraction(row["energy_wh"]),
            Fraction(row["estimated_wh"]),
            row["power_peak_w"],
            row["method"],
            row["anomalies"],
        )
        for row in rows
    ]


minutes = st.one_of(
    st.integers(-20, 260).map(Fraction),
    st.sampled_from((0, 15, 30, 45, 60, 75, 90, 120)).map(Fraction),
    st.integers(-20 * 60_000_000, 260 * 60_000_000).map(lambda each: Fraction(each, 60_000_000)),
)
energies = st.one_of(
    st.integers(0, 9000).map(Decimal),
    st.decimals(0, 9_000_000, places=4),
    st.sampled_from(("0", "0.0004", "0.0005", "1e-20", "-1", "-1e30", "NaN", "Infinity", "1e11", "1e40")).map(Decimal),
)
registers = st.one_of(energies, st.integers(1_000_000, 1_020_000).map(Decimal))
units = st.sampled_from((None, "", "Wh", " wh", "kWh", "KWH", "W", "kW", "A", "a new unit"))
taken = st.builds(Taken, minutes, st.sampled_from(sorted(UNITS)), registers, units)


@st.composite
def grown(draw: st.DrawFn) -> list[Taken]:
    """Samples as they usually are: a register or power at intervals, with resets and gaps."""
    measurand = draw(st.sampled_from((ENERGY_CONSUMED, ENERGY_CONSUMED, ENERGY_REGISTER, POWER, POWER, *UNITS)))
    minute, value = Fraction(draw(st.integers(0, 30))), Decimal(0)
    unit, samples = UNITS[measurand][draw(st.integers(0, 2))], []
    for step in draw(st.lists(st.integers(0, 30), max_size=20)):
        minute += draw(st.sampled_from((1, 5, 14, 15, 15, 16, 40))) + Fraction(draw(st.sampled_from((0, 0, 7, 40))), 60)
        value = Decimal(0) if step == 30 else value + step * step
        samples.append(Taken(minute, measurand, value, unit))
    return samples


cases = st.builds(
    Case,
    minutes,
    st.one_of(st.none(), minutes, st.integers(1, 8).map(lambda hours: Fraction(hours * 1000 + 7, 3))),
    minutes,
    st.one_of(st.integers(1, 90_000).map(Decimal), energies),
    st.one_of(st.none(), registers),
    st.one_of(st.none(), registers),
)


@settings(max_examples=SESSIONS)
@given(
    case=cases,
    usual=st.lists(grown(), max_size=3),
    odd=st.one_of(st.just([]), st.lists(taken, max_size=12)),
    seed=st.integers(0, 10_000),
)
def test_energy_of_quarters_is_that_of_a_plain_recomputation(
    case: Case, usual: list[list[Taken]], odd: list[Taken], seed: int
) -> None:
    samples = [*odd, *(sample for each in usual for sample in each)]
    rows = actual_rows(case, samples)
    assert rows == expected_rows(case, samples)
    # In any order, and with repeated samples of which the numbers can be
    assert actual_rows(case, Random(seed).sample(samples, len(samples))) == rows
    sound = [sample for sample in samples if read(sample) is not None]
    assert [row[:6] for row in actual_rows(case, samples + sound)] == [row[:6] for row in rows]
    # And the rows add up to the last digit
    if rows:
        assert sum(row[2] for row in rows) == rounded(Fraction(case.energy))
        assert all(0 <= estimate <= energy for _, _, energy, estimate, *_ in rows)


@pytest.mark.parametrize("days", [14, 4000])
def test_long_sessions_are_those_of_a_plain_recomputation(days: int) -> None:
    case = Case(Fraction(7), Fraction(days * 1440 + 11), Fraction(0), Decimal("123456.789"), None, None)
    samples = [Taken(Fraction(hour * 60), ENERGY_CONSUMED, Decimal(hour * hour), "Wh") for hour in range(1, 400)]
    for some in ([], samples):
        assert actual_rows(case, some) == expected_rows(case, some)
