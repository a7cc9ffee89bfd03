"""Findings: each rule finds what breaks it and nothing else; findings are resolved, and found again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from analytics.findings import due
from analytics.findings.evaluate import evaluate
from analytics.findings.rules import RULES, SEVERITIES, describe
from analytics.writing import Work
from storage.documents import to_json
from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import derive

DOCS = Path(__file__).parents[2] / "docs"

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
EVSE, OTHER_EVSE, CHARGE_POINT, LOCATION = 902, 903, 418, 12

Row = tuple[str, dict[str, Any]]


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


NUMBERED = {"tenant": "t", "change_number": 0, "changed_at": NOW}

#: Values of the columns that must not be null.
DEFAULTS: dict[str, dict[str, Any]] = {
    "analytics.session": NUMBERED
    | {"outcome": "charged", **dict.fromkeys(("is_final", "is_roaming", "provisional", "conflicting"), False)},
    "analytics.evse_state_interval": NUMBERED | {"coverage": "observed", "evidence": {}},
    "analytics.charge_point": NUMBERED | {"evse_count": 1},
    "analytics.outage": NUMBERED | {"cause": "offline"},
    "charging.location": {"tenant": "t"},
    "charging.session": {"tenant": "t"},
    "charging.cdr": {"tenant": "t"},
    "charging.meter_value": {"tenant": "t"},
}


def session(session_id: int, began: float, ended: float | None, **values: Any) -> Row:
    """A session that began and ended so many minutes ago."""
    times = {"started_at": ago(began), "stopped_at": None if ended is None else ago(ended)}
    outcome = {"outcome": "running"} if ended is None else {}
    return "analytics.session", {"session_id": session_id, "evse_id": EVSE, **times, **outcome, **values}


def stretch(began: float, ended: float | None, state: str, **values: Any) -> Row:
    """The first stretch of an EVSE."""
    times = {"began_at": ago(began), "ended_at": "infinity" if ended is None else ago(ended)}
    return "analytics.evse_state_interval", {"evse_id": EVSE, **times, "state": state, **values}


def following(began: float, ended: float | None, state: str, **values: Any) -> Row:
    return stretch(began, ended, state, previous_ended_at=ago(began), **values)


def outage(began: float, ended: float, **values: Any) -> Row:
    return "analytics.outage", {"evse_id": EVSE, "began_at": ago(began), "ended_at": ago(ended), **values}


def period(began: float, ended: float | None, kind: str = "downtime", **values: Any) -> Row:
    row = {"subject": "evse", "downtime_period_id": 1, "evse_id": EVSE, "charge_point_id": CHARGE_POINT, "type": kind}
    times = {"started_at": ago(began), "ended_at": None if ended is None else ago(ended)}
    return "analytics.downtime_period", {**row, **times, **values}


def register(ordinal: int, minutes: float, value: float, unit: str = "Wh") -> Row:
    sample = {"measurand": "Energy Active Import Register", "value": value, "unit": unit}
    return "charging.meter_value", {"session_id": 1, "measured_at": ago(minutes), "ordinal": ordinal, **sample}


SITE: list[Row] = [
    ("analytics.charge_point", {"charge_point_id": CHARGE_POINT, "location_id": LOCATION}),
    ("analytics.evse", {"evse_id": EVSE, "charge_point_id": CHARGE_POINT, "location_id": LOCATION}),
]
TRACKED: list[Row] = [SITE[0], (SITE[1][0], SITE[1][1] | {"uptime_tracked_since": ago(500)})]


def place(**values: Any) -> list[Row]:
    shown = {"timezone": "Europe/Sofia", "latitude": 42.7, "longitude": 23.3}
    shown |= values
    known = shown | {"timezone": None if shown["timezone"] == "Mars/Base" else shown["timezone"]}
    return [
        *SITE,
        ("analytics.location", {"location_id": LOCATION, **known}),
        ("charging.location", {"location_id": LOCATION, "timezone": shown["timezone"]}),
    ]


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    for table, values in rows:
        row = DEFAULTS.get(table, NUMBERED) | values
        connection.execute(
            text(
                f"INSERT INTO {table} ({', '.join(row)})"
                f" SELECT {', '.join(row)} FROM json_populate_record(NULL::{table}, CAST(:row AS json))"
            ),
            {"row": to_json(row)},
        )


def clear(connection: Connection, rows: Sequence[Row]) -> None:
    for table in {table for table, _ in rows}:
        connection.execute(text(f"DELETE FROM {table}"))


class Derivation:
    """Stages that write rows, and the findings that follow from them."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.last, self.now = connection, 0, NOW

    def run(
        self,
        change: Callable[[Connection], object] = lambda _: None,
        *,
        marked: Mapping[str, Sequence[int]] = {},
        changed: Mapping[str, Mapping[int, datetime | None]] = {},
    ) -> int:
        """Let a stage change rows; derive what follows, and return how many findings changed."""
        work = self.work()
        work.marked = {kind: dict.fromkeys(ids) for kind, ids in marked.items()}
        before = due.look_before(work)
        change(self.connection)
        work.changed = {table: dict(scope) for table, scope in changed.items()}
        due.note_changes(work, before)
        return self._evaluate(work)

    def run_by_time(self) -> int:
        work = self.work()
        due.note_by_time(work)
        return self._evaluate(work)

    def work(self) -> Work:
        """Return what a transaction of a round begins with."""
        return Work(self.connection, "t", self.now, self.last)

    def _evaluate(self, work: Work) -> int:
        while self.connection.execute(text("SELECT EXISTS (SELECT FROM analytics.finding_due)")).scalar_one():
            evaluate(work, None)
        written, self.last = work.last - self.last, work.last
        return written

    def found(self, rule: str | None = None) -> list[dict[str, Any]]:
        return found(self.connection, rule)

    def open(self) -> list[tuple[Any, ...]]:
        return open_findings(self.connection)


