"""What moves to another parent: what is derived of the parent that it leaves follows, as well as of the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from storage.database import create_database_engine
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import BEGINNING, Fact, fact_from_notification
from storage.state.marks import MARKED, WITH_PARENTS
from storage.write import write_changes
from tests.support.analytics import (
    at,
    belongs,
    changes_of_deriving_everything,
    derive,
    fact,
    session_facts,
    write,
)
from tests.support.databases import Databases
from tests.support.locks import after_waiting

HOUR = 60


def session(session_id: int, minutes: float, **values: Any) -> list[Fact]:
    columns: dict[str, Any] = {
        "status": "finished",
        "charge_point_id": 1,
        "evse_id": 11,
        "connector_id": 111,
        "authorization_id": session_id + 70,
        "tariff_snapshot_id": 31,
        "started_at": at(session_id * 2 * HOUR),
        "stopped_at": at(session_id * 2 * HOUR + HOUR),
        "energy_wh": Decimal(6000),
        "currency": "EUR",
        "amount_with_tax": Decimal(3),
    }
    return session_facts(session_id, minutes, **columns | values)


def period(period_id: int, minutes: float = 0, **values: Any) -> Fact:
    columns: dict[str, Any] = {
        "charging_state": "charging",
        "started_at": at(2 * HOUR),
        "stopped_at": at(2 * HOUR + 20),
    }
    return fact("charging_period", period_id, minutes, **columns | values)


def evse(evse_id: int, minutes: float, charge_point_id: int) -> Fact:
    power: dict[str, Any] = {"current_type": "ac", "max_power_w": Decimal(11_000 * (evse_id - 10))}
    return fact("evse", evse_id, minutes, charge_point_id=charge_point_id, label=f"E{evse_id}", **power)


def charge_point(charge_point_id: int, minutes: float, **values: Any) -> Fact:
    columns: dict[str, Any] = {"name": f"C{charge_point_id}", "location_id": charge_point_id, "model_id": 41}
    return fact("charge_point", charge_point_id, minutes, **columns | values)


def asked(authorization_id: int, minutes: float, **values: Any) -> Fact:
    columns: dict[str, Any] = {
        "status": "accepted",
        "charge_point_id": 1,
        "evse_id": 11,
        "session_ids": [authorization_id - 70],
        "created_at": at((authorization_id - 70) * 2 * HOUR - 1),
    }
    return fact("authorization", authorization_id, minutes, **columns | values)


def exempt(kind: str, minutes: float, **values: Any) -> Fact:
    times: dict[str, Any] = {"started_at": at(20 * HOUR), "ended_at": at(21 * HOUR), "type": "exempt"}
    return fact(kind, 51, minutes, **{"charge_point_id": 1, "notice_id": 61} | times | values)


def fault(evse_id: int) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"evse_id": evse_id, "source": "notification", "error_code": "NoError"}
    words = ((0, "available"), (20 * HOUR, "faulted"), (22 * HOUR, "available"))
    return [common | {"hardware_status": word, "observed_at": at(minutes)} for minutes, word in words]


def world() -> list[Fact]:
    """Return two of each parent; what may move is with the first one of each."""
    places = [
        fact("location", number, 0, name=f"L{number}", timezone=zone, latitude=Decimal(5), longitude=Decimal(9))
        for number, zone in ((1, "Europe/Berlin"), (2, "Europe/London"))
    ]
    return [
        *places,
        *(fact("charge_point_vendor", number, 0, name=f"V{number}") for number in (1, 2)),
        *(fact("charge_point_model", 40 + number, 0, name=f"M{number}", vendor_id=number) for number in (1, 2)),
        *(charge_point(number, 0) for number in (1, 2, 3)),
        *(evse(11, 0, 1), evse(12, 0, 2), evse(13, 0, 1)),
        *(fact("connector", number, 0, type=kind) for number, kind in ((111, "type2"), (112, "ccs2"))),
        *(belongs("connector", 111, 11), belongs("connector", 112, 12)),
        *(fact("tariff", 3, 0, name="Day"), fact("tariff", 4, 0, name="Night")),
        *(fact("tariff_snapshot", number, 0, tariff_id=number - 28, name=f"T{number}") for number in (31, 32)),
        *(fact("downtime_period_notice", number, 0, notice=f"N{number}") for number in (61, 62)),
        *session(1, 4 * HOUR),
        *session(2, 6 * HOUR),
        *(asked(71, 4 * HOUR), asked(72, 6 * HOUR)),
        *(period(81), belongs("charging_period", 81, 1), period(82), belongs("charging_period", 82, 2)),
        *(exempt("evse_downtime_period", 0, evse_id=11), exempt("charge_point_downtime_period", 0)),
    ]


class Move(NamedTuple):
    """What moves.

    Attributes:
        column: its kind, and the column with the id of its parent.
        facts: what is written.
        left: a query of what is derived of the parent that it leaves.
    """

    column: str
    facts: Callable[[], list[Fact]]
    left: str


LATER = 24 * HOUR

_DAYS = "SELECT evse_id, day, sessions, attempts, energy_wh FROM analytics.evse_day WHERE evse_id = 11"
_EXCLUDED = "SELECT evse_id, source, source_id FROM analytics.exclusion WHERE evse_id IN (11, 13)"
_ATTEMPT = "SELECT source, source_id, session_id FROM analytics.charge_attempt WHERE session_id = 1 OR source_id = 71"
_STATES = "SELECT charge_point_id, evse_count, max_power_w FROM analytics.charge_point WHERE charge_point_id = 1"

#: Every column with the id of a parent of which something is derived.
MOVES = (
    Move(
        "charging_period.session_id",
        lambda: [belongs("charging_period", 81, 2, LATER)],
        "SELECT charging_s FROM analytics.session WHERE session_id = 1",
    ),
    Move(
        "connector.evse_id",
        lambda: [belongs("connector", 111, 12, LATER)],
        "SELECT connector_types FROM analytics.evse WHERE evse_id = 11",
    ),
    Move("evse.charge_point_id", lambda: [evse(13, LATER, 2)], _STATES),
    Move(
        "charge_point.location_id",
        lambda: [charge_point(1, LATER, location_id=2)],
        "SELECT evse_id, day FROM analytics.evse_day WHERE location_id = 1",
    ),
    Move(
        "charge_point.model_id",
        lambda: [charge_point(1, LATER, model_id=42)],
        "SELECT charge_point_id FROM analytics.charge_point WHERE model = 'M1'",
    ),
    Move(
        "charge_point_model.vendor_id",
        lambda: [fact("charge_point_model", 41, LATER, name="M1", vendor_id=2)],
        "SELECT charge_point_id FROM analytics.charge_point WHERE vendor = 'V1'",
    ),
    Move("session.evse_id", lambda: session(1, LATER, evse_id=12), _DAYS),
    Move(
        "session.charge_point_id",
        lambda: session(1, LATER, charge_point_id=2),
        "SELECT session_id FROM analytics.session WHERE charge_point_id = 1",
    ),
    Move(
        "session.connector_id",
        lambda: session(1, LATER, connector_id=112),
        "SELECT session_id FROM analytics.session WHERE connector_type = 'type2'",
    ),
    Move(
        "session.authorization_id",
        lambda: [*session(1, LATER, authorization_id=72), asked(71, LATER, session_ids=[])],
        _ATTEMPT,
    ),
    Move(
        "session.tariff_snapshot_id",
        lambda: session(1, LATER, tariff_snapshot_id=32),
        "SELECT session_id FROM analytics.session WHERE tariff_id = 3",
    ),
    Move(
        "tariff_snapshot.tariff_id",
        lambda: [fact("tariff_snapshot", 31, LATER, tariff_id=4, name="T31")],
        "SELECT session_id FROM analytics.session WHERE tariff_id = 3",
    ),
    Move("authorization.evse_id", lambda: [asked(71, LATER, evse_id=12)], _DAYS),
    Move(
        "authorization.charge_point_id",
        lambda: [asked(71, LATER, charge_point_id=2)],
        "SELECT source_id FROM analytics.charge_attempt WHERE charge_point_id = 1",
    ),
    Move("evse_downtime_period.evse_id", lambda: [exempt("evse_downtime_period", LATER, evse_id=12)], _EXCLUDED),
    Move(
        "evse_downtime_period.charge_point_id",
        lambda: [exempt("evse_downtime_period", LATER, evse_id=11, charge_point_id=2)],
        "SELECT downtime_period_id FROM analytics.downtime_period WHERE subject = 'evse' AND charge_point_id = 1",
    ),
    Move(
        "evse_downtime_period.location_id",
        lambda: [exempt("evse_downtime_period", LATER, evse_id=11, location_id=2)],
        "SELECT downtime_period_id FROM analytics.downtime_period WHERE subject = 'evse' AND location_id IS NULL",
    ),
    Move(
        "evse_downtime_period.notice_id",
        lambda: [exempt("evse_downtime_period", LATER, evse_id=11, notice_id=62)],
        "SELECT evse_id FROM analytics.exclusion WHERE source = 'evse_exempt_period' AND reason = 'N61'",
    ),
    Move(
        "charge_point_downtime_period.charge_point_id",
        lambda: [exempt("charge_point_downtime_period", LATER, charge_point_id=2)],
        _EXCLUDED,
    ),
    Move(
        "charge_point_downtime_period.location_id",
        lambda: [exempt("charge_point_downtime_period", LATER, location_id=2)],
        "SELECT downtime_period_id FROM analytics.downtime_period"
        " WHERE subject = 'charge_point' AND location_id IS NULL",
    ),
    Move(
        "charge_point_downtime_period.notice_id",
        lambda: [exempt("charge_point_downtime_period", LATER, notice_id=62)],
        "SELECT evse_id FROM analytics.exclusion WHERE source = 'charge_point_exempt_period' AND reason = 'N61'",
    ),
)


def named(period_id: int) -> list[Fact]:
    """Return what notifications of two sessions say of one period; of two that have no time, the last one counts."""
    facts = [
        fact_from_notification("charging_period", period_id, "presence", BEGINNING, {"session_id": session_id})
        for session_id in (1, 2)
    ]
    return sorted(facts, key=lambda each: each.order)


#: What moves by other facts than reads, or without a column of a parent's id.
FURTHER_MOVES = (
    Move(
        "charging_period.session_id",
        lambda: [period(91, 1, stopped_at=at(3 * HOUR)), *named(91)],
        "SELECT session_id, charging_s FROM analytics.session",
    ),
    Move(
        "authorization.session_ids",
        lambda: [*session(1, LATER, authorization_id=None), asked(71, LATER, session_ids=[2])],
        _ATTEMPT,
    ),
    Move("session.evse_id of its charge point", lambda: session(1, LATER, evse_id=13), _DAYS),
    Move(
        "session.started_at",
        lambda: session(1, LATER, started_at=at(30 * HOUR), stopped_at=at(31 * HOUR)),
        _DAYS,
    ),
)

#: Other names of kinds from which rows are derived, in columns with ids.
PARENTS = {
    "model_id": "charge_point_model",
    "vendor_id": "charge_point_vendor",
    "notice_id": "downtime_period_notice",
    **{f"{kind}_id": kind for kind in MARKED},
}

#: Columns with ids of another thing than their name says: the vendor of an error code is a text.
NO_PARENTS = {"charge_point.vendor_id", "evse.vendor_id"}


@pytest.fixture(scope="module")
def template(databases: Databases) -> Iterator[str]:
    """The URL of a database with all that may move, derived; others are copied from it."""
    with databases.database() as url:
        engine = create_database_engine(url, application_name="tests", pool_size=1)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO ingest.uptime VALUES (:at, now() + interval '1 hour')"), {"at": at(0)})
        write(
            engine,
            *world(),
            observations={"evse_status_observation": [row for number in (11, 12, 13) for row in fault(number)]},
        )
        derive(engine)
        engine.dispose()  # Postgres copies no database to which something is connected
        yield url


@pytest.fixture
def stored(databases: Databases, template: str) -> Iterator[Engine]:
    with databases.database(template=make_url(template).database) as url:
        engine = create_database_engine(url, application_name="tests", pool_size=4)
        yield engine
        engine.dispose()


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return sorted(map(tuple, connection.execute(text(query)).all()), key=str)


def test_every_column_with_a_parent_moves() -> None:
    columns = {
        f"{kind}.{column}"
        for kind in MARKED | WITH_PARENTS
        for group in MIRRORS[kind].groups
        for column in group.columns
        if column in PARENTS
    }
    assert {move.column for move in MOVES} == columns - NO_PARENTS


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.column)
def test_both_parents_follow_a_move(stored: Engine, move: Move) -> None:
    before = rows(stored, move.left)
    write(stored, *move.facts())
    derive(stored)
    assert rows(stored, move.left) != before
    assert changes_of_deriving_everything(stored) == 0


@pytest.mark.parametrize("move", FURTHER_MOVES, ids=lambda move: move.column)
def test_both_parents_follow_what_moves_otherwise(stored: Engine, move: Move) -> None:
    before = rows(stored, move.left)
    for each in move.facts():
        write(stored, each)
        derive(stored)
    assert rows(stored, move.left) != before
    assert changes_of_deriving_everything(stored) == 0


def test_a_parent_for_a_moment_follows_as_well(stored: Engine) -> None:
    """A move that waits for another one leaves the parent that the other one has given."""

    def move(session_id: int, minutes: float) -> Callable[[Connection], Any]:
        change = ChangeSet(facts=[belongs("charging_period", 81, session_id, minutes)])
        return lambda connection: write_changes(connection, "t", change)

    write(stored, *session(3, 9 * HOUR))
    derive(stored)
    after_waiting(stored, move(2, LATER), move(3, LATER + 1))
    with stored.connect() as connection:
        marked = connection.execute(text("SELECT entity_id FROM analytics.dirty ORDER BY dirty_id")).scalars()
        assert list(marked) == [1, 2, 2, 3]
    derive(stored)
    assert changes_of_deriving_everything(stored) == 0
