"""A week of one location, through all stages: what each table shows of it, whatever order its facts came in."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import IntegrityError

from storage.database import create_database_engine
from storage.operator_exclusions import NewExclusion, add_exclusion
from storage.schema.tables import metadata
from storage.schema_names import ANALYTICS, CHARGING
from storage.state.fold import Fact
from storage.state.marks import mark_all
from tests.support.analytics import (
    DERIVED,
    at,
    belongs,
    changes_of_deriving_everything,
    content,
    derive,
    derived,
    empty,
    fact,
    gone,
    session_facts,
    write,
)
from tests.support.databases import Databases
from tests.support.erasing import erase

HARBOUR, STATION = 57, 58
CHARGE_POINT, LEFT, RIGHT, CONNECTOR, SNAPSHOT, TARIFF = 418, 902, 903, 1204, 33, 3
DRIVER, OTHER_DRIVER = 770_315_902, 12

#: What operators enter has a number that a table gives.
STORED = sorted(
    table.fullname
    for table in metadata.tables.values()
    if table.schema == CHARGING and table.name != "operator_exclusion"
)


def on(day: int, hour: float) -> float:
    """Return the minutes that lead to an hour (UTC) of a day of the week that begins on Wednesday, 5 March 2025."""
    return (day - 364) * 1440 + (hour - 7) * 60


def statuses(*observed: tuple[int, float, int, str]) -> dict[str, list[dict[str, Any]]]:
    """Return observations of EVSEs: day, hour, EVSE and status."""
    return {
        "evse_status_observation": [
            {
                "evse_id": evse_id,
                "hardware_status": status,
                "error_code": "GroundFailure" if status == "faulted" else "NoError",
                "observed_at": at(on(day, hour)),
                "source": "notification",
            }
            for day, hour, evse_id, status in observed
        ]
    }


def register(session_id: int, *samples: tuple[int, float, int]) -> dict[str, list[dict[str, Any]]]:
    """Return samples of a session's energy: day, hour and Wh."""
    common = {"session_id": session_id, "measurand": "Energy Consumed", "ordinal": 0, "unit": "Wh"}
    return {"meter_value": [{**common, "measured_at": at(on(day, hour)), "value": wh} for day, hour, wh in samples]}


def charged(session_id: int, day: int, began: float, ended: float, wh: int, **values: Any) -> list[Fact]:
    """Return the facts of a session of the left EVSE, which were read when it ended."""
    columns: dict[str, Any] = {
        "status": "finished",
        "charge_point_id": CHARGE_POINT,
        "evse_id": LEFT,
        "connector_id": CONNECTOR,
        "started_at": at(on(day, began)),
        "stopped_at": at(on(day, ended)),
        "energy_wh": Decimal(wh),
        "currency": "EUR",
        "amount_with_tax": Decimal(wh) / 2000,
        "amount_without_tax": Decimal(wh) / 2500,
        "billing_status": "completed",
    }
    return session_facts(session_id, on(day, ended), **columns | values)


def asked(authorization_id: int, day: int, hour: float, **values: Any) -> Fact:
    columns: dict[str, Any] = {
        "method": "id_tag",
        "status": "accepted",
        "user_id": DRIVER,
        "charge_point_id": CHARGE_POINT,
        "evse_id": LEFT,
        "session_ids": [],
        "created_at": at(on(day, hour)),
    }
    return fact("authorization", authorization_id, on(day, hour), **columns | values)


def place(location_id: int, day: int, hour: float, name: str, timezone: str) -> Fact:
    position: dict[str, Any] = {"latitude": Decimal("53.5"), "longitude": Decimal("9.9")}
    return fact("location", location_id, on(day, hour), name=name, timezone=timezone, **position)


def unit(day: int, hour: float, name: str, location_id: int) -> Fact:
    return fact("charge_point", CHARGE_POINT, on(day, hour), name=name, location_id=location_id)


def evse(evse_id: int, label: str) -> Fact:
    power: dict[str, Any] = {"current_type": "ac", "max_power_w": Decimal(11_000)}
    return fact("evse", evse_id, on(0, 0), charge_point_id=CHARGE_POINT, label=label, **power)