def found(connection: Connection, rule: str | None = None) -> list[dict[str, Any]]:
    """The findings, by rule."""
    statement = text(
        "SELECT rule, kind, entity_id, nullif(began_at, '-infinity') AS began_at,"
        " nullif(ended_at, 'infinity') AS ended_at, severity, evidence, first_seen_at, resolved_at, change_number"
        " FROM analytics.finding WHERE tenant = 't' AND rule = coalesce(:rule, rule) ORDER BY rule, entity_id, began_at"
    )
    return [dict(row) for row in connection.execute(statement, {"rule": rule}).mappings()]


def open_findings(connection: Connection) -> list[tuple[Any, ...]]:
    """The open findings, without what depends on when they were found."""
    columns = ("rule", "kind", "entity_id", "began_at", "ended_at", "severity")
    return [
        (*(row[name] for name in columns), to_json(row["evidence"]))
        for row in found(connection)
        if row["resolved_at"] is None
    ]


@pytest.fixture
def derivation(connection: Connection) -> Derivation:
    return Derivation(connection)


@dataclass(frozen=True)
class Case:
    """Rows that break a rule, and rows close to them that do not.

    Attributes:
        entity_id: what breaks it.
        broken: the rows that do.
        sound: rows that do not, each list for another reason.
        began_at, ended_at: the time of the finding; None: none.
        marked, changed: what leads to the rows.
        evidence: values that the evidence must have.
    """

    entity_id: int
    broken: list[Row]
    sound: list[list[Row]]
    began_at: datetime | None = None
    ended_at: datetime | None = None
    marked: dict[str, list[int]] = field(default_factory=lambda: {"session": [1, 2]})
    changed: dict[str, dict[int, datetime | None]] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)


STATES: dict[str, dict[int, datetime | None]] = {"evse_state_interval": {EVSE: ago(3000)}}

