"""Findings are evaluated after everything that belongs together was derived, and within a round of deriving if few."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from analytics import derive as rounds
from analytics.derive import derive_round, due_tenants, marks_left
from analytics.findings import due, evaluate
from analytics.scope import portion
from analytics.writing import Work
from tests.support.analytics import derive, fact, session_facts, write

EVSE, CHARGE_POINT = 902, 418

#: The day before: a stretch that is charging has lasted for over 15 minutes.
NOW = datetime.now(UTC)
BEGAN = NOW - timedelta(days=1)


@pytest.fixture(autouse=True)
def receiver(engine: Engine) -> None:
    """Let a receiver have been alive all the time, so that states are known."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:at, now())"), {"at": BEGAN - timedelta(days=1)})


def status(minutes: float, word: str, evse_id: int = EVSE) -> dict[str, list[dict[str, Any]]]:
    observed = {"evse_id": evse_id, "hardware_status": word, "observed_at": BEGAN + timedelta(minutes=minutes)}
    return {"evse_status_observation": [observed | {"source": "notification"}]}


def charge(engine: Engine) -> None:
    """Let an EVSE charge for an hour, and a session explain it."""
    write(engine, fact("evse", EVSE, 0, charge_point_id=CHARGE_POINT), observations=status(0, "charging"))
    write(engine, observations=status(60, "available"))
    times = {"started_at": BEGAN, "stopped_at": BEGAN + timedelta(minutes=60)}
    write(engine, *session_facts(1, 0, evse_id=EVSE, status="finished", energy_wh=9000, **times))


def scalar(engine: Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(statement)).scalar_one()


def findings_ever(engine: Engine) -> int:
    return int(scalar(engine, "SELECT count(*) FROM analytics.finding WHERE rule = 'charging_without_session'"))


def notes(engine: Engine) -> int:
    return int(scalar(engine, "SELECT count(*) FROM analytics.finding_due"))


def marks(engine: Engine) -> int:
    with engine.connect() as connection:
        return marks_left(connection, "t")


def age_notes(engine: Engine) -> None:
    """Let what was noted have waited for longer than it may."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE analytics.finding_due SET noted_at = noted_at - :wait"), {"wait": 2 * evaluate.MAX_DELAY}
        )


@pytest.fixture
def no_round_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let findings be evaluated in rounds of their own."""
    monkeypatch.setattr(rounds, "FEW", 1)


def test_a_small_round_evaluates_what_it_noted(engine: Engine) -> None:
    write(engine, fact("evse", EVSE, 0, charge_point_id=CHARGE_POINT), observations=status(0, "charging"))
    done = derive_round(engine, "t")
    assert done is not None
    assert (done.marks > 0, done.is_done) == (True, True)
    assert (findings_ever(engine), notes(engine)) == (1, 0)
    last = scalar(engine, "SELECT last_change_number FROM analytics.feed")
    assert scalar(engine, "SELECT change_number FROM analytics.finding") == last == done.changes
    assert scalar(engine, "SELECT findings_until >= derived_until FROM analytics.freshness")


def test_a_round_that_derives_long_histories_leaves_findings_to_the_next_one(engine: Engine) -> None:
    observed = [status(0, "charging", evse_id=EVSE + number)["evse_status_observation"][0] for number in range(3)]
    facts = [fact("evse", EVSE + number, 0, charge_point_id=CHARGE_POINT) for number in range(3)]
    write(engine, *facts, observations={"evse_status_observation": observed})
    with engine.begin() as connection:
        connection.execute(text("UPDATE analytics.dirty SET changed_since = NULL"))
    done = derive_round(engine, "t")
    assert done is not None
    assert (done.has_more_marks, done.is_done, findings_ever(engine)) == (False, False, 0)
    derive(engine)
    assert findings_ever(engine) == 3


@pytest.mark.usefixtures("no_round_is_small")
def test_a_round_derives_and_the_next_one_evaluates(engine: Engine) -> None:
    write(engine, fact("evse", EVSE, 0, charge_point_id=CHARGE_POINT), observations=status(0, "charging"))
    done = derive_round(engine, "t")
    assert done is not None
    assert (done.marks > 0, done.is_done) == (True, False)
    assert (findings_ever(engine), notes(engine) > 0) == (0, True)
    oldest = scalar(engine, "SELECT min(noted_at) FROM analytics.finding_due")
    assert scalar(engine, "SELECT findings_until FROM analytics.freshness") == oldest
    before = scalar(engine, "SELECT last_change_number FROM analytics.feed")
    done = derive_round(engine, "t")
    assert done is not None
    assert (done.marks, done.changes, done.is_done) == (0, 1, True)
    assert (findings_ever(engine), notes(engine)) == (1, 0)
    assert scalar(engine, "SELECT last_change_number FROM analytics.feed") == before + 1
    assert scalar(engine, "SELECT change_number FROM analytics.finding") == before + 1
    assert scalar(engine, "SELECT findings_until > derived_until FROM analytics.freshness")


