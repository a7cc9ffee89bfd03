"""The energy of a session by quarter of an hour, with numbers that were computed by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

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

SEVEN = datetime(2026, 3, 4, 7, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """A time, by the minutes since seven."""
    return SEVEN + timedelta(minutes=minutes)


def session(start: float, stop: float | None, energy_wh: str | int | None, **fields: Any) -> Session:
    energy = None if energy_wh is None else Decimal(energy_wh)
    known = Session(77120, 902, 31, "Europe/Sofia", at(start), None if stop is None else at(stop), at(300), energy)
    return replace(known, **fields)


def samples(measurand: str, unit: str | None = None, **values: Any) -> list[Sample]:
    """Samples by the minute of each: ``m10=1000``; an underscore is a point."""
    return [
        Sample(at(float(minute[1:].replace("_", "."))), measurand, Decimal(value), unit)
        for minute, value in values.items()
    ]


def shown(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def energies(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The energy of each quarter, and how much of it is estimated."""
    return [(str(row["energy_wh"]), str(row["estimated_wh"])) for row in rows]


def methods(rows: list[dict[str, Any]]) -> set[str]:
    return {row["method"] for row in rows}


def test_a_register_is_interpolated_between_samples_and_far_ones_are_estimated() -> None:
    # The worked example of the documentation
    register = samples(ENERGY_CONSUMED, "Wh", m10=1000, m20=3000, m30=5000, m46=6600)
    rows = intervals(session(5, 50, 7000), register)
    assert shown(rows, "began_at", "duration_s", "energy_wh", "estimated_wh", "method") == [
        (at(0), 600, Decimal("2000.000"), Decimal("1000.000"), "register"),
        (at(15), 900, Decimal("3000.000"), Decimal("0.000"), "register"),
        (at(30), 900, Decimal("1500.000"), Decimal("1500.000"), "register"),
        (at(45), 300, Decimal("500.000"), Decimal("500.000"), "register"),
    ]
    assert (
        shown(rows, "session_id", "evse_id", "location_id", "timezone", "power_peak_w", "anomalies")
        == [(77120, 902, 31, "Europe/Sofia", None, 0)] * 4
    )


def test_the_curve_is_scaled_to_the_energy_of_the_session() -> None:
    # Three quarters with 1000, 2000 and 1000 in the curve, and 1000 Wh in the session
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000, m30=3000, m45=4000)
    rows = intervals(session(0, 45, 1000), register)
    assert energies(rows) == [("250.000", "0.000"), ("500.000", "0.000"), ("250.000", "0.000")]


def test_energy_that_is_missing_belongs_after_the_last_sample_unless_that_is_the_end() -> None:
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000, m30=2000)
    assert energies(intervals(session(0, 30, 4000), register)) == [("2000.000", "0.000"), ("2000.000", "0.000")]
    assert energies(intervals(session(0, 45, 4000), register)) == [
        ("1000.000", "0.000"),
        ("1000.000", "0.000"),
        ("2000.000", "2000.000"),
    ]


def test_an_estimate_is_rounded_and_is_at_most_the_energy() -> None:
    # A third of the thousandth is estimated, and then two thirds of it
    register = samples(ENERGY_CONSUMED, "Wh", m3=1, m6=2, m9=3)
    assert energies(intervals(session(0, 9, "0.001"), register)) == [("0.001", "0.000")]
    held = samples(POWER, "W", m6=1, m9=1)
    assert energies(intervals(session(0, 9, "0.001"), held)) == [("0.001", "0.001")]
    # Two estimates of 0.0005 are rounded up, and one of the quarters is rounded down
    assert energies(intervals(session(14.5, 15.5, "0.001"), [])) == [("0.001", "0.001"), ("0.000", "0.000")]


def test_rows_add_up_to_the_last_digit_and_equal_remainders_go_to_the_earlier_quarter() -> None:
    rows = intervals(session(0, 45, "100"), [])
    assert [str(row["energy_wh"]) for row in rows] == ["33.334", "33.333", "33.333"]
    rows = intervals(session(0, 45, "0.002"), [])
    assert [str(row["energy_wh"]) for row in rows] == ["0.001", "0.001", "0.000"]
    # The energy itself is rounded half up, as the session's column is
    rows = intervals(session(0, 45, "0.0025"), [])
    assert sum(row["energy_wh"] for row in rows) == Decimal("0.003")


def test_largest_remainders_are_rounded_up() -> None:
    # Shares of 0.0004, 0.0010 and 0.0006: the last one has the largest remainder
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=4, m30=14, m45=20)
    rows = intervals(session(0, 45, "0.002"), register)
    assert [str(row["energy_wh"]) for row in rows] == ["0.000", "0.001", "0.001"]


