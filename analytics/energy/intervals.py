"""Compute the energy of a session in each quarter of an hour (UTC) from its samples.

A curve shows when energy was delivered. It is a list of stretches, in each of which energy is spread evenly over time.
The best curve that the samples make is used: that of a register, else of power, else of AMPECO's consumption
statistics, else an even one over the whole time. A quarter gets the share of the session's energy that it has of the
curve.

Everything is computed in integers and fractions, so that the result is exact and the order of samples does not matter:
times are microseconds since 1970, energy is thousandths of a Wh, power is thousandths of a W.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import Integer

from analytics.schema.derived import ENERGY, limit_of

#: Measurands of meter samples, as AMPECO spells them, and those of the points of its consumption statistics.
ENERGY_CONSUMED = "Energy Consumed"
ENERGY_REGISTER = "Energy Active Import Register"
POWER = "Power Active Import"
POINT_ENERGY = "energy of consumption statistics"
POINT_POWER = "power of consumption statistics"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
QUARTER = 900 * _SECOND

#: Samples that are farther apart do not show when the energy between them was delivered: a charge point that sends
#: samples at all sends one each quarter of an hour at least.
MAX_GAP = QUARTER

#: How long before the start or after the end a sample may be: clocks differ, and the last sample may be late.
MARGIN = QUARTER

#: A session that lasts longer has a wrong clock, or was never closed: all its energy belongs to its first days.
MAX_DURATION = 14 * 96 * QUARTER


class Sample(NamedTuple):
    """One number of a meter sample, or of a point of the consumption statistics."""

    measured_at: datetime
    measurand: str
    value: Decimal
    unit: str | None = None


#: The same without the names, as a database returns it.
AnySample = tuple[datetime, str, Decimal, str | None]


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of a session, beside its samples.

    Attributes:
        state_at: the time of which its energy is, which is its end while it runs.
    """

    session_id: int
    evse_id: int | None
    location_id: int | None
    timezone: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    state_at: datetime | None
    energy_wh: Decimal | None
    meter_start_wh: Decimal | None = None
    meter_stop_wh: Decimal | None = None

    @property
    def has_energy(self) -> bool:
        """Whether there is anything to divide."""
        return self.started_at is not None and bool(_thousandths(self.energy_wh, _BASE_DIGITS, _MAX_ENERGY))


_Amount = int | Fraction


class _Stretch(NamedTuple):
    began: int
    ended: int
    amount: _Amount
    is_estimated: bool


class _Curve(NamedTuple):
    """Stretches with their amounts in any one unit, which add up to the whole, and the times of falls."""

    method: str
    whole: int
    stretches: Sequence[_Stretch]
    falls: Sequence[int] = ()


class _Span(NamedTuple):
    """The time of a session in quarters of an hour; there is at least one, even if the session has no time."""

    began: int
    ended: int
    is_open: bool
    origin: int
    quarters: int


@dataclass(frozen=True, slots=True)
class _Readings:
    """Usable samples by measurand and time; by quarter the anomalies, and the highest power, -1 without any."""

    values: dict[str, dict[int, int]]
    anomalies: list[int]
    peaks: list[int]


def intervals(session: Session, samples: Iterable[AnySample]) -> list[dict[str, Any]]:
    """Return the rows of ``energy_interval`` of a session, in order of time.

    Parameters:
        session: the session.
        samples: its samples, in any order. Other measurands than those of this module are anomalies.
    """
    total = _thousandths(session.energy_wh, _BASE_DIGITS, _MAX_ENERGY)
    span = _span(session)
    if not total or span is None:
        return []
    readings = _read(span, samples)
    curve = next(_curves(session, total, span, readings.values))
    for at in curve.falls:
        readings.anomalies[_place(span, at)] += 1
    energy, estimated = _divide(total, span, curve)
    return [
        {
            "session_id": session.session_id,
            "began_at": _EPOCH + (span.origin + index * QUARTER) * _MICROSECOND,
            "evse_id": session.evse_id,
            "location_id": session.location_id,
            "timezone": session.timezone,
            "duration_s": _seconds_before(span, index + 1) - _seconds_before(span, index),
            "energy_wh": _decimal(energy[index]),
            "estimated_wh": _decimal(estimated[index]),
            "power_peak_w": None if readings.peaks[index] < 0 else (readings.peaks[index] + 500) // 1000,
            "method": curve.method,
            "anomalies": min(readings.anomalies[index], _MAX_ANOMALIES),
        }
        for index in range(span.quarters)
    ]