CASES = {
    "session_open": Case(
        1,
        [session(1, 24 * 60 + 1, None)],
        [
            [session(1, 24 * 60 - 1, None)],
            [session(1, 3000, 10)],
            [session(1, 3000, None, outcome="failed")],
            [session(1, 3000, None, removed_at=NOW)],
        ],
        began_at=ago(1),
    ),
    "charging_without_session": Case(
        EVSE,
        [stretch(60, 44, "charging"), session(1, 100, 61), session(2, 44, 20), session(3, 60, 40, evse_id=OTHER_EVSE)],
        [
            [stretch(60, 46, "charging")],
            [stretch(60, 44, "charging"), session(1, 100, 59)],
            [stretch(60, 44, "charging"), session(1, 100_000, None)],
            [stretch(60, 44, "charging"), session(1, 100_000, 10)],
            [stretch(60, 44, "available")],
            [stretch(14, None, "charging")],
        ],
        began_at=ago(60),
        ended_at=ago(44),
        changed=STATES,
    ),
    "session_while_available": Case(
        1,
        [stretch(200, 100, "charging"), following(100, None, "available"), session(1, 60, 40)],
        [
            [stretch(100, None, "available"), session(1, 60, 46)],
            [stretch(100, 45, "available"), following(45, None, "charging"), session(1, 60, 40)],
            [stretch(100, 55, "charging"), following(55, None, "available"), session(1, 60, 20)],
            [stretch(50, None, "available"), session(1, 60, 20)],
            [stretch(100, None, "available"), session(1, 60, None, outcome="pending")],
            [stretch(100, None, "unknown"), session(1, 60, 20)],
        ],
        began_at=ago(60),
        ended_at=ago(40),
        evidence={"evse_id": EVSE},
    ),
    "sessions_at_once": Case(
        EVSE,
        [session(1, 100, 60), session(2, 70, 20)],
        [
            [session(1, 100, 60), session(2, 61, 20)],
            [session(1, 100, 60), session(2, 70, 20, evse_id=OTHER_EVSE)],
            [session(1, 100, 60), session(2, 70, 20, removed_at=NOW)],
            [session(1, 100, 60), session(2, 70, None, outcome="failed")],
        ],
        began_at=ago(70),
        ended_at=ago(60),
        evidence={"session_id": 2, "other_session_id": 1, "others": 1},
    ),
    "register_falls": Case(
        1,
        [session(1, 60, 10), register(0, 50, 5000), register(0, 40, 4.9, "kWh"), register(0, 30, 6000)],
        [
            [session(1, 60, 10), register(0, 50, 5000), register(0, 40, 5, "kWh"), register(0, 30, 6000)],
            [session(1, 60, 10), register(0, 50, 5000), register(1, 50, 10), register(0, 40, 5001)],
            [session(1, 60, 10), register(0, 50, 5000), register(0, 40, 1, "kVArh")],
        ],
        began_at=ago(60),
        ended_at=ago(10),
        evidence={"falls": 1, "largest_wh": 100},
    ),
    "energy_above_power": Case(
        1,
        [session(1, 60, 0, energy_wh=12_101, max_power_w=11_000, connected_s=3600)],
        [
            [session(1, 60, 0, energy_wh=12_100, max_power_w=11_000, connected_s=3600)],
            [session(1, 60, 0, energy_wh=12_101, max_power_w=None, connected_s=3600)],
            [session(1, 60, 0, energy_wh=12_101, max_power_w=0, connected_s=3600)],
            [session(1, 60, None, energy_wh=12_101, max_power_w=11_000)],
        ],
        began_at=ago(60),
        ended_at=ago(0),
    ),
    "cdr_differs": Case(
        1,
        [session(1, 60, 10, energy_wh=20_000, cdr_ids=[7]), ("charging.cdr", {"cdr_id": 7, "energy_wh": 20_201})],
        [
            [session(1, 60, 10, energy_wh=20_000, cdr_ids=[7]), ("charging.cdr", {"cdr_id": 7, "energy_wh": 20_200})],
            [session(1, 60, 10, energy_wh=200, cdr_ids=[7]), ("charging.cdr", {"cdr_id": 7, "energy_wh": 300})],
            [session(1, 60, 10, energy_wh=20_000, cdr_ids=[7, 8]), ("charging.cdr", {"cdr_id": 7, "energy_wh": 1})],
            [
                session(1, 60, 10, energy_wh=20_000, cdr_ids=[7, 8, 9]),
                ("charging.cdr", {"cdr_id": 7, "energy_wh": 9_000}),
                ("charging.cdr", {"cdr_id": 8, "energy_wh": -9_000, "is_credit": True}),
                ("charging.cdr", {"cdr_id": 9, "energy_wh": 20_000}),
            ],
            [session(1, 60, 10, energy_wh=20_000, cdr_ids={"a": "b"}), ("charging.cdr", {"cdr_id": 7})],
            [session(1, 60, 10, energy_wh=20_000, cdr_ids=["x", None]), ("charging.cdr", {"cdr_id": 7})],
        ],
        began_at=ago(60),
        ended_at=ago(10),
        marked={"cdr": [7], "session": [1]},
        evidence={"energy_wh": 20_000, "cdr_energy_wh": 20_201, "cdrs": 1},
    ),
    "amount_without_currency": Case(
        1,
        [session(1, 60, 10, amount_with_tax=12.5, currency=" ")],
        [
            [session(1, 60, 10, amount_with_tax=12.5, currency="EUR")],
            [session(1, 60, 10, amount_with_tax=0, currency=None)],
            [session(1, 60, 10)],
        ],
        began_at=ago(60),
        ended_at=ago(10),
    ),
    "clock_ahead": Case(
        EVSE,
        [stretch(60, None, "available", evidence={"evse": {"observed_at": ago(60 - 24 * 60 - 1), "source": "read"}})],
        [
            [stretch(60, None, "available", evidence={"evse": {"observed_at": ago(60 - 24 * 60), "source": "read"}})],
            [stretch(60, None, "available", evidence={})],
            [stretch(60, 30, "available", evidence={"evse": {"observed_at": ago(-9000)}})],
        ],
        changed=STATES,
        evidence={"source": "evse"},
    ),
    "timezone_missing": Case(
        LOCATION,
        place(timezone="Mars/Base"),
        [place(), place(timezone=None)[2:], place(timezone=None, deleted_at=NOW)],
        marked={"location": [LOCATION]},
        evidence={"timezone": "Mars/Base"},
    ),
    "outage_differs": Case(
        EVSE,
        [*SITE, outage(100, 40), period(100, 46)],
        [
            [*SITE, outage(100, 40), period(105, 35)],
            # A period of the EVSE that names no charge point, or a former one
            [*TRACKED, outage(100, 40), period(105, 35, charge_point_id=None)],
            [*TRACKED, outage(100, 40), period(105, 35, charge_point_id=9)],
            [*SITE, outage(100, 40)],
            [*SITE, outage(100, 40), period(30, 20)],
            [*SITE, outage(100, 40), period(101, None)],
            [*SITE, outage(100, 40), period(300, 10, "exempt")],
            [*SITE, outage(100, 40), period(100, 46, deleted_at=NOW)],
            [*SITE, outage(100, 95), period(9000, 8990)],
            [*SITE, ("analytics.outage", outage(100, 0)[1] | {"ended_at": "infinity"}), period(300, 90)],
        ],
        began_at=ago(100),
        ended_at=ago(40),
        marked={},
        changed={"outage": {EVSE: ago(100)}},
        evidence={"downtime_period_id": 1, "periods": 1},
    ),
    "provisional": Case(
        1,
        [session(1, 60, None, provisional=True), ("charging.session", {"session_id": 1, "updated_at": ago(11)})],
        [
            [session(1, 60, None, provisional=True), ("charging.session", {"session_id": 1, "updated_at": ago(9)})],
            [session(1, 60, None), ("charging.session", {"session_id": 1, "updated_at": ago(11)})],
        ],
        began_at=ago(60),
    ),
    "no_position": Case(
        LOCATION,
        place(longitude=None),
        [place(), place(longitude=None)[2:], place(longitude=0)],
        marked={"location": [LOCATION]},
    ),
}