def test_the_register_of_the_meter_counts_from_its_start_to_its_stop() -> None:
    register = samples(ENERGY_REGISTER, "Wh", m15=1_001_000, m30=1_003_000)
    known = session(0, 45, 4000, meter_start_wh=Decimal(1_000_000), meter_stop_wh=Decimal(1_004_000))
    assert energies(intervals(known, register)) == [
        ("1000.000", "1000.000"),
        ("2000.000", "0.000"),
        ("1000.000", "1000.000"),
    ]
    # Without them it counts between the samples alone
    assert energies(intervals(session(0, 45, 4000), register)) == [
        ("0.000", "0.000"),
        ("4000.000", "0.000"),
        ("0.000", "0.000"),
    ]


def test_energy_consumed_is_better_than_the_register_unless_it_does_not_grow() -> None:
    register = samples(ENERGY_REGISTER, "Wh", m0=500, m15=500, m30=900)
    consumed = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=400, m30=400)
    nothing = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=0, m30=0)
    assert energies(intervals(session(0, 30, 400), register + consumed)) == [("400.000", "0.000"), ("0.000", "0.000")]
    assert energies(intervals(session(0, 30, 400), register + nothing)) == [("0.000", "0.000"), ("400.000", "0.000")]


def test_units_are_read_in_any_spelling_and_unknown_ones_are_anomalies() -> None:
    register = [
        *samples(ENERGY_CONSUMED, "kWh", m0=0, m15="1.0"),
        *samples(ENERGY_CONSUMED, " WH ", m30=3000),
        *samples(ENERGY_CONSUMED, None, m45=4000),
        *samples(ENERGY_CONSUMED, "varh", m20=999_999),
        *samples(ENERGY_CONSUMED, "Wh", m21="NaN", m22="-1", m23="1e30", m24="Infinity"),
    ]
    rows = intervals(session(0, 45, 4000), register)
    assert energies(rows) == [("1000.000", "0.000"), ("2000.000", "0.000"), ("1000.000", "0.000")]
    assert [row["anomalies"] for row in rows] == [0, 5, 0]


def test_a_register_that_fell_counts_on() -> None:
    # 1000 until the fall, nothing in the fall, and 500 after it
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m14=1000, m16=20, m30=520)
    rows = intervals(session(0, 30, 1500), register)
    assert energies(rows) == [("1000.000", "0.000"), ("500.000", "0.000")]
    assert [row["anomalies"] for row in rows] == [0, 1]


def test_of_several_values_of_one_time_the_larger_counts() -> None:
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000, m30=4000)
    lower = samples(ENERGY_CONSUMED, "Wh", m15=7)
    for mixed in (register + lower, lower + register):
        rows = intervals(session(0, 30, 4000), mixed)
        assert energies(rows) == [("1000.000", "0.000"), ("3000.000", "0.000")]
        assert [row["anomalies"] for row in rows] == [0, 0]


def test_samples_far_from_the_session_are_anomalies_and_near_ones_count_at_its_ends() -> None:
    far = samples(ENERGY_CONSUMED, "Wh", **{"m-16": 5000, "m46": 5000})
    near = samples(ENERGY_CONSUMED, "Wh", **{"m-15": 0, "m15": 1000, "m45": 4000})
    rows = intervals(session(0, 30, 4000), far + near)
    assert energies(rows) == [("1000.000", "0.000"), ("3000.000", "0.000")]
    assert [row["anomalies"] for row in rows] == [1, 1]


def test_power_is_integrated_by_trapezoids_where_there_is_no_register() -> None:
    # From 0 to 12 kW in the quarter, 12 kW in the next one: 1500 and 3000 Wh
    power = [*samples(POWER, None, m0=0, m10=8000), *samples(POWER, "kW", m20=16, m30=8)]
    rows = intervals(session(0, 30, 4500), power)
    # 0-15: 666.67 + 8 to 12 kW in 5 minutes: 833.33; 15-30: 12 to 16 kW: 1166.67, and 16 to 8 kW: 2000
    assert energies(rows) == [
        (str(round(Decimal(4500) * 1500 / (1500 + Decimal("9500") / 3), 3)), "0.000"),
        (str(round(Decimal(4500) * (Decimal("9500") / 3) / (1500 + Decimal("9500") / 3), 3)), "0.000"),
    ]
    assert shown(rows, "power_peak_w", "method") == [(8000, "power"), (16000, "power")]


def test_power_is_held_before_the_first_and_after_the_last_sample() -> None:
    power = samples(POWER, "W", m15=4000, m30=4000)
    rows = intervals(session(0, 60, 4000), power)
    assert energies(rows) == [
        ("1000.000", "1000.000"),
        ("1000.000", "0.000"),
        ("1000.000", "1000.000"),
        ("1000.000", "1000.000"),
    ]


def test_power_does_not_count_if_there_is_a_register_but_its_peak_is_shown() -> None:
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000, m30=4000)
    rows = intervals(session(0, 30, 4000), register + samples(POWER, "W", m5="7000.5", m14=3, m15=11_000))
    assert energies(rows) == [("1000.000", "0.000"), ("3000.000", "0.000")]
    assert shown(rows, "power_peak_w", "method") == [(7001, "register"), (11_000, "register")]


