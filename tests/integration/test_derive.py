"""Derived tables: states of EVSEs as stretches of time, and a change feed without a gap."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from analytics.contract import tables
from analytics.derive import due_tenants
from storage.database import create_database_engine
from storage.ids import first_made_at
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import changes_of_deriving_everything, derive, session_facts, write

#: The numbers of all rows of the contract.
NUMBERS = " UNION ALL ".join(
    f"SELECT change_number FROM analytics.{table.name}" for table in tables() if "change_number" in table.columns
)

START = datetime(2026, 3, 4, 7, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=3)
    yield made
    made.dispose()


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def alive(engine: Engine, *periods: tuple[float, float]) -> None:
    """Let receivers have been alive in these periods, in minutes; the last one still is."""
    rows = [{"began": at(began), "beat": at(ended)} for began, ended in periods]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:began, :beat)"), rows)
        connection.execute(
            text(
                "UPDATE ingest.uptime SET last_beat_at = now() + interval '1 hour'"
                " WHERE began_at = (SELECT max(began_at) FROM ingest.uptime)"
            )
        )


def fleet(engine: Engine) -> None:
    """Store an EVSE with its charge point."""
    master = {"charge_point_id": 418, "raw": {"id": 902}}
    with engine.begin() as connection:
        columns = dict.fromkeys(("physical_reference", "label"), None) | master
        changes = ChangeSet(facts=[fact_from_read("evse", 902, "master", at(0), columns, began_at=at(0))])
        write_changes(connection, "t", changes)


def observe(engine: Engine, minutes: float, *, evse: str | None = None, network: str | None = None) -> None:
    """Write a status of a notification."""
    changes = ChangeSet()
    common = {"observed_at": at(minutes), "source": "notification"}
    if evse is not None:
        changes.observe("evse_status_observation", {"evse_id": 902, "hardware_status": evse, **common})
    if network is not None:
        changes.observe(
            "charge_point_network_observation", {"charge_point_id": 418, "network_status": network, **common}
        )
    with engine.begin() as connection:
        write_changes(connection, "t", changes)


def rows(engine: Engine) -> list[dict[str, Any]]:
    statement = (
        "SELECT evse_id, began_at, nullif(ended_at, 'infinity') AS ended_at, previous_ended_at, state, coverage,"
        " change_number FROM analytics.evse_state_interval WHERE tenant = 't' ORDER BY began_at"
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def states(engine: Engine) -> list[tuple[float, str, str]]:
    """The states, each with the minute at which it began, and its coverage."""
    return [((row["began_at"] - START).total_seconds() / 60, row["state"], row["coverage"]) for row in rows(engine)]


def test_states_follow_the_statuses_of_evse_and_network(engine: Engine) -> None:
    alive(engine, (-60, 0))
    fleet(engine)
    observe(engine, 0, evse="available", network="available")
    observe(engine, 10, evse="charging")
    observe(engine, 20, network="temporarily_unavailable")
    observe(engine, 30, network="available")
    observe(engine, 40, evse="suspendedEV")
    derive(engine)
    assert states(engine) == [
        (0, "available", "observed"),
        (10, "charging", "observed"),
        (20, "offline", "observed"),
        (30, "charging", "observed"),
        (40, "suspended", "observed"),
    ]
    assert rows(engine)[-1]["ended_at"] is None


def test_an_evse_has_no_state_before_it_existed(engine: Engine) -> None:
    alive(engine, (-60, 0))
    # Given a charge point that was offline long before
    observe(engine, 0, network="temporarily_unavailable")
    observe(engine, 5, network="available")
    fleet(engine)
    derive(engine)
    assert states(engine)[0][0] == 0
    # When it becomes known when its EVSE was created, and later that it reported a status before
    columns = {"charge_point_id": 418, "created_at": at(30), "raw": {}}
    write(engine, fact_from_read("evse", 902, "master", at(40), columns, began_at=at(40)))
    derive(engine)
    assert states(engine) == [(30, "unknown", "observed")]
    observe(engine, 20, evse="available")
    derive(engine)
    assert states(engine) == [(20, "available", "observed")]
    assert changes_of_deriving_everything(engine) == 0


def test_a_late_status_changes_only_the_stretches_after_it(engine: Engine) -> None:
    alive(engine, (-60, 0))
    fleet(engine)
    for minutes, status in ((0, "available"), (10, "charging"), (30, "available")):
        observe(engine, minutes, evse=status, network="available" if not minutes else None)
    derive(engine)
    before = rows(engine)
    observe(engine, 20, evse="finishing")
    derive(engine)
    after = rows(engine)
    assert [(row["state"]) for row in after] == ["available", "charging", "finishing", "available"]
    # The state that now ends earlier, and the one that continues as it was, keep their numbers
    changed = [row for row in after if row not in before]
    assert [row["state"] for row in changed] == ["charging", "finishing"]
    everything = states(engine)
    with engine.begin() as connection:
        mark_all(connection, "t")
    numbers = [row["change_number"] for row in rows(engine)]
    derive(engine)
    assert states(engine) == everything
    assert [row["change_number"] for row in rows(engine)] == numbers


def test_while_no_receiver_was_alive_the_state_is_unknown(engine: Engine) -> None:
    alive(engine, (-60, 15), (25, 26))
    fleet(engine)
    observe(engine, 0, evse="available", network="available")
    observe(engine, 30, evse="charging")
    derive(engine)
    assert states(engine) == [
        (0, "available", "observed"),
        (15, "unknown", "none"),
        (25, "available", "observed"),
        (30, "charging", "observed"),
    ]


def test_states_are_known_once_the_first_receiver_runs(engine: Engine) -> None:
    # Given statuses that reads showed before any receiver ran
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
    fleet(engine)
    observe(engine, 0, evse="available", network="available")
    derive(engine)
    assert states(engine) == [(0, "unknown", "none")]
    # When the first one runs, and the EVSE reports nothing more
    alive(engine, (30, 60))
    derive(engine)
    # Then the state is known from then on
    assert states(engine) == [(0, "unknown", "none"), (30, "available", "observed")]
    assert changes_of_deriving_everything(engine) == 0


def test_a_status_of_a_clock_far_ahead_that_is_applied_late_takes_its_place(engine: Engine) -> None:
    alive(engine, (-60, 0))
    fleet(engine)
    observe(engine, 0, evse="available", network="available")
    observe(engine, 30, evse="charging")
    derive(engine)
    # Given a status that arrived between both, dated half a year ahead, and that is applied after them
    late = {"evse_id": 902, "hardware_status": "faulted", "observed_at": at(200 * 1440), "source": "notification"}
    changes = ChangeSet()
    changes.observe("evse_status_observation", late | {"notification_id": first_made_at(at(20))})
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    derive(engine)
    # Then it counts from when it arrived, as if everything had been derived again
    assert [state[:2] for state in states(engine)] == [(0, "available"), (20, "faulted"), (30, "charging")]
    assert changes_of_deriving_everything(engine) == 0


def test_after_the_clock_is_set_back_what_time_makes_is_looked_for_at_once(engine: Engine) -> None:
    idle = timedelta(seconds=20)
    alive(engine, (-60, 0))
    write(engine, *session_facts(1, status="active", started_at=datetime.now(UTC) - timedelta(hours=23)))
    derive(engine)
    # Given a session that has become too long since, and a feed whose times are of a clock that was ahead
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE analytics.session SET started_at = started_at - interval '2 hours' WHERE tenant = 't'")
        )
        ahead = "now() + interval '1 day'"
        connection.execute(text(f"UPDATE analytics.feed SET derived_until = {ahead}, findings_at = {ahead}"))
    # When it is seen that the tenant has not been derived for some time, and is derived
    with engine.begin() as connection:
        assert due_tenants(connection, ["t"], idle=idle) == ["t"]
    derive(engine)
    # Then the finding is there, and the feed has the present time
    with engine.connect() as connection:
        assert connection.execute(text("SELECT rule FROM analytics.finding")).scalars().all() == ["session_open"]
        assert connection.execute(
            text("SELECT greatest(derived_until, findings_at) <= now() FROM analytics.feed")
        ).scalar()
        assert due_tenants(connection, ["t"], idle=idle) == []


def test_numbers_are_dense_and_removed_rows_are_noted(engine: Engine) -> None:
    alive(engine, (-60, 0))
    fleet(engine)
    observe(engine, 0, evse="available", network="available")
    observe(engine, 10, evse="charging")
    derive(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM charging.evse_status_observation WHERE hardware_status = 'charging'"))
    with engine.begin() as connection:
        mark_all(connection, "t")
    derive(engine)
    assert states(engine) == [(0, "available", "observed")]
    with engine.connect() as connection:
        numbers = connection.execute(text(f"{NUMBERS} ORDER BY 1")).scalars().all()
        last = connection.execute(text("SELECT last_change_number FROM analytics.feed")).scalar_one()
        assert numbers[-2:] == [last - 1, last]
        assert len(set(numbers)) == len(numbers)
        key = connection.execute(text("SELECT key FROM analytics.removal")).scalar_one()
        assert (key["evse_id"], datetime.fromisoformat(key["began_at"])) == (902, at(10))


@pytest.mark.parametrize(
    "statement",
    {
        "a gap": "DELETE FROM analytics.evse_state_interval WHERE state = 'charging'",
        "an end that nothing follows": "DELETE FROM analytics.evse_state_interval WHERE state = 'available'",
        "an overlap": "UPDATE analytics.evse_state_interval SET ended_at = ended_at + interval '1 min'"
        " WHERE state = 'available'",
        "a second beginning": "INSERT INTO analytics.evse_state_interval (tenant, evse_id, began_at, ended_at, state,"
        " coverage, change_number, changed_at) SELECT tenant, evse_id, began_at - interval '1 h', began_at, state,"
        " coverage, 99, changed_at FROM analytics.evse_state_interval WHERE state = 'available'",
        "no length": "UPDATE analytics.evse_state_interval SET ended_at = began_at WHERE ended_at = 'infinity'",
        "an unknown word": "UPDATE analytics.evse_state_interval SET state = 'broken' WHERE ended_at = 'infinity'",
    }.items(),
    ids=lambda item: item[0],
)
def test_the_database_refuses_states_with_a_gap_or_an_overlap(engine: Engine, statement: tuple[str, str]) -> None:
    alive(engine, (-60, 0))
    fleet(engine)
    for minutes, status in ((0, "available"), (10, "charging"), (20, "finishing")):
        observe(engine, minutes, evse=status, network=None if minutes else "available")
    derive(engine)
    before = rows(engine)
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        connection.execute(text(statement[1]))
    # By a constraint of its own, not by a column that happens to be missing
    assert str(caught.value.orig.diag.constraint_name).startswith("evse_state_interval_")  # type: ignore[union-attr]
    assert rows(engine) == before


def test_everything_is_marked_so_that_the_sessions_of_an_evse_are_derived_together(engine: Engine) -> None:
    changes = ChangeSet()
    for session_id in range(1, 9):
        changes.facts += session_facts(session_id, evse_id=session_id % 2, charge_point_id=1, started_at=at(0))
    with engine.begin() as connection:
        write_changes(connection, "t", changes)
    derive(engine, "t")
    with engine.begin() as connection:
        mark_all(connection, "t")
        marked = connection.execute(
            text("SELECT entity_id FROM analytics.dirty WHERE tenant = 't' AND kind = 'session' ORDER BY dirty_id")
        )
        assert marked.scalars().all() == [2, 4, 6, 8, 1, 3, 5, 7]