def test_an_evse_is_never_compared_with_sessions_that_are_still_to_be_derived(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MAX_MARKS", 1)
    monkeypatch.setattr(evaluate, "MAX_DELAY", timedelta(0))
    charge(engine)
    # As if everything had been marked in one statement
    with engine.begin() as connection:
        connection.execute(text("UPDATE analytics.dirty SET marked_at = (SELECT min(marked_at) FROM analytics.dirty)"))
    assert marks(engine) > 1
    derive(engine)
    assert scalar(engine, "SELECT count(*) FROM analytics.session WHERE evse_id = 902") == 1
    assert findings_ever(engine) == 0


@pytest.mark.usefixtures("no_round_is_small")
def test_findings_do_not_wait_for_changes_that_come_all_the_time(engine: Engine) -> None:
    write(engine, fact("evse", EVSE, 0, charge_point_id=CHARGE_POINT), observations=status(0, "charging"))
    assert derive_round(engine, "t") is not None
    write(engine, observations=status(0, "available", evse_id=EVSE + 1))
    # They have hardly waited, so what is marked goes first
    derive_round(engine, "t")
    assert (marks(engine), findings_ever(engine)) == (0, 0)
    write(engine, observations=status(1, "preparing", evse_id=EVSE + 1))
    age_notes(engine)
    derive_round(engine, "t")
    assert (marks(engine) > 0, findings_ever(engine)) == (True, 1)


def test_what_is_noted_after_an_older_mark_waits_for_it() -> None:
    def are_due(noted: float | None, marked: float | None) -> bool:
        at = [None if minutes is None else NOW - timedelta(minutes=minutes) for minutes in (noted, marked)]
        return evaluate.are_due(NOW, *at)

    assert not are_due(1, 60)
    assert are_due(1, 0)
    assert not are_due(0.01, 0)
    assert are_due(0, None)
    assert not are_due(None, None)


def test_a_tenant_with_nothing_but_findings_to_evaluate_is_due(engine: Engine) -> None:
    derive(engine)
    with engine.begin() as connection:
        assert list(due_tenants(connection, ["t"], idle=timedelta(hours=1))) == []
        connection.execute(
            text(
                "INSERT INTO analytics.finding_due (tenant, scope, entity_id, noted_at)"
                " VALUES ('t', 'session', 1, now())"
            )
        )
        assert list(due_tenants(connection, ["t", "u"], idle=timedelta(hours=1))) == ["t", "u"]
    derive(engine)
    assert notes(engine) == 0


@pytest.mark.parametrize(("changed_since", "taken"), [("NULL", 100), ("now()", 120)])
def test_a_round_takes_as_much_as_a_short_transaction_derives(engine: Engine, changed_since: str, taken: int) -> None:
    """An EVSE as a whole counts as 40 entities, and its second mark as nothing: 50 EVSEs are 2,000."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO analytics.dirty (tenant, kind, entity_id, changed_since)"
                f" SELECT 't', 'evse', id / 2, {changed_since} FROM generate_series(0, 119) AS id"
            )
        )
    done = derive_round(engine, "t")
    assert done is not None
    assert done.marks == taken
    derive(engine)
    assert marks(engine) == 0


def test_the_histories_of_a_fleet_are_evaluated_in_portions(engine: Engine) -> None:
    derive(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO analytics.finding_due (tenant, scope, entity_id, noted_at)"
                " SELECT 't', 'use', id, now() FROM generate_series(1, 120) AS id"
            )
        )
    left = []
    while notes(engine):
        derive_round(engine, "t")
        left.append(notes(engine))
    assert left == [70, 20, 0]


def test_a_portion_has_one_thing_at_least() -> None:
    assert portion([], 5) == 0
    assert portion([9, 1], 5) == 1
    assert portion([1, 2, 2, 1], 5) == 3


def test_a_session_is_noted_once_however_many_changes_of_states_concern_it(engine: Engine) -> None:
    charge(engine)
    derive(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO analytics.finding_due (tenant, scope, entity_id, noted_at)"
                " SELECT 't', 'state', 902, now() FROM generate_series(1, 120)"
            )
        )
    noted = []
    while notes(engine):
        derive_round(engine, "t")
        noted.append(scalar(engine, "SELECT count(*) FROM analytics.finding_due WHERE scope = 'session'"))
    assert noted == [1, 1, 0]
    assert scalar(engine, "SELECT count(*) FROM analytics.finding WHERE resolved_at IS NULL") == 0


def test_what_time_alone_makes_wrong_is_noted_once_until_it_is_evaluated(engine: Engine) -> None:
    write(engine, *session_facts(1, 0, evse_id=EVSE, status="active", started_at=BEGAN))
    derive(engine)
    with engine.begin() as connection:
        for _ in range(3):
            due.note_by_time(Work(connection, "t", NOW, 0))
    assert scalar(engine, "SELECT count(*) FROM analytics.finding_due WHERE scope = 'session'") == 1