def test_consumption_statistics_are_used_if_there_are_no_meter_values() -> None:
    energy = samples(POINT_ENERGY, m0=0, m15=1000, m30=4000)
    power = samples(POINT_POWER, m0=2000, m15=6000, m30=6000)
    rows = intervals(session(0, 30, 4000), energy + power)
    assert energies(rows) == [("1000.000", "0.000"), ("3000.000", "0.000")]
    assert methods(rows) == {"consumption_stats"}
    # Power alone: 1000 and 1500 Wh
    rows = intervals(session(0, 30, 2500), power)
    assert energies(rows) == [("1000.000", "0.000"), ("1500.000", "0.000")]
    assert methods(rows) == {"consumption_stats"}
    rows = intervals(session(0, 30, 2500), power + samples(POWER, "W", m0=0, m15=1, m30=0))
    assert methods(rows) == {"power"}


def test_without_samples_energy_is_spread_evenly_and_all_of_it_is_estimated() -> None:
    rows = intervals(session(5, 35, 3000), [])
    assert energies(rows) == [("1000.000", "1000.000"), ("1500.000", "1500.000"), ("500.000", "500.000")]
    assert methods(rows) == {"linear"}


def test_a_running_session_ends_at_the_time_of_its_energy() -> None:
    # What was measured since then is not in its energy yet
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000, m30=3000, m45=9000)
    rows = intervals(session(0, None, 3000, state_at=at(30)), register)
    assert energies(rows) == [("1000.000", "0.000"), ("2000.000", "0.000")]
    assert [row["anomalies"] for row in rows] == [0, 0]


@pytest.mark.parametrize("stop", [0, -90])
def test_a_session_without_time_has_one_row(stop: float) -> None:
    rows = intervals(session(20, 20 + stop, 3000), [])
    assert shown(rows, "began_at", "duration_s") == [(at(15), 0)]
    assert energies(rows) == [("3000.000", "3000.000")]


def test_a_session_that_ends_with_a_quarter_has_no_row_in_the_next_one() -> None:
    assert shown(intervals(session(0, 30, 1), []), "began_at") == [(at(0),), (at(15),)]
    rows = intervals(session(0, 30, 1, stopped_at=at(30) + timedelta(microseconds=1)), [])
    assert shown(rows, "began_at", "duration_s") == [(at(0), 900), (at(15), 900), (at(30), 0)]


def test_the_seconds_of_the_quarters_add_up() -> None:
    known = session(0, 0, 1, started_at=at(0.01), stopped_at=at(40.019))  # 0.6 s to 2401.14 s
    assert sum(row["duration_s"] for row in intervals(known, [])) == 2400


def test_a_session_with_a_wrong_clock_is_divided_over_two_weeks_at_most() -> None:
    rows = intervals(session(1, 60 * 24 * 365 * 30, "1234567.891"), [])
    assert len(rows) == 14 * 96 + 1
    assert sum(row["energy_wh"] for row in rows) == Decimal("1234567.891")
    assert sum(row["duration_s"] for row in rows) == 14 * 86_400


@pytest.mark.parametrize(
    "energy", [None, "0", "-5", "0.0004", "NaN", "Infinity", "-Infinity", "99999999999", "1e200", "-1e30"]
)
def test_without_energy_that_can_be_there_are_no_rows(energy: str | None) -> None:
    register = samples(ENERGY_CONSUMED, "Wh", m0=0, m15=1000)
    assert intervals(session(0, 30, energy), register) == []
    assert not session(0, 30, energy).has_energy


def test_without_a_start_there_are_no_rows() -> None:
    assert intervals(session(0, 30, 10, started_at=None), []) == []
    assert not session(0, 30, 10, started_at=None).has_energy


def test_times_at_the_ends_of_the_calendar_are_divided() -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    ancient = Sample(first, ENERGY_CONSUMED, Decimal(5), "Wh")
    for known in (
        session(0, 0, 5, started_at=first, stopped_at=last),
        session(0, 0, 5, started_at=last, stopped_at=last),
        session(0, 0, 5, started_at=last, stopped_at=first),
    ):
        assert sum(row["energy_wh"] for row in intervals(known, [ancient])) == 5


def test_the_order_of_samples_does_not_matter() -> None:
    mixed = [
        *samples(ENERGY_CONSUMED, "Wh", m3=10, m10=1000, m20=3000, m25=4, m30=5000, m46="6600.1234"),
        *samples(ENERGY_CONSUMED, "kWh", m3="0.2", m20=1, m44=7),
        *samples(POWER, "kW", m3=7, m20=11),
    ]
    expected = intervals(session(5, 50, "7000.123"), mixed)
    for seed in range(20):
        assert intervals(session(5, 50, "7000.123"), random.Random(seed).sample(mixed, len(mixed))) == expected