#: Further rows that break a rule.
ALSO = {
    "charging_without_session": [[stretch(16, None, "charging")]],
    "session_while_available": [
        [stretch(100, 50, "available"), following(50, None, "available"), session(1, 60, None)],
    ],
    "sessions_at_once": [
        [session(1, 100, None), session(2, 70, None)],
        [session(1, 100_000, None), session(2, 70, 20)],
        [session(1, 100_000, 10), session(2, 70, 20)],
        [session(2, 70, 20), session(1, 70, 20)],
    ],
    "timezone_missing": [place(timezone=None)],
    "no_position": [place(latitude=0, longitude=0), place(latitude=None)],
    "amount_without_currency": [[session(1, 60, 10, amount_without_tax=-1)]],
    "outage_differs": [
        [*SITE, outage(100, 40), period(9000, 8990)],
        [*SITE, outage(100, 40), period(106, 40)],
        [*SITE, outage(100, 40), period(94, 40, subject="charge_point", evse_id=None)],
        [*TRACKED, outage(100, 40)],
        [*SITE, stretch(500, None, "available"), period(100, 90)],
    ],
}


def test_each_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)
    assert {rule.severity for rule in RULES.values()} == set(SEVERITIES)


def test_the_rules_are_described_as_they_are() -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    assert [describe() in page for page in pages].count(True) == 1


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_finds_what_breaks_it(derivation: Derivation, rule: str) -> None:
    case = CASES[rule]
    derivation.run(lambda connection: insert(connection, case.broken), marked=case.marked, changed=case.changed)
    (found,) = derivation.found(rule)
    assert (found["kind"], found["entity_id"]) == (RULES[rule].kind, case.entity_id)
    assert (found["began_at"], found["ended_at"]) == (case.began_at, case.ended_at)
    assert found["severity"] == RULES[rule].severity
    assert (found["first_seen_at"], found["resolved_at"]) == (NOW, None)
    assert found["evidence"] | case.evidence == found["evidence"]


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, number) for rule, case in CASES.items() for number in range(len(case.sound))]
)
def test_a_rule_is_silent_about_what_keeps_it(derivation: Derivation, rule: str, number: int) -> None:
    case = CASES[rule]
    derivation.run(lambda connection: insert(connection, case.sound[number]), marked=case.marked, changed=case.changed)
    derivation.run_by_time()
    assert derivation.found(rule) == []


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, number) for rule, each in ALSO.items() for number in range(len(each))]
)
def test_a_rule_finds_what_breaks_it_in_another_way(derivation: Derivation, rule: str, number: int) -> None:
    case, rows = CASES[rule], ALSO[rule][number]
    derivation.run(lambda connection: insert(connection, rows), marked=case.marked, changed=case.changed or STATES)
    assert [found["entity_id"] for found in derivation.found(rule)] == [case.entity_id]