def period(kind: str, period_id: int, began: float, ended: float) -> Fact:
    columns: dict[str, Any] = {"charge_point_id": CHARGE_POINT, "evse_id": LEFT, "type": kind}
    times: dict[str, Any] = {"started_at": at(on(2, began)), "ended_at": at(on(2, ended))}
    return fact("evse_downtime_period", period_id, on(2, ended), **columns, **times)


#: What is written in one transaction: facts, and observations.
Part = tuple[list[Fact], dict[str, list[dict[str, Any]]]]


def week() -> list[Part]:
    """Return the parts that are written while the week passes."""
    online = {"charge_point_id": CHARGE_POINT, "network_status": "available", "source": "notification"}
    snapshot = fact("tariff_snapshot", SNAPSHOT, on(0, 0), tariff_id=TARIFF, name="Day")
    return [
        ([place(HARBOUR, 0, 0, "Harbour", "Europe/Berlin"), place(STATION, 0, 0, "Station", "Europe/London")], {}),
        ([unit(0, 0, "Berth 1", HARBOUR), evse(LEFT, "left"), evse(RIGHT, "right")], {}),
        ([fact("connector", CONNECTOR, on(0, 0), type="type2"), belongs("connector", CONNECTOR, LEFT, on(0, 0))], {}),
        ([fact("tariff", TARIFF, on(0, 0), name="Day", currency="EUR", price_per_kwh=Decimal("0.5")), snapshot], {}),
        ([], {"charge_point_network_observation": [online | {"observed_at": at(on(0, 0))}]}),
        ([], statuses((0, 0, LEFT, "available"), (0, 0, RIGHT, "available"))),
        # Wednesday: a session of twelve kWh
        ([asked(7, 0, 9.9, session_ids=[1])], statuses((0, 10, LEFT, "charging"), (0, 11, LEFT, "available"))),
        ([], register(1, (0, 10, 0), (0, 10.25, 2000), (0, 10.75, 8000), (0, 11, 12_000))),
        (charged(1, 0, 10, 11, 12_000, user_id=DRIVER, tariff_snapshot_id=SNAPSHOT, authorization_id=7), {}),
        # Thursday: an attempt that is refused, a retry that delivers nothing, and one of another driver
        ([asked(8, 1, 8, status="rejected", rejection_reason="no_credit")], {}),
        (charged(2, 1, 8.1, 8.2, 0, user_id=DRIVER, evse_id=RIGHT, connector_id=None), {}),
        (charged(3, 1, 12, 13, 9000, user_id=OTHER_DRIVER), statuses((1, 12, LEFT, "charging"))),
        ([], statuses((1, 13, LEFT, "available"))),
        # Friday: an outage of four hours, of which AMPECO leaves one out, and counts one too long
        ([], statuses((2, 6, LEFT, "faulted"), (2, 10, LEFT, "available"))),
        ([period("exempt", 1, 7, 8), period("downtime", 2, 6, 11)], {}),
        # Saturday: new names, and more energy than the EVSE can deliver
        ([place(HARBOUR, 3, 1, "Harbour North", "Europe/Berlin"), unit(3, 2, "Berth 2", HARBOUR)], {}),
        (charged(4, 3, 10, 11, 13_000, user_id=DRIVER), statuses((3, 10, LEFT, "charging"))),
        ([], statuses((3, 11, LEFT, "available"))),
        # Sunday: the charge point moves, and charges until after midnight
        ([unit(4, 12, "Berth 2", STATION)], {}),
        (charged(5, 4, 23.25, 24.25, 5000, user_id=OTHER_DRIVER), statuses((4, 23.25, LEFT, "charging"))),
        ([], statuses((4, 24.25, LEFT, "available"))),
        # Monday: the right EVSE charges without a session; a session is gone at AMPECO
        ([], statuses((5, 9, RIGHT, "charging"), (5, 9.5, RIGHT, "available"))),
        (charged(6, 5, 9, 9.5, 4000, evse_id=RIGHT), {}),
        ([gone("session", 6, on(5, 10))], {}),
        # Tuesday: everything is taken down
        ([gone("evse", LEFT, on(6, 12)), gone("evse", RIGHT, on(6, 12))], {}),
        ([gone("charge_point", CHARGE_POINT, on(6, 12)), gone("location", HARBOUR, on(6, 12))], {}),
    ]