def _span(session: Session) -> _Span | None:
    if session.started_at is None:
        return None
    began, is_open = _micros(session.started_at), session.stopped_at is None
    end = session.stopped_at or session.state_at or session.started_at
    ended, origin = min(max(_micros(end), began), began + MAX_DURATION), began - began % QUARTER
    return _Span(began, ended, is_open, origin, max(1, -(-(ended - origin) // QUARTER)))


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _place(span: _Span, at: int) -> int:
    """Return the quarter of a time; what is before or after the session counts in its first or last one."""
    return min(max(at - span.origin, 0) // QUARTER, span.quarters - 1)


def _seconds_before(span: _Span, index: int) -> int:
    """Return the whole seconds of a session before a quarter, so that those of all quarters add up."""
    return max(0, min(span.origin + index * QUARTER, span.ended) - span.began) // _SECOND


def _decimal(thousandths: int) -> Decimal:
    return Decimal(thousandths).scaleb(-3)


# Numbers --------------------------------------------------------------------------------------------------------------

#: Decimal digits from a unit to its thousandth. A sample without a unit is in the base unit, as in OCPP; AMPECO's list
#: of units has none for power.
_BASE_DIGITS = 3
_ENERGY_UNITS = {"": 3, "wh": 3, "kwh": 6}
_POWER_UNITS = {"": 3, "w": 3, "kw": 6}
_UNITS = {
    ENERGY_CONSUMED: _ENERGY_UNITS,
    ENERGY_REGISTER: _ENERGY_UNITS,
    POWER: _POWER_UNITS,
    POINT_ENERGY: _ENERGY_UNITS,
    POINT_POWER: _POWER_UNITS,
}
_POWERS = frozenset({POWER, POINT_POWER})

#: What the columns hold.
_MAX_ENERGY = Decimal(1000 * (limit_of(ENERGY) or 0))
_MAX_POWER = Decimal(1000 * (limit_of(Integer()) or 0))
_MAX_ANOMALIES = 2**15 - 1

_EXACT = Context(prec=2_000, rounding=ROUND_HALF_UP)
_ONE = Decimal(1)


def _thousandths(value: Decimal | None, digits: int, limit: Decimal) -> int | None:
    """Return a number in thousandths of its base unit; None if it is none, negative, or beyond a limit."""
    if value is None or not value.is_finite():
        return None
    scaled = _EXACT.scaleb(value, digits)
    return int(_EXACT.quantize(scaled, _ONE)) if 0 <= scaled < limit else None


@lru_cache(maxsize=256)
def _scale(measurand: str, unit: str | None) -> tuple[int, Decimal] | None:
    """Return the digits and the limit of a measurand in a unit; None if that cannot be."""
    digits = _UNITS.get(measurand, {}).get((unit or "").strip().lower())
    return None if digits is None else (digits, _MAX_POWER if measurand in _POWERS else _MAX_ENERGY)


def _read(span: _Span, samples: Iterable[AnySample]) -> _Readings:
    """Return what samples show; of several at one time the largest counts, because phases come without a name."""
    began, ended, is_open, _, quarters = span
    values: dict[str, dict[int, int]] = {name: {} for name in _UNITS}
    anomalies, peaks = [0] * quarters, [-1] * quarters
    for measured_at, measurand, value, unit in samples:
        at = _micros(measured_at)
        if is_open and at > ended:
            continue  # the energy does not contain it yet
        scale = _scale(measurand, unit)
        is_near = began - MARGIN <= at <= ended + MARGIN
        reading = _thousandths(value, *scale) if is_near and scale is not None else None
        if reading is None:
            anomalies[_place(span, at)] += 1
            continue
        if not began <= at <= ended:
            at = began if at < began else ended
        if reading > values[measurand].get(at, -1):
            values[measurand][at] = reading
    for measurand in _POWERS:
        for at, power in values[measurand].items():
            index = _place(span, at)
            if power > peaks[index]:
                peaks[index] = power
    return _Readings(values, anomalies, peaks)


# Curves ---------------------------------------------------------------------------------------------------------------


def _curves(session: Session, total: int, span: _Span, values: Mapping[str, Mapping[int, int]]) -> Iterator[_Curve]:
    """Yield the curves of a session, the best first."""
    start, stop = (
        _thousandths(value, _BASE_DIGITS, _MAX_ENERGY) for value in (session.meter_start_wh, session.meter_stop_wh)
    )
    metered = None if start is None or stop is None else stop - start
    yield from _register("register", span, values[ENERGY_CONSUMED], 0, total)
    yield from _register("register", span, values[ENERGY_REGISTER], start, metered)
    yield from _power("power", span, values[POWER])
    yield from _register("consumption_stats", span, values[POINT_ENERGY], 0, total)
    yield from _power("consumption_stats", span, values[POINT_POWER])
    yield _Curve("linear", 1, [_Stretch(span.began, span.ended, 1, True)])


def _register(
    method: str, span: _Span, readings: Mapping[int, int], start: int | None, expected: int | None
) -> Iterator[_Curve]:
    """Yield the curve of a register, if it grew.

    Parameters:
        readings: what the register showed, by time.
        start: what it showed when the session began, if that is known.
        expected: how much it grew until the session ended, if that is known.
    """
    times = sorted(readings)
    if not times:
        return
    stretches, falls, whole = [], [], 0
    if start is not None and start < readings[times[0]] and span.began < times[0]:
        whole = readings[times[0]] - start
        stretches.append(_Stretch(span.began, times[0], whole, True))
    for before, after in pairwise(times):
        growth = readings[after] - readings[before]
        if growth > 0:
            whole += growth
            stretches.append(_Stretch(before, after, growth, after - before > MAX_GAP))
        elif growth < 0:
            falls.append(after)  # reset, or another meter: what it shows from then on counts on
    if not whole:
        return
    if expected is not None and expected > whole and times[-1] < span.ended:
        stretches.append(_Stretch(times[-1], span.ended, expected - whole, True))
        whole = expected
    yield _Curve(method, whole, stretches, falls)


def _power(method: str, span: _Span, readings: Mapping[int, int]) -> Iterator[_Curve]:
    """Yield the curve of power, if there was any between two samples; amounts are twice the integral."""
    times = sorted(readings)
    stretches: list[_Stretch] = []
    whole = 0
    for before, after in pairwise(times):
        whole += (readings[before] + readings[after]) * (after - before)
        stretches += _trapezoid(before, after, readings[before], readings[after])
    if not whole:
        return
    for before, after, power in (
        (span.began, times[0], readings[times[0]]),
        (times[-1], span.ended, readings[times[-1]]),
    ):
        if before < after:
            whole += 2 * power * (after - before)
            stretches.append(_Stretch(before, after, 2 * power * (after - before), True))
    yield _Curve(method, whole, stretches)


def _trapezoid(before: int, after: int, first: int, last: int) -> list[_Stretch]:
    """Return what is between two samples of power; beyond a boundary of quarters it is a stretch of its own."""
    whole = (first + last) * (after - before)
    boundary = after - 1 - (after - 1) % QUARTER
    if after - before > MAX_GAP or boundary <= before:
        return [_Stretch(before, after, whole, after - before > MAX_GAP)]
    between = first + Fraction((last - first) * (boundary - before), after - before)
    part = (first + between) * (boundary - before)
    return [_Stretch(before, boundary, part, False), _Stretch(boundary, after, whole - part, False)]


# Shares ---------------------------------------------------------------------------------------------------------------


def _divide(total: int, span: _Span, curve: _Curve) -> tuple[list[int], list[int]]:
    """Return the energy of each quarter, and how much of it is estimated.

    The largest remainders are rounded up, of equal ones the earlier, so that the quarters add up to the total.
    """
    shares: list[_Amount] = [0] * span.quarters
    estimates: list[_Amount] = [0] * span.quarters
    parts = []
    for stretch in curve.stretches:
        began, ended, amount, is_estimated = stretch
        index = (began - span.origin) // QUARTER
        if ended <= span.origin + (index + 1) * QUARTER:
            parts.append((index, amount, is_estimated))
        else:
            parts += [(index, part, is_estimated) for index, part in _spread(span.origin, stretch)]
    # Integers first: what is added to a fraction becomes one, and takes twenty times as long.
    for index, amount, is_estimated in sorted(parts, key=lambda part: isinstance(part[1], Fraction)):
        shares[index] += amount
        if is_estimated:
            estimates[index] += amount
    whole = curve.whole
    energy = [total * share // whole for share in shares]
    remainders = [total * share - part * whole for share, part in zip(shares, energy, strict=True)]
    for index in sorted(range(len(shares)), key=lambda index: -remainders[index])[: total - sum(energy)]:
        energy[index] += 1
    return energy, [
        part if estimate == share else min(part, (2 * total * estimate + whole) // (2 * whole))
        for part, estimate, share in zip(energy, estimates, shares, strict=True)
    ]


def _spread(origin: int, stretch: _Stretch) -> Iterator[tuple[int, _Amount]]:
    """Yield the quarters of a stretch, each with its part of the amount."""
    began, ended, amount, _ = stretch
    at, index = began, (began - origin) // QUARTER
    while at < ended:
        until = min(origin + (index + 1) * QUARTER, ended)
        yield index, Fraction(amount * (until - at), ended - began)
        at, index = until, index + 1
