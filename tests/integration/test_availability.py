"""Availability: the worked example of the documentation, the views, and facts that make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.database import create_database_engine
from storage.operator_exclusions import NewExclusion, add_exclusion
from storage.state.changes import ChangeSet
from storage.state.fold import Fact, fact_from_read
from storage.write import write_changes
from tests.support.analytics import changes_of_deriving_everything, derive, session_facts

PAGE = Path(__file__).parents[2] / "docs" / "analytics" / "availability.md"

#: Midnight of New Year 2025 in Sofia.
START = datetime(2024, 12, 31, 22, tzinfo=UTC)
EVSE, CHARGE_POINT, LOCATION = 902, 418, 7


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=2)
    with made.begin() as connection:
        connection.execute(
            text("INSERT INTO ingest.uptime VALUES (:at, now() + interval '1 hour')"), {"at": START - timedelta(days=9)}
        )
    yield made
    made.dispose()


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def read(kind: str, entity_id: int, **values: Any) -> Fact:
    return fact_from_read(kind, entity_id, "master", START, {**values, "raw": {}}, began_at=START)


def site(**location: Any) -> list[Fact]:
    return [
        read("location", LOCATION, **({"timezone": "Europe/Sofia"} | location)),
        read("charge_point", CHARGE_POINT, location_id=LOCATION, access_type="public"),
        read("evse", EVSE, charge_point_id=CHARGE_POINT, max_power_w=100_000),
    ]


def statuses(changes: ChangeSet, *words: tuple[float, str]) -> None:
    """Add statuses; ``online`` and ``offline`` are of the network."""
    for minutes, word in words:
        common = {"observed_at": at(minutes), "source": "notification"}
        if word in ("online", "offline"):
            network = "available" if word == "online" else "temporarily_unavailable"
            row = {"charge_point_id": CHARGE_POINT, "network_status": network, **common}
            changes.observe("charge_point_network_observation", row)
        else:
            changes.observe("evse_status_observation", {"evse_id": EVSE, "hardware_status": word, **common})


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


@pytest.fixture
def year(engine: Engine) -> Engine:
    """The year of the worked example."""
    exempt = {"evse_id": EVSE, "charge_point_id": CHARGE_POINT, "type": "exempt"}
    down = {"charge_point_id": CHARGE_POINT, "type": "downtime"}
    gone = {"deleted_at": at(525_600)}
    changes = ChangeSet(
        facts=[
            *site(),
            read("evse_downtime_period", 5, **exempt, started_at=at(99_000), ended_at=at(105_256)),
            read("charge_point_downtime_period", 5, **down, started_at=at(100_000), ended_at=at(110_000)),
            fact_from_read("evse", EVSE, "presence", at(525_600), gone, began_at=at(525_600), rank="0"),
        ]
    )
    statuses(changes, (0, "online"), (0, "available"), (100_000, "faulted"), (110_512, "available"))
    statuses(changes, (200_000, "offline"), (210_512, "online"), (300_000, "charging"), (300_144, "available"))
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
        entry = NewExclusion("location", LOCATION, at(102_628), at(107_884), "vandalism", "report 4711", "me")
        add_exclusion(connection, "t", entry)
    derive(engine)
    return engine


def test_an_outage_has_the_error_of_its_charge_point_if_the_evse_reports_none(engine: Engine) -> None:
    changes = ChangeSet(facts=site())
    statuses(changes, (0, "online"), (0, "available"))

    def report(minutes: float, table: str, key: str, entity_id: int, status: str, error: str) -> None:
        row = {"observed_at": at(minutes), "source": "notification", "hardware_status": status, "error_code": error}
        later = ChangeSet()
        later.observe(table, {key: entity_id, **row})
        with engine.begin() as connection:
            write_changes(connection, "t", later)
        derive(engine)

    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    charge_point = ("charge_point_hardware_observation", "charge_point_id", CHARGE_POINT)
    errors = "SELECT error_code FROM analytics.outage ORDER BY began_at"
    # Given a fault of the charge point, whose error comes with its second status
    report(10, *charge_point, "faulted", "NoError")
    assert rows(engine, errors) == [{"error_code": None}]
    report(12, *charge_point, "faulted", "InternalError")
    assert rows(engine, errors) == [{"error_code": "InternalError"}]
    # When the EVSE reports one as well, it counts
    report(14, "evse_status_observation", "evse_id", EVSE, "faulted", "GroundFailure")
    assert rows(engine, errors) == [{"error_code": "GroundFailure"}]
    assert changes_of_deriving_everything(engine) == 0


def test_the_worked_example_of_the_documentation_is_what_is_derived(year: Engine) -> None:
    (month,) = rows(year, "SELECT * FROM analytics.evse_uptime_month WHERE month = '2025-12-01'")
    assert month["outage_s"] == 21_024 * 60
    assert month["excluded_s"] == 7_884 * 60
    assert month["nevi_uptime_percent"] == Decimal("97.500")
    assert month["meets_97"]
    assert month["up_share_percent"] == Decimal("96.000")
    assert month["coverage_percent"] == Decimal("100.000")
    assert (month["days"], month["ampeco_downtime_s"]) == (365, 600_000)
    (network,) = rows(year, "SELECT * FROM analytics.network_reliability_year")
    assert network == {
        "tenant": "t",
        "year": 2025,
        "evses": 1,
        "open_s": 525_600 * 60,
        "reliable_percent_as_written": Decimal("98.000"),
        "reliable_percent_measured": Decimal("97.959"),
        "meets_99_as_written": False,
    }
    page = " ".join(PAGE.read_text().split())
    for shown in (
        *("10,512 minutes and", "T_outage = 21,024", "first 5,256 minutes", "from minute 2,628", "T_excluded = 7,884"),
        "100 × (525,600 − (21,024 − 7,884)) / 525,600 = 97.500 %",
        *("outage is 96.000 %", "98.000 % is reliable as written, and 97.959 % measured"),
    ):
        assert shown in page


def test_the_utilisation_of_a_day_is_the_share_of_known_time_that_was_charging(year: Engine) -> None:
    (day,) = rows(year, "SELECT * FROM analytics.utilisation_day WHERE day = '2025-07-28'")
    assert (day["location_id"], day["evses"], day["day_s"], day["known_s"]) == (LOCATION, 1, 86_400, 86_400)
    assert (day["charging_s"], day["occupied_s"], day["utilisation_percent"]) == (8_640, 8_640, Decimal("10.000"))
    lengths = rows(year, "SELECT day_s, count(*) AS days FROM analytics.evse_day GROUP BY 1 ORDER BY 1")
    assert [(row["day_s"], row["days"]) for row in lengths] == [(82_800, 1), (86_400, 363), (90_000, 1)]


def test_deriving_everything_again_changes_nothing_and_an_evse_that_moves_takes_its_rows_along(year: Engine) -> None:
    assert changes_of_deriving_everything(year) == 0
    later = at(600_000)
    moved = [
        fact_from_read("location", 8, "master", later, {"timezone": "Asia/Tokyo", "raw": {}}, began_at=later),
        fact_from_read("charge_point", CHARGE_POINT, "master", later, {"location_id": 8, "raw": {}}, began_at=later),
    ]
    with year.begin() as connection:
        write_changes(connection, "t", ChangeSet(facts=moved))
    derive(year)
    assert rows(year, "SELECT DISTINCT location_id, timezone FROM analytics.evse_day") == [
        {"location_id": 8, "timezone": "Asia/Tokyo"}
    ]
    # The entry of the former location lets nothing out any more
    assert rows(year, "SELECT DISTINCT source FROM analytics.exclusion") == [{"source": "evse_exempt_period"}]
    assert {row["location_id"] for row in rows(year, "SELECT location_id FROM analytics.outage")} == {8}


@pytest.mark.parametrize("zone", [None, "Mars/Olympus_Mons"])
def test_without_a_time_zone_there_are_outages_and_no_days(engine: Engine, zone: str | None) -> None:
    changes = ChangeSet(facts=site(timezone=zone, working_hours={"isAlwaysOpen": False, "hours": {}}))
    statuses(changes, (0, "faulted"), (10.5, "available"))
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    derive(engine)
    (outage,) = rows(engine, "SELECT outage_s, excluded_s FROM analytics.outage")
    assert outage == {"outage_s": 630, "excluded_s": 0}
    assert rows(engine, "SELECT FROM analytics.evse_day") == []


@pytest.mark.parametrize(
    "hours",
    [
        [],
        "always",
        {"monday": {"start": "07:00", "end": "22:00"}},
        {"monday": [{"start": "25:00", "end": "26:00"}]},
        {"monday": [{"start": "24:00", "end": "24:00"}]},
        {"monday": [{"start": "٠٧:00", "end": "22:00"}]},
        {"monday": [{"start": 7, "end": None}]},
        {"monday": [["07:00", "22:00"]]},
        {"monday": [{"start": "07:00", "end": "22:00"}] * 1000},
        {"Montag": [{"start": "07:00", "end": "22:00"}]},
    ],
    ids=range(10),
)
def test_hours_that_cannot_be_read_count_as_always_open(engine: Engine, hours: Any) -> None:
    changes = ChangeSet(facts=site(working_hours={"isAlwaysOpen": False, "hours": hours}))
    statuses(changes, (0, "faulted"), (3000, "available"))
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    derive(engine)
    assert rows(engine, "SELECT sum(closed_s) AS closed_s FROM analytics.evse_day") == [{"closed_s": 0}]
    assert rows(engine, "SELECT FROM analytics.exclusion") == []


def test_facts_that_make_no_sense_make_no_error(engine: Engine) -> None:
    far = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    periods = [
        read(f"{subject}_downtime_period", number, evse_id=EVSE, charge_point_id=CHARGE_POINT, **values)
        if subject == "evse"
        else read(f"{subject}_downtime_period", number, charge_point_id=CHARGE_POINT, **values)
        for subject in ("evse", "charge_point")
        for number, values in enumerate(
            (
                {"type": kind, "started_at": began, "ended_at": ended, "notice_id": 2**62}
                for kind in ("exempt", "downtime", None)
                for began, ended in ((at(9), at(3)), (None, at(3)), (at(5), at(5)), far, (None, None), far[::-1])
            ),
            1,
        )
    ]
    changes = ChangeSet(facts=[*site(), *periods])
    # A clock that starts in 1970, statuses within one second, and one of another EVSE that is not known
    statuses(changes, (-28_926_720, "faulted"), (0, "online"), (0.001, "faulted"), (0.002, "available"))
    statuses(changes, (0.011, "faulted"), (0.017, "offline"), (0.02, "online"), (10, "available"))
    changes.observe(
        "evse_status_observation",
        {"evse_id": 1, "hardware_status": "faulted", "observed_at": at(0), "source": "notification"},
    )
    # Sessions whose energy together the column of a day cannot hold
    times = {"started_at": at(30), "stopped_at": at(40)}
    most: dict[str, Any] = {"status": "finished", "evse_id": EVSE, "energy_wh": Decimal(99_999_999_998), **times}
    changes.facts += [each for session_id in (1, 2, 3) for each in session_facts(session_id, **most)]
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    derive(engine)
    assert rows(engine, "SELECT count(*) AS quarters FROM analytics.energy_interval") == [{"quarters": 3}]
    first = rows(engine, "SELECT * FROM analytics.evse_day ORDER BY day LIMIT 1")[0]
    assert first["day"].isoformat() == "2024-12-23"  # receivers have been alive since then
    (new_year,) = rows(engine, "SELECT * FROM analytics.evse_day WHERE day = '2025-01-01'")
    assert new_year["energy_wh"] is None
    assert new_year["outage_s"] == new_year["excluded_s"] == 600  # the exempt period from year 1 to 9999
    assert changes_of_deriving_everything(engine) == 0