def late() -> list[Part]:
    """Return the parts that are written later: a refusal of Thursday, a session of Friday without statuses, and samples."""
    return [
        ([asked(9, 1, 14, status="rejected", rejection_reason="no_credit")], {}),
        (charged(7, 2, 10.5, 11, 1500), {}),
        ([], register(5, (4, 23.25, 0), (4, 24, 4500), (4, 24.25, 5000))),
    ]


def enter_vandalism(engine: Engine) -> None:
    """Enter what an operator leaves out: the first half hour of the outage."""
    times = at(on(2, 5)), at(on(2, 6.5))
    with engine.begin() as connection:
        add_exclusion(connection, "t", NewExclusion("charge_point", CHARGE_POINT, *times, "vandalism", None, "me"))


@pytest.fixture(scope="module")
def derived_week(databases: Databases) -> Iterator[str]:
    """The URL of a database with the week, of which each part was derived as it came; others are copied from it."""
    with databases.database() as url, connected(url) as engine:
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO ingest.uptime VALUES (:at, now() + interval '1 hour')"), {"at": at(on(0, 0))}
            )
        write_each(engine, week())
        enter_vandalism(engine)
        derive(engine)
        write_each(engine, late())
        engine.dispose()  # Postgres copies no database to which something is connected
        yield url


@pytest.fixture(scope="module")
def unchanged(databases: Databases, derived_week: str) -> Iterator[Engine]:
    """The week for all tests that commit nothing."""
    with databases.database(template=make_url(derived_week).database) as url, connected(url) as engine:
        yield engine


@pytest.fixture
def stored(databases: Databases, derived_week: str) -> Iterator[Engine]:
    """The week for one test."""
    with databases.database(template=make_url(derived_week).database) as url, connected(url) as engine:
        yield engine


@contextlib.contextmanager
def connected(url: str) -> Iterator[Engine]:
    engine = create_database_engine(url, application_name="tests", pool_size=3)
    try:
        yield engine
    finally:
        engine.dispose()


def write_each(engine: Engine, parts: list[Part]) -> None:
    for facts, observations in parts:
        write(engine, *facts, observations=observations)
        derive(engine)


def tuples(engine: Engine, table: str, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in derived(engine, table, *columns)]


