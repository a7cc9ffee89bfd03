"""Energy by quarter of an hour, and by location, hour and day, as it is derived from sessions and their samples."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from analytics.energy import derive as energy
from storage.database import create_database_engine
from storage.state.fold import Fact
from storage.state.marks import mark_all
from tests.support.analytics import (
    START,
    at,
    changes_of_deriving_everything,
    derive,
    empty,
    fact,
    gone,
    session_facts,
    write,
)

CONSUMED, POWER = "Energy Consumed", "Power Active Import"
SOFIA, KATHMANDU, NOWHERE = (31, "Europe/Sofia"), (32, "Asia/Kathmandu"), (33, None)

#: What a test writes: the function that does, and its arguments.
Written = tuple[Any, ...]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=2)
    write(made, *(fact_ for place in (SOFIA, KATHMANDU, NOWHERE) for fact_ in site(*place)))
    yield made
    made.dispose()


def charge_point_at(location_id: int) -> int:
    return location_id * 10


def evse_at(location_id: int) -> int:
    return location_id * 100


def site(location_id: int, timezone: str | None) -> list[Fact]:
    """A location with a charge point and an EVSE."""
    charge_point_id = charge_point_at(location_id)
    return [
        fact("location", location_id, -60, timezone=timezone),
        fact("charge_point", charge_point_id, -60, location_id=location_id),
        fact("evse", evse_at(location_id), -60, charge_point_id=charge_point_id),
    ]


def write_session(
    engine: Engine,
    session_id: int,
    start: float,
    stop: float | None,
    energy: Any,
    *,
    known_at: float | None = None,
    location_id: int = SOFIA[0],
    **columns: Any,
) -> None:
    """Write what a read shows of a session."""
    values = {
        "status": "active" if stop is None else "finished",
        "charge_point_id": charge_point_at(location_id),
        "evse_id": evse_at(location_id),
        "started_at": at(start),
        "stopped_at": None if stop is None else at(stop),
        "energy_wh": None if energy is None else Decimal(energy),
    }
    stated = known_at if known_at is not None else stop if stop is not None else start
    write(engine, *session_facts(session_id, stated, **values, **columns))


def write_sample(engine: Engine, session_id: int, minute: float, value: Any, measurand: str = CONSUMED) -> None:
    sample = {"session_id": session_id, "measured_at": at(minute), "measurand": measurand, "ordinal": 0}
    sample |= {"value": Decimal(value), "unit": None if measurand == POWER else "Wh"}
    write(engine, observations={"meter_value": [sample]})


def write_point(engine: Engine, session_id: int, minute: float, energy: Any, power: Any) -> None:
    point = {"session_id": session_id, "measured_at": at(minute), "energy_wh": Decimal(energy)}
    write(engine, observations={"consumption_point": [point | {"power_w": Decimal(power)}]})


def select(engine: Engine, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement), parameters)]


def energies(engine: Engine, session_id: int) -> list[tuple[float, float, float]]:
    """The minute at which each quarter began, its energy, and how much of it is estimated."""
    rows = select(
        engine,
        "SELECT extract(epoch FROM began_at - :start) / 60, energy_wh, estimated_wh FROM analytics.energy_interval"
        " WHERE tenant = 't' AND session_id = :session_id ORDER BY began_at",
        start=START,
        session_id=session_id,
    )
    return [(float(minute), float(energy), float(estimated)) for minute, energy, estimated in rows]


def everything(engine: Engine, *, numbered: bool = True) -> list[tuple[Any, ...]]:
    columns = "session_id, began_at, evse_id, location_id, timezone, duration_s, energy_wh, estimated_wh"
    columns += ", power_peak_w, method, anomalies, local_day, local_hour_at" + (", change_number" if numbered else "")
    return select(engine, f"SELECT {columns} FROM analytics.energy_interval ORDER BY session_id, began_at")


def charge(engine: Engine, session_id: int = 1) -> None:
    """Store the worked example of the documentation."""
    write_session(engine, session_id, 5, 50, 7000)
    for minute, value in ((10, 1000), (20, 3000), (30, 5000), (46, 6600)):
        write_sample(engine, session_id, minute, value)


def test_energy_is_divided_as_the_documentation_shows(engine: Engine) -> None:
    charge(engine)
    derive(engine)
    assert energies(engine, 1) == [(0, 2000, 1000), (15, 3000, 0), (30, 1500, 1500), (45, 500, 500)]
    rows = select(engine, "SELECT DISTINCT evse_id, location_id, timezone, method FROM analytics.energy_interval")
    assert rows == [(evse_at(31), *SOFIA, "register")]


def test_a_late_sample_changes_only_the_quarters_whose_energy_it_moves(engine: Engine) -> None:
    charge(engine)
    derive(engine)
    before = everything(engine)
    write_sample(engine, 1, 38, 6000)
    derive(engine)
    assert energies(engine, 1) == [(0, 2000, 1000), (15, 3000, 0), (30, 1525, 0), (45, 475, 400)]
    assert everything(engine)[:2] == before[:2]


def test_the_order_of_facts_does_not_matter_and_deriving_again_changes_nothing(engine: Engine) -> None:
    def facts() -> list[Written]:
        return [
            (write_session, 1, 5, None, 1000, {"known_at": 12}),
            (write_session, 1, 5, 50, "7000.0005", {}),
            *((write_sample, 1, minute, 100 * minute, {}) for minute in (6, 10, 18, 33, 38, 49, 60)),
            (write_sample, 1, 20, 3000, {"measurand": POWER}),
            (write_session, 2, 0, 61, 500, {}),
            (write_point, 2, 10, 100, 4000, {}),
            (write_point, 2, 55, 480, 2000, {}),
            (write_session, 3, 0, None, 900, {"known_at": 40}),
            (write_sample, 3, 10, 300, {}),
            (write_sample, 3, 50, 1500, {}),
        ]

    def outcome(order: Sequence[Written], derives: Sequence[bool]) -> list[tuple[Any, ...]]:
        empty(engine, ["charging.session", "charging.meter_value", "charging.consumption_point"])
        empty(engine, ["analytics.session", "analytics.energy_interval"])
        for (function, *arguments, options), is_derived in zip(order, derives, strict=True):
            function(engine, *arguments, **options)
            if is_derived:
                derive(engine)
        derive(engine)
        return everything(engine, numbered=False)

    chance = random.Random(7)
    expected = outcome(facts(), [False] * len(facts()))
    assert {row[0] for row in expected} == {1, 2, 3}
    for _ in range(8):
        shuffled = chance.sample(facts(), len(facts()))
        assert outcome(shuffled, [chance.random() < 0.5 for _ in shuffled]) == expected
        numbered = everything(engine)
        assert changes_of_deriving_everything(engine) == 0
        assert everything(engine) == numbered


def test_samples_after_the_energy_of_a_running_session_change_nothing_until_it_grows(engine: Engine) -> None:
    write_sample(engine, 1, 0, 0)
    write_sample(engine, 1, 15, 1000)
    write_session(engine, 1, 0, None, 1000, known_at=15)
    derive(engine)
    assert energies(engine, 1) == [(0, 1000, 0)]
    before = everything(engine)
    write_sample(engine, 1, 30, 3000)
    derive(engine)
    assert everything(engine) == before
    write_session(engine, 1, 0, None, 3000, known_at=30)
    derive(engine)
    assert everything(engine)[:1] == before
    assert energies(engine, 1) == [(0, 1000, 0), (15, 2000, 0)]


def test_the_samples_of_many_sessions_are_read_a_few_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for session_id in range(1, 8):
        charge(engine, session_id)
    derive(engine)
    together = everything(engine)
    read: list[int] = []

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if "FROM charging.consumption_point" in statement:
            read.append(cursor.rowcount)

    event.listen(engine, "after_cursor_execute", note)
    monkeypatch.setattr(energy, "FEW_SESSIONS", 1)
    monkeypatch.setattr(energy, "MAX_SAMPLES", 9)  # each session has four
    assert changes_of_deriving_everything(engine) == 0
    assert everything(engine) == together
    assert [count for count in read if count] == [8, 8, 8, 4]


def test_rows_go_with_the_session_or_its_energy_and_follow_its_location(engine: Engine) -> None:
    charge(engine, 1)
    charge(engine, 2)
    derive(engine)
    before = energies(engine, 1)
    # Another time zone, and a session that is gone
    write(engine, fact("location", SOFIA[0], 100, timezone="Europe/London"))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM charging.session WHERE session_id = 2"))
        mark_all(connection, "t")
    derive(engine)
    assert (energies(engine, 1), energies(engine, 2)) == (before, [])
    assert {row[2:5] for row in everything(engine)} == {(evse_at(31), 31, "Europe/London")}
    assert select(engine, "SELECT count(*) FROM analytics.removal WHERE table_name = 'energy_interval'") == [(4,)]
    # Another EVSE
    write_session(engine, 1, 5, 50, 7000, known_at=55, location_id=KATHMANDU[0])
    derive(engine)
    assert energies(engine, 1) == before
    assert {row[2:5] for row in everything(engine)} == {(evse_at(32), *KATHMANDU)}
    write_session(engine, 1, 5, 50, 0, known_at=60)
    derive(engine)
    assert energies(engine, 1) == []


def test_the_registers_of_a_running_session_may_arrive_after_its_energy(engine: Engine) -> None:
    for minute, value in ((10, 101_000), (20, 104_000)):
        write_sample(engine, 1, minute, value, "Energy Active Import Register")
    write_session(engine, 1, 0, None, 5000, known_at=30)
    derive(engine)
    assert energies(engine, 1) == [(0, 2500, 0), (15, 2500, 0)]
    write(engine, fact("session", 1, 40, "meter", meter_start_wh=Decimal(100_000), meter_stop_wh=Decimal(105_000)))
    derive(engine)
    assert energies(engine, 1) == [(0, 2500, 1000), (15, 2500, 1000)]
    assert changes_of_deriving_everything(engine) == 0


@pytest.mark.parametrize("energy", ["-1e30", "NaN", "1e30", "99999999999.9999", "0.0001"])
def test_energy_that_cannot_be_stops_nothing(engine: Engine, energy: str) -> None:
    charge(engine, 1)
    write_session(engine, 2, 30, -60, 5)
    for value in ("NaN", "-1e30", "1e30", "1e-30"):
        write_sample(engine, 1, 25, value, POWER)
        write_sample(engine, 2, 25, value)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE charging.session SET energy_wh = CAST(:energy AS numeric) WHERE session_id = 1"),
            {"energy": energy},
        )
    write(engine, *site(34, "America/Los_Angeles"), *site(35, "Pacific/Kiritimati"))
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for session_id, location_id, moment in ((3, 34, first), (4, 35, last)):
        minute = (moment - START) // timedelta(minutes=1)
        write_session(engine, session_id, minute, None, 7, location_id=location_id)
    derive(engine)
    assert energies(engine, 1) == []
    assert energies(engine, 2) == [(30, 5, 5)]
    assert [row[1:] for session_id in (3, 4) for row in energies(engine, session_id)] == [(7, 7), (7, 7)]


def test_hours_and_days_are_local_also_where_zones_differ_by_quarters(engine: Engine) -> None:
    # Kathmandu is 5:45 ahead of UTC: 18:15 UTC is midnight there
    for session_id, place in ((1, KATHMANDU), (2, SOFIA), (3, SOFIA), (4, NOWHERE)):
        write_session(engine, session_id, 660, 690, 2000, location_id=place[0])  # 18:00 to 18:30 UTC
    write(engine, gone("session", 3, 700))
    derive(engine)
    hours = select(
        engine,
        "SELECT location_id, timezone, hour_began_at, energy_wh, energy_kwh, sessions FROM analytics.energy_hour"
        " WHERE tenant = 't' ORDER BY 1, 3",
    )
    assert hours == [
        (31, "Europe/Sofia", at(660), 2000, 2, 1),
        (32, "Asia/Kathmandu", at(615), 1000, 1, 1),
        (32, "Asia/Kathmandu", at(675), 1000, 1, 1),
        (33, None, None, 2000, 2, 1),
    ]
    days = select(
        engine,
        "SELECT location_id, day, timezone, energy_wh, energy_kwh, estimated_wh FROM analytics.energy_day"
        " WHERE tenant = 't' ORDER BY 1, 2",
    )
    assert days == [
        (31, date(2026, 3, 4), "Europe/Sofia", 2000, 2, 2000),
        (32, date(2026, 3, 4), "Asia/Kathmandu", 1000, 1, 1000),
        (32, date(2026, 3, 5), "Asia/Kathmandu", 1000, 1, 1000),
        (33, None, None, 2000, 2, 2000),
    ]


def test_an_hour_that_clocks_repeat_is_two_hours(engine: Engine) -> None:
    # In Sofia it is 3:00 to 4:00 twice on 25 October 2026, from midnight UTC on
    midnight = (datetime(2026, 10, 25, tzinfo=UTC) - START) // timedelta(minutes=1)
    write_session(engine, 1, midnight, midnight + 120, 8000)
    derive(engine)
    hours = select(engine, "SELECT hour_began_at, energy_wh FROM analytics.energy_hour WHERE tenant = 't' ORDER BY 1")
    assert hours == [(at(midnight), 4000), (at(midnight + 60), 4000)]


def test_revenue_is_that_of_the_sessions_that_exist_by_the_day_on_which_they_started(engine: Engine) -> None:
    day = date(2026, 3, 4)
    for session_id, currency, amount, status in (
        (1, "EUR", 10.5, "completed"),
        (2, "EUR", 2, "pending"),
        (3, "BGN", 7, "completed"),
        (4, "BGN", 1000, "pending"),
    ):
        price: dict[str, Any] = {"amount_with_tax": Decimal(amount), "amount_without_tax": Decimal(amount) - 1}
        price |= {"currency": currency, "electricity_cost": Decimal("0.25"), "billing_status": status}
        write_session(engine, session_id, 5, 50, 500, **price)
    write(engine, gone("session", 4, 60))
    derive(engine)
    rows = select(
        engine,
        "SELECT location_id, day, currency, sessions, amount_with_tax, amount_without_tax, tax_amount,"
        " electricity_cost, energy_wh, is_final FROM analytics.revenue_day WHERE tenant = 't' ORDER BY currency",
    )
    assert rows == [
        (31, day, "BGN", 1, 7, 6, 1, Decimal("0.25"), 500, True),
        (31, day, "EUR", 2, Decimal("12.5"), Decimal("10.5"), 2, Decimal("0.5"), 1000, False),
    ]


#: 40 days of five locations.
MANY_SESSIONS = """
INSERT INTO analytics.session (tenant, session_id, location_id, timezone, local_day, started_at, outcome, is_final,
                               is_roaming, provisional, conflicting, change_number, changed_at)
