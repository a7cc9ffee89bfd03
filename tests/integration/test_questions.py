"""The statements of the documentation answer their questions: on the data of a simulated tenant, and what it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from analytics.derive import derive_round
from storage.database import create_database_engine
from storage.state.changes import ChangeSet
from storage.write import write_changes
from tests.support.analytics import START, fact, gone, session_facts, write
from tests.support.tenant import Tenant, tenant

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "analytics" / "questions.md"

#: How long the simulated tenant has lived: nights and a day, so that a day is over.
HOURS = 60

#: Questions that nothing in two days of the simulated tenant answers: what is rare, or takes a month.
RARE = {
    "What was the uptime, and what proves it?",
    "What did sessions earn that belong to no local day?",
    "Does the price cover the electricity?",
    "Which models and firmware fail most?",
    "Which roaming sessions have no CDR?",
    "What is down now, and since when?",
    "How much of the day is used, and how long do cars stay when they are full?",
    "Where do our outages and AMPECO's downtime disagree?",
    "What looks wrong at present?",
}


def statements() -> list[tuple[str, str]]:
    """Return the question and the text of each statement."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        question = section.partition("\n")[0]
        found += [(question, statement) for statement in re.findall(r"```sql\n(.*?)```", section, re.DOTALL)]
    return found


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    with tenant(database_url, redis_url, tmp_path, size=2, start=datetime.now(UTC) - timedelta(hours=HOURS)) as made:
        yield made


def test_every_statement_answers_its_question(living: Tenant) -> None:
    # Given a tenant that we know for two days by its listings, and for some hours by notifications
    chance, engine = Random(1), living.service.engine
    living.live((HOURS - 3) * 60)
    living.lose(1, chance)
    living.reconcile()
    living.live(3 * 60)
    living.deliver(1, chance, in_order=True)
    living.reconcile()
    # And another one with what is rare
    write_rare_tenant(engine, datetime.now(UTC))
    for name in ("demo", "t"):
        derive(engine, name)
    # Then each statement has an answer of one of them
    with engine.connect() as connection:
        answers = [
            (question, statement, {name: answers_of(connection, statement, name) for name in ("demo", "t")})
            for question, statement in statements()
        ]
    assert len(answers) > 10
    for question, statement, found in answers:
        assert found["demo"] or (question in RARE and found["t"]), (question, statement)


def write_rare_tenant(engine: Engine, now: datetime) -> None:
    """Store an EVSE that is known for 70 days, was down and is down, and a roaming session without a CDR."""
    hours = (now - START).total_seconds() / 3600
    write(
        engine,
        fact("location", 1, 0, name="Mill", timezone="Europe/Sofia", status="enabled"),
        fact("charge_point", 10, 0, name="A", location_id=1, access_type="public"),
        fact("charge_point", 10, 0, "boot", boot_vendor="Vendor", boot_model="Model", firmware_version="1.2"),
        fact("evse", 100, 0, charge_point_id=10, label="1", max_power_w=50_000),
        fact("evse", 101, 0, charge_point_id=10, label="2", roaming_operator_id=7),
        fact("evse_downtime_period", 5, 0, evse_id=100, charge_point_id=10, type="downtime",
             started_at=now - timedelta(days=60), ended_at=now - timedelta(days=60, hours=-1)),
        *session_facts(1, (hours - 60) * 60, evse_id=101, charge_point_id=10, status="finished", energy_wh=9_000,
                       amount_without_tax=5, electricity_cost=2, currency="EUR",
                       started_at=now - timedelta(hours=61), stopped_at=now - timedelta(hours=60)),
        *session_facts(2, (hours - 60) * 60, status="finished", amount_without_tax=12, currency="EUR",
                       started_at=now - timedelta(hours=61), stopped_at=now - timedelta(hours=60)),
    )  # fmt: skip
    statuses = ((70, "available"), (50, "faulted"), (49.5, "available"), (1, "faulted"))
    changes = ChangeSet()
    for days, status in statuses:
        observed: dict[str, Any] = {"evse_id": 100, "hardware_status": status, "error_code": "GroundFailure"}
        changes.observe(
            "evse_status_observation", observed | {"observed_at": now - timedelta(days=days), "source": "notification"}
        )
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
        connection.execute(
            text("UPDATE ingest.uptime SET began_at = :began_at"), {"began_at": now - timedelta(days=90)}
        )


def derive(engine: Engine, name: str) -> None:
    while (done := derive_round(engine, name)) is None or not done.is_done:
        pass