@pytest.mark.parametrize("rule", RULES)
def test_a_finding_is_resolved_and_found_again(derivation: Derivation, rule: str) -> None:
    case = CASES[rule]
    derivation.run(lambda connection: insert(connection, case.broken), marked=case.marked, changed=case.changed)

    def replace(rows: list[Row]) -> Callable[[Connection], None]:
        def change(connection: Connection) -> None:
            clear(connection, [*case.broken, *case.sound[0]])
            insert(connection, rows)

        return change

    # When it is sound, it is resolved: its row stays, and has an end
    derivation.now = NOW + timedelta(seconds=10)
    derivation.run(replace(case.sound[0]), marked=case.marked, changed=case.changed)
    derivation.run_by_time()  # what has not ended is evaluated once a minute
    (resolved,) = derivation.found(rule)
    assert resolved["resolved_at"] == derivation.now
    assert resolved["ended_at"] == (case.ended_at or derivation.now)
    assert resolved["change_number"] == derivation.last or derivation.found()
    # When it is broken again, the row is open again, and knows when it was found first
    derivation.now = NOW + timedelta(seconds=20)
    derivation.run(replace(case.broken), marked=case.marked, changed=case.changed)
    derivation.run_by_time()
    (found,) = derivation.found(rule)
    assert (found["first_seen_at"], found["resolved_at"], found["ended_at"]) == (NOW, None, case.ended_at)
    numbers = [each["change_number"] for each in derivation.found()]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == derivation.last


@pytest.mark.parametrize("rule", RULES)
def test_what_is_still_so_is_left_alone(derivation: Derivation, rule: str) -> None:
    case = CASES[rule]
    derivation.run(lambda connection: insert(connection, case.broken), marked=case.marked, changed=case.changed)
    derivation.now = NOW + timedelta(seconds=10)
    assert derivation.run(marked=case.marked, changed=case.changed) == 0
    assert derivation.run_by_time() == 0