SELECT 't', hour * 5 + location, 30 + location, 'Asia/Kathmandu', CAST(began_at AS date), began_at, 'charged', true,
       false, false, false, 0, began_at
  FROM generate_series(0, 40 * 24 - 1) AS hour,
       generate_series(0, 4) AS location,
       LATERAL (SELECT timestamptz '2026-02-20Z' + hour * interval '1 hour' AS began_at) AS began
"""
MANY_QUARTERS = """
INSERT INTO analytics.energy_interval (tenant, session_id, began_at, location_id, timezone, duration_s, energy_wh,
                                       estimated_wh, method, anomalies, change_number, changed_at)
SELECT 't', session_id, started_at + quarter * interval '15 min', location_id, timezone, 900, 1, 0, 'linear', 0, 0,
       started_at
  FROM analytics.session,
       generate_series(0, 3) AS quarter
"""


@pytest.mark.parametrize(
    ("view", "time", "index"),
    [
        ("energy_hour", "hour_began_at >= '2026-03-04Z' AND hour_began_at < '2026-03-05Z'", "local_hour_at"),
        ("energy_day", "day = '2026-03-04'", "local_day"),
        ("revenue_day", "day BETWEEN '2026-03-01' AND '2026-03-31'", "local_day"),
    ],
)
def test_a_location_and_a_time_are_looked_up_by_an_index(engine: Engine, view: str, time: str, index: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(MANY_SESSIONS))
        connection.execute(text(MANY_QUARTERS))
        connection.execute(text("ANALYZE analytics.session, analytics.energy_interval"))
        statement = f"EXPLAIN SELECT * FROM analytics.{view} WHERE tenant = 't' AND location_id = 31 AND {time}"
        plan = "\n".join(connection.execute(text(statement)).scalars())
    assert "Seq Scan on energy_interval" not in plan, plan
    conditions = [line for line in plan.splitlines() if "Index Cond" in line and "location_id" in line]
    assert [line for line in conditions if index in line], plan


def test_each_view_and_its_columns_say_what_they_hold(engine: Engine) -> None:
    rows = select(
        engine,
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE relnamespace = CAST('analytics' AS regnamespace) AND relkind = 'v' AND attnum > 0"
        " AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid) IS NULL)",
    )
    assert rows == []