def shown(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return what must not depend on the order of arrival."""
    tables = content(engine, *DERIVED)
    tables["finding"] = [
        {name: value for name, value in row.items() if name != "first_seen_at"}
        for row in tables["finding"]
        if row["resolved_at"] is None
    ]
    return tables


def test_sessions_have_the_places_of_their_times_and_attempts_their_sessions(unchanged: Engine) -> None:
    columns = ("session_id", "location_name", "charge_point_name", "evse_label", "local_day", "outcome")
    assert tuples(unchanged, "session", *columns) == [
        (1, "Harbour", "Berth 1", "left", date(2025, 3, 5), "charged"),
        (2, "Harbour", "Berth 1", "right", date(2025, 3, 6), "empty"),
        (3, "Harbour", "Berth 1", "left", date(2025, 3, 6), "charged"),
        (4, "Harbour North", "Berth 2", "left", date(2025, 3, 8), "charged"),
        (5, "Station", "Berth 2", "left", date(2025, 3, 9), "charged"),
        (6, "Station", "Berth 2", "right", date(2025, 3, 10), "charged"),
        (7, "Harbour", "Berth 1", "left", date(2025, 3, 7), "charged"),
    ]
    attempts = tuples(unchanged, "charge_attempt", "source", "source_id", "session_id", "location_id", "is_success")
    assert attempts == [
        ("authorization", 7, 1, HARBOUR, True),
        ("authorization", 8, None, HARBOUR, False),
        ("authorization", 9, None, HARBOUR, False),
        ("session", 2, 2, HARBOUR, False),
        ("session", 3, 3, HARBOUR, True),
        ("session", 4, 4, HARBOUR, True),
        ("session", 5, 5, STATION, True),
        ("session", 6, 6, STATION, True),
        ("session", 7, 7, HARBOUR, True),
    ]
    names = sorted(content(unchanged, "master_version")["master_version"], key=lambda row: row["valid_to"])
    assert [(row["name"], row["location_id"]) for row in names if row["kind"] == "charge_point"] == [
        ("Berth 1", HARBOUR),
        ("Berth 2", HARBOUR),
        ("Berth 2", STATION),
    ]


def test_energy_and_revenue_are_by_the_places_and_days_of_the_sessions(unchanged: Engine) -> None:
    (first, *_) = derived(
        unchanged, "session", "session_id", "driver_key", "tariff_name", "connector_type", "amount_with_tax"
    )
    assert (first["tariff_name"], first["connector_type"], first["amount_with_tax"]) == ("Day", "type2", 6)
    quarters = tuples(unchanged, "energy_interval", "session_id", "began_at", "energy_wh", "method")
    assert [row[2:] for row in quarters if row[0] == 1] == [
        (2000, "register"),
        (3000, "register"),
        (3000, "register"),
        (4000, "register"),
    ]
    # The session that is gone counts nowhere
    assert tuples(unchanged, "energy_day", "location_id", "day", "energy_wh") == [
        (HARBOUR, date(2025, 3, 5), 12_000),
        (HARBOUR, date(2025, 3, 6), 9000),
        (HARBOUR, date(2025, 3, 7), 1500),
        (HARBOUR, date(2025, 3, 8), 13_000),
        (STATION, date(2025, 3, 9), 4500),
        (STATION, date(2025, 3, 10), 500),
    ]
    assert tuples(unchanged, "revenue_day", "location_id", "day", "sessions", "amount_with_tax") == [
        (HARBOUR, date(2025, 3, 5), 1, 6),
        (HARBOUR, date(2025, 3, 6), 2, Decimal("4.5")),
        (HARBOUR, date(2025, 3, 7), 1, Decimal("0.75")),
        (HARBOUR, date(2025, 3, 8), 1, Decimal("6.5")),
        (STATION, date(2025, 3, 9), 1, Decimal("2.5")),
    ]


def test_the_outage_is_let_out_in_part_and_counts_in_days_and_months(unchanged: Engine) -> None:
    (outage,) = derived(unchanged, "outage")
    assert (outage["evse_id"], outage["cause"], outage["error_code"]) == (LEFT, "faulted", "GroundFailure")
    assert (outage["outage_s"], outage["excluded_s"], outage["location_id"]) == (4 * 3600, 1.5 * 3600, STATION)
    assert (outage["session_before_id"], outage["session_after_id"]) == (3, 7)
    assert sorted(row["source"] for row in derived(unchanged, "exclusion")) == ["evse_exempt_period", "operator"]
    columns = ("evse_id", "day", "charging_s", "outage_s", "excluded_s", "sessions", "attempts", "energy_wh")
    days = tuples(unchanged, "evse_day", *columns)
    assert [row[1:] for row in days if row[0] == LEFT] == [
        (date(2025, 3, 5), 3600, 0, 0, 1, 1, 12_000),
        (date(2025, 3, 6), 3600, 0, 0, 1, 3, 9000),
        (date(2025, 3, 7), 0, 14_400, 5400, 1, 1, 1500),
        (date(2025, 3, 8), 3600, 0, 0, 1, 1, 13_000),
        (date(2025, 3, 9), 2700, 0, 0, 1, 1, 4500),
        (date(2025, 3, 10), 900, 0, 0, 0, 0, 500),
        (date(2025, 3, 11), 0, 0, 0, 0, 0, 0),
    ]
    months = tuples(
        unchanged, "evse_uptime_month", "evse_id", "month", "days", "outage_s", "excluded_s", "ampeco_downtime_s"
    )
    assert months[0] == (LEFT, date(2025, 3, 1), 7, 14_400, 5400, 5 * 3600)
    assert len(months) == 24


def test_findings_follow_sessions_outages_and_states(unchanged: Engine) -> None:
    findings = tuples(unchanged, "finding", "rule", "entity_id", "began_at", "resolved_at")
    assert [row[:3] for row in findings if row[3] is None] == [
        ("charging_without_session", RIGHT, at(on(5, 9))),
        ("energy_above_power", 4, at(on(3, 10))),
        ("outage_differs", LEFT, at(on(2, 6))),
        ("session_while_available", 7, at(on(2, 10.5))),
    ]
    # Until the session was gone, its EVSE charged with one
    assert [row["state"] for row in derived(unchanged, "evse_state_interval") if row["evse_id"] == RIGHT] == [
        "available",
        "charging",
        "available",
    ]


def test_deriving_everything_again_changes_nothing_and_from_nothing_makes_the_same(stored: Engine) -> None:
    before = shown(stored)
    assert all(before.values()), [table for table, rows in before.items() if not rows]
    assert changes_of_deriving_everything(stored) == 0
    assert shown(stored) == before
    empty(stored, [f"{ANALYTICS}.{table}" for table in (*DERIVED, "feed", "removal", "dirty")])
    with stored.begin() as connection:
        mark_all(connection, "t")
    derive(stored)
    assert shown(stored) == before


def test_a_late_session_derives_the_days_that_it_touches_and_no_later_ones(stored: Engine) -> None:
    # Given other days that would be corrected if they were derived
    with stored.begin() as connection:
        wrong = text("UPDATE analytics.evse_day SET attempts = 99 WHERE evse_id = :left AND day <> ALL(:days)")
        connection.execute(wrong, {"left": LEFT, "days": [date(2025, 3, 7), date(2025, 3, 8)]})
    # When a session arrives that began before a midnight that is long past
    write(stored, *charged(8, 2, 23, 25, 4000))
    derive(stored)
    # Then the two days have it, and the days after them were not derived
    columns = ("evse_id", "day", "sessions", "attempts", "energy_wh")
    assert [row[1:] for row in tuples(stored, "evse_day", *columns) if row[0] == LEFT] == [
        (date(2025, 3, 5), 1, 99, 12_000),
        (date(2025, 3, 6), 1, 99, 9000),
        (date(2025, 3, 7), 2, 2, 3500),
        (date(2025, 3, 8), 1, 1, 15_000),
        (date(2025, 3, 9), 1, 99, 4500),
        (date(2025, 3, 10), 0, 99, 500),
        (date(2025, 3, 11), 0, 99, 0),
    ]


def test_the_facts_may_come_in_any_order(stored: Engine) -> None:
    expected = shown(stored)
    chance, written = random.Random(11), [*week(), *late()]
    for _ in range(4):
        empty(stored, [*STORED, *(f"{ANALYTICS}.{table}" for table in (*DERIVED, "dirty"))])
        for facts, observations in chance.sample(written, len(written)):
            write(stored, *facts, observations=observations)
            if chance.random() < 0.4:
                derive(stored)
        derive(stored)
        assert shown(stored) == expected
        assert changes_of_deriving_everything(stored) == 0


def test_an_erased_driver_is_in_no_table_and_the_numbers_stay(stored: Engine) -> None:
    def numbers() -> dict[str, list[dict[str, Any]]]:
        tables = shown(stored)
        for table in ("session", "charge_attempt"):
            tables[table] = [{**row, "driver_key": None} for row in tables[table]]
        return tables

    before = numbers()
    keys = {row["driver_key"] for row in derived(stored, "session")} - {None}
    assert len(keys) == 2
    erase(stored, "t", DRIVER)
    derive(stored)
    assert numbers() == before
    (left,) = {row["driver_key"] for row in derived(stored, "session")} - {None}
    assert left in keys
    assert changes_of_deriving_everything(stored) == 0


@pytest.mark.parametrize(
    ("constraint", "statement"),
    [
        ("evse_day_sum_check", "UPDATE analytics.evse_day SET charging_s = charging_s + 1"),
        ("evse_day_excluded_check", "UPDATE analytics.evse_day SET excluded_s = day_s + 1"),
        ("energy_interval_estimated_check", "UPDATE analytics.energy_interval SET estimated_wh = energy_wh + 0.001"),
        ("outage_order_check", "UPDATE analytics.outage SET ended_at = began_at"),
        ("master_version_order_check", "UPDATE analytics.master_version SET valid_to = valid_from"),
    ],
)
def test_the_database_refuses_what_does_not_add_up(unchanged: Engine, constraint: str, statement: str) -> None:
    with pytest.raises(IntegrityError) as caught, unchanged.begin() as connection:
        connection.execute(text(statement))
    assert caught.value.orig.diag.constraint_name == constraint  # type: ignore[union-attr]