def test_evidence_that_changes_gets_a_number(derivation: Derivation) -> None:
    case = CASES["energy_above_power"]
    derivation.run(lambda connection: insert(connection, case.broken), marked=case.marked)
    more = text("UPDATE analytics.session SET energy_wh = 13000")
    assert derivation.run(lambda connection: connection.execute(more), marked=case.marked) == 1
    (found,) = derivation.found("energy_above_power")
    assert found["evidence"]["energy_wh"] == 13000


#: What becomes wrong by time alone.
BY_TIME = {
    "session_open": [session(1, 0, None)],
    "charging_without_session": [stretch(0, None, "charging")],
    "session_while_available": [stretch(100, None, "available"), session(1, 0, None)],
    "sessions_at_once": [session(1, 10, None), session(2, 0, None)],
    "provisional": [
        session(1, 0, None, provisional=True),
        ("charging.session", {"session_id": 1, "updated_at": NOW}),
    ],
}


@pytest.mark.parametrize("rule", BY_TIME)
def test_time_alone_makes_a_finding(derivation: Derivation, rule: str) -> None:
    rows = BY_TIME[rule]
    derivation.run(lambda connection: insert(connection, rows), marked={"session": [1, 2]}, changed=STATES)
    derivation.run_by_time()
    assert derivation.found(rule) == []
    derivation.now = NOW + timedelta(hours=25)
    derivation.run_by_time()
    assert len(derivation.found(rule)) == 1


def test_a_round_looks_at_most_once_a_minute_for_what_time_makes(engine: Engine) -> None:
    began_at = datetime.now(UTC) - timedelta(days=2)

    def open_sessions(*change: Any) -> list[int]:
        with engine.begin() as connection:
            for each in change:
                each(connection)
        derive(engine)
        with engine.connect() as connection:
            return [row["entity_id"] for row in found(connection, "session_open")]

    def begin(session_id: int) -> Callable[[Connection], None]:
        row = session(session_id, 0, None)[1] | {"started_at": began_at}
        return lambda connection: insert(connection, [("analytics.session", row)])

    assert open_sessions(begin(1)) == [1]
    assert open_sessions(begin(2)) == [1]
    a_minute_later = text("UPDATE analytics.feed SET findings_at = findings_at - interval '1 minute'")
    assert open_sessions(lambda connection: connection.execute(a_minute_later)) == [1, 2]
    with engine.connect() as connection:
        last = connection.execute(text("SELECT last_change_number FROM analytics.feed")).scalar_one()
        assert sorted(row["change_number"] for row in found(connection)) == list(range(1, last + 1))


def test_a_running_session_that_is_removed_is_resolved_at_once_and_left_alone(derivation: Derivation) -> None:
    rows = [session(1, 3000, None, provisional=True), ("charging.session", {"session_id": 1, "updated_at": NOW})]
    derivation.run(lambda connection: insert(connection, rows), marked={"session": [1]})
    assert [row["entity_id"] for row in derivation.found("session_open")] == [1]
    remove = text("UPDATE analytics.session SET removed_at = now()")
    derivation.run(lambda connection: connection.execute(remove), marked={"session": [1]})
    assert [row["resolved_at"] is None for row in derivation.found("session_open")] == [False]
    # No minute looks at it again
    due.note_by_time(derivation.work())
    noted = derivation.connection.execute(text("SELECT count(*) FROM analytics.finding_due")).scalar_one()
    assert noted == 0


def test_a_session_that_moves_to_another_evse_leaves_a_finding_where_it_was(derivation: Derivation) -> None:
    rows = [stretch(60, 44, "charging"), session(1, 61, 40)]
    derivation.run(lambda connection: insert(connection, rows), marked={"session": [1]}, changed=STATES)
    assert derivation.found("charging_without_session") == []
    move = text("UPDATE analytics.session SET evse_id = 903")
    derivation.run(lambda connection: connection.execute(move), marked={"session": [1]})
    assert [row["entity_id"] for row in derivation.found("charging_without_session")] == [EVSE]