def answers_of(connection: Connection, statement: str, name: str) -> int:
    """Run a statement for a tenant; return the number of rows."""
    return len(connection.execute(text(statement.replace("'example'", f"'{name}'"))).all())


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=1)
    yield made
    made.dispose()


def answers(engine: Engine, question: str, number: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a statement of a question, for the tenant t."""
    derive(engine, "t")
    statement = [statement for asked, statement in statements() if asked == question][number]
    return run(engine, statement)


def run(engine: Engine, statement: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement.replace("'example'", "'t'"))).mappings()]


def test_the_uptime_of_the_last_month_is_that_of_its_outages(engine: Engine) -> None:
    # Given an EVSE that was down for 3 of the days of the last month, and known for all of them
    month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    changes = ChangeSet()
    for day, status in ((-40, "available"), (4, "faulted"), (7, "available")):
        observed = {"evse_id": 100, "hardware_status": status, "source": "notification"}
        changes.observe("evse_status_observation", observed | {"observed_at": month + timedelta(days=day)})
    write(
        engine,
        fact("location", 1, 0, name="Mill", timezone="UTC"),
        fact("charge_point", 10, 0, location_id=1),
        fact("evse", 100, 0, charge_point_id=10),
    )
    with engine.begin() as connection:
        since = {"since": month - timedelta(days=90)}
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:since, now() + interval '1 hour')"), since)
        write_changes(connection, "t", changes)
    # Then the statement shows the share of the others
    (row,) = answers(engine, "What was the uptime, and what proves it?", 1)
    days = ((month + timedelta(days=31)).replace(day=1) - month).days
    assert row["uptime_percent"] == round(Decimal(100) * (days - 3) / days, 3)
    assert row["known_percent"] == 100


def test_locations_of_one_name_are_not_added_up_and_removed_sessions_are_left_out(engine: Engine) -> None:
    began = datetime.now(UTC) - timedelta(days=2)
    minutes = (began - START).total_seconds() / 60
    common: dict[str, Any] = {"status": "finished", "currency": "EUR", "started_at": began, "energy_wh": 5_000}
    common |= {"stopped_at": began + timedelta(hours=1), "amount_without_tax": 5, "electricity_cost": 2}
    for number in (1, 2, 3):
        write(
            engine,
            fact("location", number, 0, name="Mill", timezone="UTC"),
            fact("charge_point", number, 0, location_id=number),
            fact("evse", number, 0, charge_point_id=number, roaming_operator_id=7),
            *session_facts(number, minutes, charge_point_id=number, evse_id=number, **common),
        )
    write(engine, gone("session", 3, minutes + 90))
    assert [row["net"] for row in answers(engine, "What did each location earn?")] == [5, 5]
    assert [row["margin"] for row in answers(engine, "Does the price cover the electricity?")] == [3, 3]
    roaming = answers(engine, "Which roaming sessions have no CDR?")
    assert [row["session_id"] for row in roaming] == [1, 2]


def test_the_turnover_as_printed_is_that_of_the_printed_report(engine: Engine) -> None:
    february, march = datetime(2026, 2, 10, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
    page = (DOCS / "data-model.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```sql\n(.*?)```", page[page.index("sessions of February") :], re.DOTALL)[:2]

    def store(number: int, amount: int, stopped_at: datetime = february, currency: str = "EUR") -> None:
        minutes = (stopped_at - START).total_seconds() / 60
        common = {"status": "finished", "started_at": february - timedelta(hours=1), "currency": currency}
        write(engine, *session_facts(number, minutes, stopped_at=stopped_at, amount_with_tax=amount, **common))

    # Given a report of three sessions
    for number in (1, 2, 3):
        store(number, 10 * number)
    with engine.begin() as connection:
        connection.execute(text("UPDATE charging.session SET first_seen_at = '2026-02-10 02:00+00'"))
    # When it became known later that one stopped in March, one is gone, and that there are further ones
    store(2, 20, march)
    write(engine, gone("session", 3, 0))
    store(4, 7)
    store(5, 1_000, currency="SEK")
    # Then the statements show what was printed, what is known now, and why they differ
    assert run(engine, second) == [
        {"currency": "EUR", "as_printed": 60, "as_known_now": 17},
        {"currency": "SEK", "as_printed": None, "as_known_now": 1000},
    ]
    changed = {(row["session_id"], row["column_name"]) for row in run(engine, first)}
    assert {(2, "stopped_at"), (3, "deleted_at")} <= changed
