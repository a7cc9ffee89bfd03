"""Derived master data: locations, charge points, EVSEs and tariffs as they are, and as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.database import create_database_engine
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import BEGINNING, Fact, fact_from_notification, fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import at as minute
from tests.support.analytics import belongs, changes_of_deriving_everything, derive, fact, session_facts, write

START = datetime(2026, 3, 4, 7, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=2)
    yield made
    made.dispose()


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def read(engine: Engine, kind: str, entity_id: int, hours: float, group: str = "master", **values: Any) -> None:
    """Store what a read showed."""
    columns = next(each.columns for each in MIRRORS[kind].groups if each.name == group)
    shown = dict.fromkeys(columns) | {name: value for name, value in values.items() if name in columns}
    if "raw" in columns:
        shown["raw"] = values
    fact = fact_from_read(kind, entity_id, group, at(hours), shown, began_at=at(hours))
    with engine.begin() as connection:
        write_changes(connection, "t", ChangeSet(facts=[fact]))


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def versions(engine: Engine, kind: str, columns: str) -> list[Any]:
    """The versions of the only entity of a kind: the hour of each beginning, None for the first one, and columns."""
    found = rows(
        engine,
        f"SELECT nullif(valid_from, '-infinity'), nullif(valid_to, 'infinity'), {columns} FROM analytics.master_version"
        f" WHERE kind = '{kind}' ORDER BY valid_from",
    )
    # No gap and no overlap
    assert [row[1] for row in found[:-1]] == [row[0] for row in found[1:]]
    assert found[0][0] is None
    assert found[-1][1] is None
    return [(row[0] and (row[0] - START).total_seconds() / 3600, *row[2:]) for row in found]


def test_what_a_report_calls_a_place_is_what_it_was_called_then(engine: Engine) -> None:
    read(engine, "location", 1, 0, name="Old mill", status="enabled", timezone="Europe/Sofia")
    read(engine, "location", 1, 5, name="New mill", status="enabled", timezone="Europe/Sofia")
    read(engine, "location", 1, 6, name="New mill", status="disabled", timezone="Europe/Sofia")
    read(engine, "location", 1, 7, name="New mill", status="disabled", timezone="Europe/Sofia", city="Plovdiv")
    derive(engine)
    assert rows(engine, "SELECT name, status, city, timezone FROM analytics.location") == [
        ("New mill", "disabled", "Plovdiv", "Europe/Sofia")
    ]
    # A change of another column makes no version
    assert versions(engine, "location", "name, status") == [
        (None, "Old mill", "enabled"),
        (5, "New mill", "enabled"),
        (6, "New mill", "disabled"),
    ]


def test_an_evse_shows_where_it_is_and_its_charge_point_what_it_holds(engine: Engine) -> None:
    read(engine, "charge_point", 10, 0, name="A", location_id=1)
    read(engine, "charge_point", 11, 0, name="B", location_id=2)
    read(engine, "evse", 100, 0, charge_point_id=10, physical_reference="1", max_power_w=50_000, tariff_group_id=7)
    derive(engine)
    assert rows(engine, "SELECT label, charge_point_id, location_id FROM analytics.evse") == [("1", 10, 1)]
    read(engine, "evse", 100, 3, charge_point_id=11, physical_reference="1", label="Left", max_power_w=60_000)
    derive(engine)
    assert rows(engine, "SELECT label, charge_point_id, location_id FROM analytics.evse") == [("Left", 11, 2)]
    # Both the former and the present charge point follow
    assert rows(engine, "SELECT charge_point_id, evse_count, max_power_w FROM analytics.charge_point ORDER BY 1") == [
        (10, 0, None),
        (11, 1, 60_000),
    ]
    read(engine, "charge_point", 11, 4, name="B", location_id=3)
    derive(engine)
    assert rows(engine, "SELECT location_id FROM analytics.evse") == [(3,)]
    assert versions(engine, "evse", "name, charge_point_id, max_power_w, tariff_group_id") == [
        (None, "1", 10, 50_000, 7),
        (3, "Left", 11, 60_000, None),
    ]


def test_models_and_vendors_of_the_catalogue_are_shown_until_a_boot_reports_better_ones(engine: Engine) -> None:
    def shown() -> list[Any]:
        derive(engine)
        return rows(engine, "SELECT vendor, model, firmware_version FROM analytics.charge_point")

    read(engine, "charge_point", 10, 0, name="A", model_id=5)
    assert shown() == [(None, None, None)]
    read(engine, "charge_point_model", 5, 0, name="Terra", vendor_id=6)
    assert shown() == [(None, "Terra", None)]
    read(engine, "charge_point_vendor", 6, 0, name="ABB")
    assert shown() == [("ABB", "Terra", None)]
    read(engine, "charge_point", 10, 2, "boot", boot_vendor="ABB", boot_model="Terra 94", firmware_version="1.6")
    assert shown() == [("ABB", "Terra 94", "1.6")]


def test_what_cannot_be_is_null_and_stops_nothing(engine: Engine) -> None:
    read(engine, "location", 1, 0, name="x" * 10_000, timezone="Middle/Earth", latitude=91e30, longitude="NaN")
    read(engine, "charge_point", 10, 0, name="A", location_id=1)
    read(engine, "evse", 100, 0, charge_point_id=10, max_power_w=1e30)
    read(engine, "evse", 100, 1, charge_point_id=10, max_power_w=-1e300)
    read(engine, "tariff", 7, 0, name="T", price_per_kwh=1e40, min_price="0.1234567")
    derive(engine)
    assert rows(engine, "SELECT length(name), timezone, latitude, longitude FROM analytics.location") == [
        (10_000, None, None, None)
    ]
    assert rows(engine, "SELECT max_power_w FROM analytics.evse") == [(None,)]
    assert rows(engine, "SELECT price_per_kwh, CAST(min_price AS text) FROM analytics.tariff") == [(None, "0.123457")]
    assert versions(engine, "evse", "max_power_w") == [(None, None)]


def test_working_hours_are_null_where_a_location_is_always_open(engine: Engine) -> None:
    hours = {"monday": [{"start": "07:00", "end": "22:00"}]}
    read(engine, "location", 1, 0, working_hours={"isAlwaysOpen": True, "hours": hours})
    read(engine, "location", 2, 0, working_hours={"isAlwaysOpen": False, "hours": hours})
    read(engine, "location", 3, 0, working_hours=None)
    derive(engine)
    assert rows(engine, "SELECT working_hours FROM analytics.location ORDER BY location_id") == [
        (None,),
        (hours,),
        (None,),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_derivations_at_any_time_end_in_the_same_rows(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    for hours in range(20):
        if chance.random() < 0.5:
            read(engine, "charge_point", 10, hours, name=chance.choice("AB"), location_id=chance.choice((1, 2, None)))
        else:
            read(engine, "evse", 100, hours, charge_point_id=chance.choice((10, 11)), label=chance.choice("XY"))
        if chance.random() < 0.4:
            derive(engine)
    derive(engine)
    before = [rows(engine, statement) for statement in EVERYTHING]
    with engine.begin() as connection:
        mark_all(connection, "t")
    derive(engine)
    assert [rows(engine, statement) for statement in EVERYTHING] == before


EVERYTHING = (
    "SELECT * FROM analytics.charge_point ORDER BY 2",
    "SELECT * FROM analytics.evse ORDER BY 2",
    "SELECT kind, entity_id, nullif(valid_from, '-infinity'), nullif(valid_to, 'infinity'), name, change_number"
    " FROM analytics.master_version ORDER BY 1, 2, valid_from",
)


def notified(kind: str, entity_id: int, minutes: float, group: str = "master", **values: Any) -> Fact:
    """What a notification says, as a provisional fact."""
    return fact_from_notification(kind, entity_id, group, minute(minutes), values, partial=group == "master")


FACTS = [
    notified("location", 1, 0, name="Mill"),
    fact("location", 1, 10, name="Old mill", status="enabled"),
    notified("location", 1, 60, name="Mill"),
    fact("location", 1, 60, name="New mill", status="enabled"),
    fact("location", 1, 90, name="New mill", status="disabled"),
    *(fact("charge_point", 10, after, name=name, location_id=1) for after, name in ((0, "A"), (50, "B"), (80, "A"))),
    *(
        notified("charge_point", 10, after, "boot", firmware_version=version)
        for after, version in ((5, "1"), (70, "2"))
    ),
    *(fact("evse", 100, after, charge_point_id=10, label=name) for after, name in ((0, "X"), (30, "X"), (65, "Y"))),
    *(fact("tariff", 7, after, name="DC", price_per_kwh=price) for after, price in ((0, "0.4"), (20, "0.5"), (40, 1))),
    *session_facts(5, 62, evse_id=100, charge_point_id=10, started_at=minute(61), status="active"),
]


@pytest.mark.parametrize("seed", range(8))
def test_facts_in_any_order_end_in_the_same_versions(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    order = chance.sample(FACTS, len(FACTS))
    while order:
        size = chance.choice((1, 1, 2, 5))
        write(engine, *order[:size])
        del order[:size]
        if chance.random() < 0.3:
            derive(engine)
    derive(engine)
    assert versions(engine, "location", "name, status") == [
        (None, "Mill", "enabled"),
        (10 / 60, "Old mill", "enabled"),
        (1, "New mill", "enabled"),
        (1.5, "New mill", "disabled"),
    ]
    assert versions(engine, "charge_point", "name, firmware_version") == [
        (None, "A", "1"),
        (50 / 60, "B", "1"),
        (70 / 60, "B", "2"),
        (80 / 60, "A", "2"),
    ]
    assert versions(engine, "evse", "name") == [(None, "X"), (65 / 60, "Y")]
    prices = [float(price) for _, price in versions(engine, "tariff", "price_per_kwh")]
    assert prices == [0.4, 0.5, 1]
    assert rows(engine, "SELECT location_name, charge_point_name FROM analytics.session") == [("New mill", "B")]
    assert changes_of_deriving_everything(engine) == 0


def test_versions_follow_notifications_where_no_read_does(engine: Engine) -> None:
    # Given a location that the token may not read
    for minutes, name in ((0, "A"), (60, "B")):
        write(engine, notified("location", 1, minutes, name=name))
        derive(engine)
    assert versions(engine, "location", "name, status") == [(None, "A", None), (1, "B", None)]
    # When it is read, then what lay before is known as the first fact alone, and what follows waits for no read
    write(engine, fact("location", 1, 120, name="C", status="enabled"), notified("location", 1, 180, name="D"))
    derive(engine)
    assert versions(engine, "location", "name, status") == [
        (None, "A", "enabled"),
        (2, "C", "enabled"),
        (3, "D", "enabled"),
    ]
    assert changes_of_deriving_everything(engine) == 0


def test_a_status_does_not_derive_master_data_again(engine: Engine) -> None:
    read(engine, "evse", 100, 0, charge_point_id=10)
    derive(engine)
    changes = ChangeSet()
    observed = {"evse_id": 100, "hardware_status": "charging", "observed_at": at(1), "source": "notification"}
    changes.observe("evse_status_observation", observed)
    # As each status notification does, it names the charge point of the EVSE, and the status is a fact of its own
    parent = {"charge_point_id": 10} | dict.fromkeys(set(MIRRORS["evse"].group("master").columns) - {"charge_point_id"})
    status = dict.fromkeys(MIRRORS["evse"].group("hardware").columns) | {"hardware_status": "charging"}
    changes.facts += [
        fact_from_notification("evse", 100, "master", BEGINNING, parent, partial=True),
        fact_from_notification("evse", 100, "hardware", at(1), status),
    ]
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    # Only its status is derived again, and only from then on
    assert rows(engine, "SELECT kind, changed_since FROM analytics.dirty") == [("evse_status", at(1))]


def test_an_entity_known_only_by_its_status_is_shown_and_gets_its_names_later(engine: Engine) -> None:
    read(engine, "evse", 902, 0, "hardware", hardware_status="faulted")
    read(engine, "charge_point", 418, 0, "network", network_status="available")
    derive(engine)
    assert rows(engine, "SELECT evse_id, label FROM analytics.evse") == [(902, None)]
    assert rows(engine, "SELECT charge_point_id, name FROM analytics.charge_point") == [(418, None)]
    assert changes_of_deriving_everything(engine) == 0
    read(engine, "evse", 902, 1, label="left", charge_point_id=418)
    derive(engine)
    assert rows(engine, "SELECT evse_id, label, charge_point_id FROM analytics.evse") == [(902, "left", 418)]
    assert changes_of_deriving_everything(engine) == 0


def test_a_connector_that_moves_leaves_the_evse_where_it_was(engine: Engine) -> None:
    for evse_id in (902, 903):
        read(engine, "evse", evse_id, 0, charge_point_id=418)
    read(engine, "connector", 1204, 0, type="ccs2")
    for evse_id, minutes in ((902, 0), (903, 60)):
        write(engine, belongs("connector", 1204, evse_id, minutes))
        derive(engine)
        shown = rows(engine, "SELECT evse_id, connector_types FROM analytics.evse ORDER BY 1")
        assert shown == [(902, "ccs2" if evse_id == 902 else None), (903, "ccs2" if evse_id == 903 else None)]
    assert changes_of_deriving_everything(engine) == 0