def test_a_session_that_moves_in_time_uncovers_what_it_covered(derivation: Derivation) -> None:
    rows = [stretch(60, 44, "charging"), session(1, 61, 40)]
    derivation.run(lambda connection: insert(connection, rows), marked={"session": [1]}, changed=STATES)
    move = text("UPDATE analytics.session SET started_at = started_at + interval '1 hour', stopped_at = NULL")
    derivation.run(lambda connection: connection.execute(move), marked={"session": [1]})
    assert [row["entity_id"] for row in derivation.found("charging_without_session")] == [EVSE]


def test_a_location_whose_last_charge_point_moves_away_is_resolved(derivation: Derivation) -> None:
    rows = place(timezone=None)
    derivation.run(lambda connection: insert(connection, rows), marked={"location": [LOCATION]})
    move = text("UPDATE analytics.charge_point SET location_id = 13")
    derivation.run(lambda connection: connection.execute(move), marked={"charge_point": [CHARGE_POINT]})
    assert derivation.open() == []


def test_a_downtime_period_that_is_corrected_resolves_the_difference(derivation: Derivation) -> None:
    rows = [*SITE, outage(100, 40), period(200, 150)]
    derivation.run(lambda connection: insert(connection, rows), changed={"outage": {EVSE: ago(100)}})
    assert [row[3] for row in derivation.open()] == [ago(100)]
    correct = text("UPDATE analytics.downtime_period SET started_at = :began, ended_at = :ended")
    times = {"began": ago(101), "ended": ago(41)}
    derivation.run(lambda connection: connection.execute(correct, times), marked={"evse_downtime_period": [1]})
    assert derivation.open() == []


def test_a_downtime_period_that_moves_away_uncovers_the_outage(derivation: Derivation) -> None:
    tracked = (SITE[1][0], SITE[1][1] | {"uptime_tracked_since": ago(500)})
    rows = [SITE[0], tracked, outage(100, 40), outage(35, 33), period(100, 40)]
    derivation.run(lambda connection: insert(connection, rows), changed={"outage": {EVSE: ago(100)}})
    assert derivation.open() == []
    move = text("UPDATE analytics.downtime_period SET started_at = :began, ended_at = :ended")
    times = {"began": ago(30), "ended": ago(20)}
    derivation.run(lambda connection: connection.execute(move, times), marked={"evse_downtime_period": [1]})
    assert [row[3] for row in derivation.open()] == [ago(100)]


def test_a_session_that_begins_within_a_stretch_explains_it(derivation: Derivation) -> None:
    derivation.run(lambda connection: insert(connection, [stretch(60, 40, "charging")]), changed=STATES)
    assert [row[0] for row in derivation.open()] == ["charging_without_session"]
    derivation.run(lambda connection: insert(connection, [session(1, 50, 45)]), marked={"session": [1]})
    assert derivation.open() == []


ORDERED: list[tuple[list[Row], dict[str, Any]]] = [
    ([stretch(300, 200, "available"), following(200, 100, "charging")], {"changed": STATES}),
    (
        [following(100, 50, "available"), following(50, None, "charging")],
        {"changed": {"evse_state_interval": {EVSE: ago(100)}}},
    ),
    ([session(1, 250, 220)], {"marked": {"session": [1]}}),
    ([session(2, 90, 60, energy_wh=50_000, max_power_w=11_000, connected_s=1800)], {"marked": {"session": [2]}}),
    ([session(3, 70, None)], {"marked": {"session": [3]}}),
]


def test_any_order_of_the_same_facts_leaves_the_same_findings_open(derivation: Derivation) -> None:
    outcomes = set()
    for order in itertools.permutations(ORDERED):
        # A stretch must follow another one
        if order.index(ORDERED[0]) > order.index(ORDERED[1]):
            continue
        clear(derivation.connection, [("analytics.finding", {}), *itertools.chain(*(rows for rows, _ in ORDERED))])
        for rows, causes in order:
            derivation.run(partial(insert, rows=rows), **causes)
        outcomes.add(tuple(derivation.open()))
        everything = {"session": [1, 2, 3], "evse": [EVSE]}
        assert derivation.run(marked=everything) == 0
    assert len(outcomes) == 1
    (findings_,) = outcomes
    assert [(rule, entity_id) for rule, _, entity_id, *_ in findings_] == [
        ("charging_without_session", EVSE),
        ("energy_above_power", 2),
        ("session_while_available", 1),
        ("session_while_available", 2),
        ("sessions_at_once", EVSE),
    ]


