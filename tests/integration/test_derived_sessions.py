"""Derived sessions, attempts to charge and visits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from analytics.sessions.attempts import ERROR_REASONS
from migrations import roles
from storage.database import create_database_engine
from storage.state.fold import Fact, fact_from_notification
from tests.support.analytics import (
    at,
    belongs,
    changes_of_deriving_everything,
    content,
    derive,
    derived,
    fact,
    gone,
    session_facts,
    write,
)
from tests.support.databases import database_user
from tests.support.erasing import erase

LOCATION, CHARGE_POINT, EVSE, CONNECTOR, SNAPSHOT = 57, 418, 902, 1204, 33
DRIVER = 770_315_902

TABLES = ("session", "charge_attempt", "visit", "authorization_session")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=3)
    yield made
    made.dispose()


def site() -> list[Fact]:
    """A location with a charge point, an EVSE and its connector."""
    return [
        fact("location", LOCATION, -60, name="Harbour", timezone="Europe/Berlin"),
        fact("charge_point", CHARGE_POINT, -60, name="Berth 1", location_id=LOCATION),
        fact(
            "evse", EVSE, -60, charge_point_id=CHARGE_POINT, label="A", current_type="dc", max_power_w=Decimal(150000)
        ),
        fact("connector", CONNECTOR, -60, type="ccs2"),
        belongs("connector", CONNECTOR, EVSE, -60),
    ]


def finished(session_id: int = 1, began: float = 0, ended: float = 30, **values: Any) -> list[Fact]:
    """A session that delivered energy."""
    columns: dict[str, Any] = {
        "status": "finished",
        "charge_point_id": CHARGE_POINT,
        "evse_id": EVSE,
        "started_at": at(began),
        "stopped_at": at(ended),
        "stop_reason": "evdisconnected",
        "energy_wh": Decimal(12000),
    }
    return session_facts(session_id, ended, **columns | values)


def authorization(authorization_id: int = 7, minutes: float = -1, **values: Any) -> Fact:
    columns: dict[str, Any] = {
        "method": "id_tag",
        "status": "accepted",
        "user_id": DRIVER,
        "charge_point_id": CHARGE_POINT,
        "evse_id": EVSE,
        "session_ids": [],
        "created_at": at(minutes),
    }
    return fact("authorization", authorization_id, values.pop("reported", minutes), **columns | values)


def only(engine: Engine, table: str = "session") -> dict[str, Any]:
    derive(engine)
    (row,) = derived(engine, table)
    return row


def test_a_session_keeps_the_names_of_the_time_when_it_started(engine: Engine) -> None:
    write(engine, *site(), *finished(1, began=0), *finished(2, began=300, ended=330))
    derive(engine)
    # When everything gets another name in between
    write(
        engine,
        fact("location", LOCATION, 100, name="Harbour North", timezone="Europe/Berlin"),
        fact("charge_point", CHARGE_POINT, 110, name="Berth 2", location_id=LOCATION),
        fact("evse", EVSE, 120, charge_point_id=CHARGE_POINT, label="B", current_type="ac", tariff_group_id=5),
    )
    derive(engine)
    columns = ("session_id", "location_name", "charge_point_name", "evse_label", "current_type", "max_power_w")
    assert [tuple(row.values()) for row in derived(engine, "session", *columns, "tariff_group_id")] == [
        (1, "Harbour", "Berth 1", "A", "dc", 150000, None),
        (2, "Harbour North", "Berth 2", "B", "ac", None, 5),
    ]
    # Then the session before keeps its number
    first, second = (row["change_number"] for row in derived(engine, "session"))
    assert first < second
    assert changes_of_deriving_everything(engine) == 0


def test_a_session_stays_at_the_place_where_its_charge_point_was(engine: Engine) -> None:
    write(engine, *site(), *finished(1), fact("location", 58, -60, name="Station", timezone="Europe/London"))
    derive(engine)
    write(engine, fact("charge_point", CHARGE_POINT, 100, name="Berth 1", location_id=58))
    write(engine, *finished(2, began=200, ended=230))
    derive(engine)
    assert derived(engine, "session", "session_id", "location_id", "timezone") == [
        {"session_id": 1, "location_id": LOCATION, "timezone": "Europe/Berlin"},
        {"session_id": 2, "location_id": 58, "timezone": "Europe/London"},
    ]


def test_a_session_without_a_start_has_the_present_names(engine: Engine) -> None:
    write(engine, *site(), *finished(1, started_at=None, charge_point_id=None))
    derive(engine)
    write(engine, fact("location", LOCATION, 100, name="Harbour North"))
    row = only(engine)
    assert (row["charge_point_id"], row["location_name"]) == (CHARGE_POINT, "Harbour North")
    assert (row["local_day"], row["connected_s"]) == (None, None)


def test_the_local_day_follows_the_time_zone_of_the_location(engine: Engine) -> None:
    write(engine, *site(), *finished(1, began=16 * 60 + 30, ended=17 * 60))
    assert only(engine)["local_day"] == date(2026, 3, 5)
    write(engine, fact("location", LOCATION, 5000, name="Harbour", timezone="UTC"))
    assert only(engine)["local_day"] == date(2026, 3, 4)
    write(engine, fact("location", LOCATION, 5001, name="Harbour", timezone="Europe/Atlantis"))
    row = only(engine)
    assert (row["timezone"], row["local_day"], row["location_name"]) == (None, None, "Harbour")


def test_what_a_session_names_may_be_read_after_it(engine: Engine) -> None:
    write(engine, *finished(connector_id=CONNECTOR, tariff_snapshot_id=SNAPSHOT))
    row = only(engine)
    assert (row["location_id"], row["connector_type"], row["tariff_id"]) == (None, None, None)
    write(engine, *site(), fact("tariff_snapshot", SNAPSHOT, -60, tariff_id=3, name="Day"))
    row = only(engine)
    assert (row["location_id"], row["connector_type"]) == (LOCATION, "ccs2")
    assert (row["tariff_id"], row["tariff_name"]) == (3, "Day")
    write(engine, fact("connector", CONNECTOR, 90, type="chademo"))
    assert only(engine)["connector_type"] == "chademo"
    assert changes_of_deriving_everything(engine) == 0


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ({"status": "pending", "stopped_at": None}, "pending"),
        ({"status": "active", "stopped_at": None}, "running"),
        ({"status": "unknown", "stopped_at": None}, "running"),
        ({"status": "a new word", "stopped_at": None}, "unknown"),
        ({"status": None, "stopped_at": None}, "unknown"),
        ({}, "charged"),
        ({"stopped_at": None}, "charged"),
        ({"status": "active"}, "charged"),
        ({"energy_wh": Decimal(0)}, "empty"),
        ({"energy_wh": Decimal("0.0004")}, "empty"),
        ({"energy_wh": Decimal(-5)}, "empty"),
        ({"energy_wh": None}, "unknown"),
        ({"energy_wh": Decimal("1e30")}, "unknown"),
        ({"status": "failed"}, "failed"),
        ({"status": "expired", "energy_wh": None}, "expired"),
    ],
)
def test_what_came_of_a_session(engine: Engine, values: dict[str, Any], outcome: str) -> None:
    write(engine, *finished(**values))
    assert only(engine)["outcome"] == outcome


def test_the_time_of_a_session_divides_into_its_periods(engine: Engine) -> None:
    def period(number: int, began: float, ended: float | None, state: str | None) -> list[Fact]:
        times: dict[str, Any] = {"started_at": at(began), "stopped_at": None if ended is None else at(ended)}
        return [
            fact("charging_period", number, 40, **times, charging_state=state),
            belongs("charging_period", number, 1, 40),
        ]

    # Given a session that runs, with a part that has ended
    running = finished(status="active", stopped_at=None)
    write(engine, *running, *period(1, 0, 20, "charging"))
    row = only(engine)
    assert (row["connected_s"], row["charging_s"], row["idle_s"]) == (None, None, None)
    # When it ends, with parts that say nothing of use
    write(engine, *finished(ended=31))
    write(engine, *period(2, 20, 25, "charging"), *period(3, 25, 30, "idle"))
    write(engine, *period(4, 30, 29, "idle"), *period(5, 30, None, "idle"), *period(6, 0, 9, None))
    row = only(engine)
    assert (row["connected_s"], row["charging_s"], row["idle_s"]) == (31 * 60, 25 * 60, 5 * 60)
    # And a part goes, though nothing else of the session changes
    write(engine, gone("charging_period", 2, 50, parent_id=1))
    assert only(engine)["charging_s"] == 20 * 60


def test_energy_power_and_price(engine: Engine) -> None:
    write(
        engine,
        *finished(
            meter_start_wh=Decimal(1000),
            meter_stop_wh=Decimal(13250),
            amount_with_tax=Decimal("11.90"),
            amount_without_tax=Decimal("10"),
            tax_percent=Decimal(19),
            currency="EUR",
            billing_status="completed",
            energy_grid_wh=Decimal(11000),
            non_billable_energy_wh=Decimal(500),
        ),
    )
    row = only(engine)
    assert (row["energy_wh"], row["energy_kwh"], row["meter_gap_wh"]) == (12000, 12, 250)
    assert (row["power_average_w"], row["power_peak_w"]) == (24000, None)
    assert (row["tax_amount"], row["tax_percent"], row["is_final"]) == (Decimal("1.9"), 19, True)
    assert (row["energy_grid_wh"], row["energy_local_wh"], row["energy_non_billable_wh"]) == (11000, None, 500)


def sample(minutes: float, measurand: str, value: float | str, unit: str | None = None, ordinal: int = 0) -> Any:
    return {
        "session_id": 1,
        "measured_at": at(minutes),
        "measurand": measurand,
        "value": Decimal(value),
        "unit": unit,
        "ordinal": ordinal,
    }


def test_peak_power_and_states_of_charge_come_from_the_samples(engine: Engine) -> None:
    write(engine, *finished(soc_percent=Decimal(90)))
    assert only(engine)["soc_end_percent"] == 90
    samples = [
        sample(20, "State Of Charge", 80, "Percent"),
        sample(1, "State Of Charge", 20, "Percent"),
        sample(0, "State Of Charge", 5000, "Percent"),
        sample(5, "Power Active Import", 40_000),
        sample(6, "Power Active Import", "41.5", "kW"),
        sample(7, "Power Active Import", 99_000, "Wh"),
        sample(8, "Power Active Import", "1e30"),
        sample(9, "Voltage", 400_000, "V"),
    ]
    write(engine, observations={"meter_value": samples})
    row = only(engine)
    assert (row["power_peak_w"], row["soc_begin_percent"], row["soc_end_percent"]) == (41_500, 20, 80)
    write(engine, *finished(ended=31, power_peak_w=Decimal(45_000), power_average_w=Decimal(30_000)))
    row = only(engine)
    assert (row["power_peak_w"], row["power_average_w"]) == (45_000, 30_000)


def test_a_session_that_is_known_in_part_is_provisional(engine: Engine) -> None:
    state = {"status": "active", "charge_point_id": CHARGE_POINT, "evse_id": EVSE, "started_at": at(0)}
    columns = dict.fromkeys(("stopped_at", "stop_reason", "energy_wh")) | state
    write(engine, fact_from_notification("session", 1, "state", at(0), columns, partial=True))
    row = only(engine)
    assert (row["provisional"], row["conflicting"], row["outcome"]) == (True, False, "running")
    write(engine, *finished())
    assert not only(engine)["provisional"]
    conflicting = [
        fact_from_notification("session", 1, "state", at(31), columns | {"energy_wh": Decimal(energy)})
        for energy in (1, 2)
    ]
    write(engine, *conflicting)
    assert only(engine)["conflicting"]
    write(engine, gone("session", 1, 60))
    assert only(engine)["removed_at"] == at(60)


def test_a_session_is_roaming_by_its_cdrs_or_by_the_operator_of_its_evse(engine: Engine) -> None:
    write(engine, *site(), *finished(raw={"roaming": {"cdrIds": [4, 5]}}), *finished(2), *finished(3, evse_id=903))
    write(engine, *finished(4, raw={"roaming": {"cdrIds": []}}), *finished(5, raw={"roaming": "hostile"}))
    derive(engine)
    shown = derived(engine, "session", "session_id", "is_roaming", "cdr_ids")
    assert [tuple(row.values()) for row in shown] == [
        (1, True, [4, 5]),
        *[(session_id, False, None) for session_id in (2, 3, 4, 5)],
    ]
    write(engine, fact("evse", 903, 40, roaming_operator_id=8))
    derive(engine)
    assert [row["is_roaming"] for row in derived(engine, "session")] == [True, False, True, False, False]
    write(engine, fact("location", LOCATION, 41, roaming_operator_id=8))
    derive(engine)
    assert all(row["is_roaming"] for row in derived(engine, "session"))


def test_hostile_values_make_nulls_and_no_error(engine: Engine) -> None:
    huge = Decimal("-1e30")
    names = ("energy_grid_wh", "non_billable_energy_wh", "power_peak_w", "power_average_w", "soc_percent")
    numbers: dict[str, Any] = dict.fromkeys(
        (*names, "amount_with_tax", "tax_percent", "electricity_cost", "meter_start_wh"), huge
    )
    words: dict[str, Any] = dict.fromkeys(
        ("currency", "payment_type", "payment_status", "billing_status"), "€" * 10_000
    )
    write(engine, fact("location", LOCATION, -60, name="n" * 10_000, timezone="'; DROP"), *site()[1:3])
    write(
        engine,
        *finished(1, stopped_at=at(-10_000_000), energy_wh=huge, user_id=-(2**63), **numbers, **words),
        *finished(2, evse_id=2**63 - 1, charge_point_id=-(2**63), raw={"roaming": {"cdrIds": [{}, "x", None]}}),
        fact("session", 3, 0, "state"),
        fact("session", 4, 0, "meter", meter_start_wh=Decimal(1), meter_stop_wh=Decimal("1e29")),
        gone("session", 5, 0),
        authorization(7, session_ids=[1, 99], user_id=None, status="x" * 10_000, created_at=None),
        authorization(8, session_ids=[4, 3, 5], evse_id=-1, charge_point_id=None),
        observations={"meter_value": [sample(1, "State Of Charge", "1e300"), sample(1, "Power Active Import", -9)]},
    )
    derive(engine)
    rows = derived(engine, "session")
    assert [row["session_id"] for row in rows] == [1, 2, 3, 4, 5]
    assert {rows[0][name] for name in (*numbers, "energy_wh", "connected_s") if name in rows[0]} == {None}
    assert (rows[0]["outcome"], rows[0]["driver_key"], rows[0]["timezone"]) == ("unknown", None, None)
    assert [row["is_success"] for row in derived(engine, "charge_attempt")] == [None, None, True]
    assert changes_of_deriving_everything(engine) == 0


def attempts(engine: Engine, *columns: str) -> list[tuple[Any, ...]]:
    derive(engine)
    return [tuple(row.values()) for row in derived(engine, "charge_attempt", "source", "source_id", *columns)]


def test_refused_and_pending_authorizations_are_attempts(engine: Engine) -> None:
    write(
        engine,
        *site(),
        authorization(1, status="rejected", rejection_reason="no_balance", evse_id=None),
        authorization(2, status="pending"),
        authorization(3),
    )
    columns = ("location_id", "evse_id", "result", "rejection_reason", "ended_at", "is_success", "is_csr_success")
    assert attempts(engine, *columns) == [
        ("authorization", 1, LOCATION, None, "rejected", "no_balance", at(-1), False, False),
        ("authorization", 2, LOCATION, EVSE, "pending", None, at(-1), None, None),
        ("authorization", 3, LOCATION, EVSE, "accepted", None, at(-1), False, False),
    ]


def test_an_authorization_and_its_session_are_one_attempt_whichever_names_the_other(engine: Engine) -> None:
    write(engine, *site(), authorization(7, session_ids=[1]), *finished(1), *finished(2, authorization_id=8))
    write(engine, *finished(3), *finished(4, authorization_id=99))
    assert attempts(engine, "session_id", "result") == [
        ("authorization", 7, 1, "accepted"),
        ("session", 2, 2, None),
        ("session", 3, 3, None),
        ("session", 4, 4, None),
    ]
    # When the authorizations change their words
    write(engine, authorization(8), authorization(7, session_ids=[3], reported=60))
    assert attempts(engine, "session_id", "is_success", "energy_wh") == [
        ("authorization", 7, 3, True, 12000),
        ("authorization", 8, 2, True, 12000),
        ("session", 1, 1, True, 12000),
        ("session", 4, 4, True, 12000),
    ]
    # And a session names another one
    write(engine, *session_facts(2, 70, status="finished", authorization_id=7, started_at=at(-20)))
    assert attempts(engine, "session_id") == [
        ("authorization", 7, 2),
        ("authorization", 8, None),
        ("session", 1, 1),
        ("session", 4, 4),
    ]
    assert changes_of_deriving_everything(engine) == 0


def test_an_attempt_whose_session_was_removed_counts_no_more(engine: Engine) -> None:
    write(engine, *site(), authorization(7, session_ids=[1, 2]), *finished(1), *finished(2, began=40, ended=50))
    write(engine, authorization(8, 60, session_ids=[3]), *finished(3, began=61, ended=70), *finished(4, began=90))
    assert attempts(engine, "session_id", "removed_at") == [
        ("authorization", 7, 1, None),
        ("authorization", 8, 3, None),
        ("session", 4, 4, None),
    ]
    # When AMPECO no longer shows some of the sessions, the attempt is that of the one that is left
    write(engine, gone("session", 1, 100), gone("session", 3, 100), gone("session", 4, 100))
    assert attempts(engine, "session_id", "removed_at") == [
        ("authorization", 7, 2, None),
        ("authorization", 8, 3, at(100)),
        ("session", 4, 4, at(100)),
    ]
    assert [row["began_at"] for row in derived(engine, "visit", "began_at")] == [at(-1)]
    assert changes_of_deriving_everything(engine) == 0


def test_success_by_two_rules(engine: Engine) -> None:
    assert "evdisconnected" not in ERROR_REASONS
    cases: list[tuple[dict[str, Any], bool | None, bool | None]] = [
        ({}, True, True),
        ({"stop_reason": "powerloss"}, True, False),
        ({"stop_reason": None}, True, True),
        ({"energy_wh": Decimal(0)}, False, False),
        ({"status": "failed"}, True, False),
        ({"status": "expired", "energy_wh": Decimal(0)}, False, False),
        ({"status": "active", "stopped_at": None}, None, None),
        ({"status": "pending", "stopped_at": None}, None, None),
        ({"energy_wh": None}, None, None),
    ]
    for number, (values, _, _) in enumerate(cases):
        write(engine, *finished(number, **values))
    write(engine, authorization(7, status="rejected", session_ids=[1]))
    found = {row[2]: row[3:] for row in attempts(engine, "session_id", "is_success", "is_csr_success")}
    assert found == {number: (plain, csr) for number, (_, plain, csr) in enumerate(cases)}


def test_an_attempt_is_at_the_place_where_the_charge_point_was(engine: Engine) -> None:
    write(engine, authorization(1), authorization(2, 200), authorization(3, 200, charge_point_id=None))
    assert attempts(engine, "location_id") == [("authorization", number, None) for number in (1, 2, 3)]
    write(engine, *site())
    write(engine, fact("charge_point", CHARGE_POINT, 100, location_id=58))
    assert attempts(engine, "charge_point_id", "location_id") == [
        ("authorization", 1, CHARGE_POINT, LOCATION),
        ("authorization", 2, CHARGE_POINT, 58),
        ("authorization", 3, CHARGE_POINT, 58),
    ]


def test_attempts_of_a_driver_with_short_breaks_are_one_visit(engine: Engine) -> None:
    write(
        engine,
        *site(),
        authorization(1, 0, status="rejected"),
        authorization(2, 5, session_ids=[1]),
        *finished(1, began=6, ended=40),
        authorization(3, 55, session_ids=[2]),
        *finished(2, began=56, ended=60),
        authorization(4, 75.1),
        authorization(5, 6, user_id=1),
        authorization(6, 6, user_id=0),
        authorization(7, 60, session_ids=[3], user_id=1),
        *finished(3, began=61, status="active", stopped_at=None),
    )
    derive(engine)
    columns = ("began_at", "ended_at", "attempts", "succeeded", "first_attempt_succeeded", "energy_wh")
    visits = sorted(tuple(row.values()) for row in derived(engine, "visit", *columns))
    assert visits == [
        (at(0), at(60), 3, 2, False, 24000),
        (at(6), at(6), 1, 0, False, 0),
        (at(60), None, 1, 0, None, 12000),
        (at(75.1), at(75.1), 1, 0, False, 0),
    ]


def test_drivers_can_be_told_apart_and_not_recognised(engine: Engine) -> None:
    write(engine, *finished(1, user_id=DRIVER), *finished(2, user_id=DRIVER), *finished(3, user_id=12))
    write(engine, *finished(4, user_id=0), *finished(5), *finished(6, user_id=-1), authorization(7))
    derive(engine)
    keys = [row["driver_key"] for row in derived(engine, "session")]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3:] == [None, None, None]
    assert attempts(engine, "driver_key")[0] == ("authorization", 7, keys[0])
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.driver_secret"))
    assert changes_of_deriving_everything(engine) > 0
    assert {row["driver_key"] for row in derived(engine, "session")}.isdisjoint({keys[0], keys[2]})


def test_an_erased_person_has_no_key_anywhere(engine: Engine) -> None:
    write(engine, *site(), *finished(1, user_id=DRIVER), *finished(2, user_id=12), authorization(7, session_ids=[1]))
    write(engine, authorization(8, status="rejected"))
    derive(engine)
    (key,) = {row["driver_key"] for row in derived(engine, "charge_attempt") if row["source"] == "authorization"}
    assert key is not None
    erase(engine, "t", DRIVER)
    derive(engine)
    for table in ("session", "charge_attempt"):
        assert key not in {row["driver_key"] for row in derived(engine, table)}
    assert [row["driver_key"] is None for row in derived(engine, "session")] == [True, False]
    assert {row["driver_key"] for row in derived(engine, "visit")} == {derived(engine, "session")[1]["driver_key"]}


def test_an_erased_person_is_in_no_former_name(engine: Engine) -> None:
    write(engine, fact("charge_point", CHARGE_POINT, -60, name="jo@example.org", location_id=LOCATION, owner_user_id=9))
    write(engine, *finished(1))
    write(engine, fact("user", 9, -60, raw={"id": 9, "email": "jo@example.org"}))
    write(engine, fact("charge_point", CHARGE_POINT, 60, name="Home", location_id=LOCATION))
    assert only(engine)["charge_point_name"] == "jo@example.org"
    erase(engine, "t", 9)
    assert only(engine)["charge_point_name"] != "jo@example.org"
    assert all("jo@" not in str(row) for row in derived(engine, "master_version", "entity_id", "kind", "name"))


def test_analysts_cannot_read_the_secret(engine: Engine) -> None:
    write(engine, *finished(1, user_id=DRIVER))
    derive(engine)
    with database_user(engine, "of_the_analysts", options=f"IN ROLE {roles.READ}") as url:
        own = create_database_engine(url, application_name="tests", pool_size=1)
        with own.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM analytics.visit")).scalar_one() == 0
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text("SELECT secret FROM ingest.driver_secret"))
        own.dispose()


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_the_facts_ends_in_the_same_rows(engine: Engine, seed: int) -> None:
    facts = [
        *site(),
        *finished(1, authorization_id=7, connector_id=CONNECTOR, tariff_snapshot_id=SNAPSHOT, user_id=DRIVER),
        *finished(1, ended=45, energy_wh=Decimal(15000), authorization_id=9, raw={"roaming": {"cdrIds": [3]}}),
        *finished(2, began=60, ended=90, user_id=DRIVER, energy_wh=Decimal(0)),
        fact("tariff_snapshot", SNAPSHOT, 0, tariff_id=3, name="Day"),
        authorization(7, session_ids=[1, 2]),
        authorization(7, session_ids=[2], reported=50),
        authorization(8, 58, status="rejected"),
        gone("session", 2, 100),
        fact("charging_period", 1, 40, started_at=at(0), stopped_at=at(20), charging_state="charging"),
        belongs("charging_period", 1, 1, 40),
    ]
    samples = [sample(1, "State Of Charge", 20), sample(9, "State Of Charge", 30), sample(9, "State Of Charge", 31)]
    write(engine, *facts, observations={"meter_value": samples})
    derive(engine)
    expected = content(engine, *TABLES)
    with engine.begin() as connection:
        stored = connection.execute(
            text(
                "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables"
                " WHERE schemaname IN ('charging', 'analytics') AND tablename NOT IN ('contract', 'feed')"
            )
        ).scalar_one()
        connection.execute(text(f"TRUNCATE {stored}"))
    chance = random.Random(seed)
    chance.shuffle(facts)
    while facts or samples:
        size = chance.randint(1, 4)
        write(engine, *facts[:size], observations={"meter_value": samples[:1]} if samples else {})
        facts, samples = facts[size:], samples[1:]
        if chance.random() < 0.7:
            derive(engine)
    derive(engine)
    assert content(engine, *TABLES) == expected
    assert changes_of_deriving_everything(engine) == 0