def test_findings_of_master_data_follow_it_and_deriving_everything_again_changes_nothing(engine: Engine) -> None:
    def write(kind: str, entity_id: int, minutes: float, **columns: Any) -> None:
        values = dict.fromkeys(MIRRORS[kind].group("master").columns) | columns | {"raw": {"id": entity_id}}
        at = ago(-minutes)
        with engine.begin() as connection:
            facts = [fact_from_read(kind, entity_id, "master", at, values, began_at=at)]
            write_changes(connection, "t", ChangeSet(facts=facts))

    def derived() -> list[str]:
        derive(engine)
        with engine.connect() as connection:
            return [row[0] for row in open_findings(connection)]

    write("location", LOCATION, 0, timezone="Mars/Base")
    assert derived() == []
    write("charge_point", CHARGE_POINT, 0, location_id=LOCATION)
    assert derived() == ["no_position", "timezone_missing"]
    write("location", LOCATION, 1, timezone="Europe/Sofia", latitude=42.7, longitude=23.3)
    assert derived() == []
    write("location", LOCATION, 2, timezone="Europe/Sofia")
    assert derived() == ["no_position"]
    with engine.connect() as connection:
        before = found(connection)
    assert [row["rule"] for row in before if row["resolved_at"] is not None] == ["timezone_missing"]
    with engine.begin() as connection:
        mark_all(connection, "t")
    assert derived() == ["no_position"]
    with engine.connect() as connection:
        assert found(connection) == before


def test_hostile_rows_raise_nothing(derivation: Derivation) -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=UTC)
    early = datetime(1, 1, 1, tzinfo=UTC)
    rows: list[Row] = [
        ("analytics.session", {"session_id": 1, "evse_id": EVSE, "started_at": late, "stopped_at": early}),
        ("analytics.session", {"session_id": 2, "evse_id": EVSE, "started_at": early, "stopped_at": late}),
        ("analytics.session", {"session_id": 3, "evse_id": EVSE, "outcome": "running"}),
        (
            "analytics.session",
            {"session_id": 4, "outcome": "unknown", "cdr_ids": ["9" * 30, -1, "7", {}], "stopped_at": early},
        ),
        session(5, 9, 10, evse_id=2**62, energy_wh=10**10, max_power_w=2**31 - 1, connected_s=-5),
        session(6, 9, 10, energy_wh=-(10**10), max_power_w=1, connected_s=2**31 - 1),
        ("charging.meter_value", register(0, 5, 1)[1] | {"value": "NaN"}),
        ("charging.meter_value", register(0, 4, 1)[1] | {"value": "1e300", "unit": "x" * 10_000}),
        ("charging.meter_value", register(0, 3, 1)[1] | {"value": "-1e300", "unit": None, "measurand": ""}),
        ("charging.cdr", {"cdr_id": 7, "energy_wh": "NaN"}),
        *place(timezone="x" * 10_000),
        stretch(9, None, "charging", evidence=[]),
        outage(100, 40),
        period(40, 100),
        ("analytics.downtime_period", {"subject": "evse", "downtime_period_id": 2, "charge_point_id": CHARGE_POINT}),
        ("charging.session", {"session_id": 1, "updated_at": late}),
    ]
    derivation.run(
        lambda connection: insert(connection, rows),
        marked={
            "session": [1, 2, 3, 4, 5, 6],
            "cdr": [7, 2**62],
            "evse": [EVSE],
            "location": [LOCATION],
            "evse_downtime_period": [1, 2],
        },
        changed=STATES,
    )
    derivation.run_by_time()
    (zone,) = derivation.found("timezone_missing") or [{"evidence": {"timezone": ""}}]
    assert len(zone["evidence"]["timezone"]) <= 100


def test_a_finding_of_another_tenant_is_none_of_ours(derivation: Derivation) -> None:
    case = CASES["sessions_at_once"]
    foreign = [(table, values | {"tenant": "u"}) for table, values in case.broken[:1]]
    derivation.run(lambda connection: insert(connection, [*foreign, case.broken[1]]), marked=case.marked)
    assert derivation.found() == []
