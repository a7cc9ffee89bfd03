"""The refresh queue: any number of marks is one read, and no mark is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from storage.ids import uuid7
from storage.monitoring import processes
from storage.monitoring.processes import LOST_AFTER, Process
from storage.state.changes import ChangeSet, Entity
from storage.state.facts import presence
from storage.state.fold import Fold
from storage.state.stored import load_stored
from storage.state.upsert import upsert
from storage.sync import refresh_queue
from storage.sync.refresh_queue import RefreshRequest
from storage.sync.refresh_requests import request_refresh
from tests.support.facts import apply, row, sample, wanted

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)


def want(connection: Connection, kind: str, entity_id: int, reason: str = "changed") -> None:
    found = ChangeSet()
    found.required_reads[Entity(kind, entity_id)] = reason  # type: ignore[assignment]
    request_refresh(connection, "t", found, [])


def claim(connection: Connection, limit: int = 10) -> list[RefreshRequest]:
    """Claim the most urgent kind, as if what was marked had waited."""
    connection.execute(
        text("UPDATE ingest.refresh_request SET due_at = now() WHERE attempts = 0 AND reason = 'changed'")
    )
    return refresh_queue.claim(connection, "t", limit=limit)


def test_marking_an_entity_often_is_one_read(connection: Connection) -> None:
    for _ in range(50):
        want(connection, "evse", 902)
    (request,) = claim(connection)
    assert (request.kind, request.entity_id, request.generation) == ("evse", 902, 50)


def test_the_stronger_reason_stays(connection: Connection) -> None:
    for reason in ("unknown", "changed", "provisional"):
        want(connection, "evse", 902, reason)
    assert wanted(connection) == {("evse", 902): "changed"}


def test_a_mark_made_during_a_read_survives_its_end(connection: Connection) -> None:
    # Given a read under way
    want(connection, "evse", 902)
    (request,) = claim(connection)
    # When the entity is marked again, and the read ends
    want(connection, "evse", 902)
    refresh_queue.finish(connection, "t", [request])
    # Then it is due at once
    (again,) = claim(connection)
    assert again.generation > request.generation
    refresh_queue.finish(connection, "t", [again])
    assert wanted(connection) == {}


def test_a_claimed_read_cannot_be_claimed_again_until_its_lease_runs_out(connection: Connection) -> None:
    want(connection, "evse", 902)
    claim(connection)
    assert claim(connection) == []
    assert refresh_queue.due_tenants(connection) == []
    connection.execute(text("UPDATE ingest.refresh_request SET lease_expires_at = now() - interval '1 second'"))
    assert refresh_queue.due_tenants(connection) == ["t"]
    (request,) = claim(connection)
    assert request.attempts == 2


def registered(connection: Connection) -> UUID:
    process = Process(uuid7(), "work refresh", "host", 1, "1.2.3")
    processes.register(connection, process)
    return process.process_id


def not_seen(connection: Connection, process_id: UUID) -> None:
    """Let the process beat no more, for as long as makes it count as gone."""
    connection.execute(
        text("UPDATE ingest.process SET seen_at = now() - :age WHERE process_id = :id"),
        {"age": LOST_AFTER + timedelta(seconds=1), "id": process_id},
    )


@pytest.mark.parametrize("end", [not_seen, processes.leave], ids=["that went away", "that stopped"])
def test_what_a_process_had_claimed_is_free_at_once(
    connection: Connection, end: Callable[[Connection, UUID], None]
) -> None:
    # Given a read that a running process has claimed
    holder = registered(connection)
    want(connection, "evse", 902, "unknown")
    assert len(refresh_queue.claim(connection, "t", limit=10, holder=holder)) == 1
    assert refresh_queue.due_tenants(connection) == []
    assert refresh_queue.claim(connection, "t", limit=10, holder=registered(connection)) == []
    # When the process is gone
    end(connection, holder)
    # Then another process is woken for the read, and can claim it
    assert refresh_queue.due_tenants(connection) == ["t"]
    assert len(refresh_queue.claim(connection, "t", limit=10, holder=registered(connection))) == 1


def test_a_process_that_is_not_registered_keeps_its_claim_for_the_lease(connection: Connection) -> None:
    want(connection, "evse", 902, "unknown")
    assert len(refresh_queue.claim(connection, "t", limit=10, holder=uuid7())) == 1
    assert refresh_queue.claim(connection, "t", limit=10) == []


def taken_over(connection: Connection) -> tuple[RefreshRequest, RefreshRequest]:
    """One read that two processes claimed: one that lost its lease, and the one that has it now."""
    want(connection, "evse", 902, "unknown")
    (late,) = refresh_queue.claim(connection, "t", limit=10)
    # All of a test is one transaction, in which time stands still.
    connection.execute(
        text("UPDATE ingest.refresh_request SET lease_expires_at = now() - interval '1 s', requested_at = now()")
    )
    (now,) = refresh_queue.claim(connection, "t", limit=10)
    return replace(late, leased_until=late.leased_until - timedelta(seconds=1)), now


def test_a_read_that_lost_its_lease_leaves_the_claim_of_another_alone(connection: Connection) -> None:
    late, now = taken_over(connection)
    refresh_queue.postpone(connection, "t", [late], delay=timedelta(hours=1), error="down", counts=True)
    refresh_queue.finish(connection, "t", [late])
    assert refresh_queue.due_tenants(connection) == []
    refresh_queue.finish(connection, "t", [now])
    assert wanted(connection) == {}


def test_a_read_that_lost_its_lease_does_not_end_what_is_asked_for_since(connection: Connection) -> None:
    # Given a read that another process took over and finished
    late, now = taken_over(connection)
    refresh_queue.finish(connection, "t", [now])
    # When the entity is marked, and then the late one ends
    want(connection, "evse", 902, "unknown")
    refresh_queue.postpone(connection, "t", [late], delay=timedelta(hours=1), error="down", counts=True)
    refresh_queue.finish(connection, "t", [late])
    # Then the entity is still to be read, and now
    assert len(claim(connection)) == 1


def test_statuses_are_read_before_all_else(connection: Connection) -> None:
    # Given a read of each kind, the most urgent ones last
    connection.execute(text("INSERT INTO charging.session (tenant, session_id) VALUES ('t', 7)"))
    for kind in ("tariff", "transaction", "location", "charge_point", "evse"):
        want(connection, kind, 1, "unknown")
    want(connection, "session", 7, "unknown")
    # When they are claimed one after another
    order = [claim(connection)[0].kind for _ in range(6)]
    # Then a running session goes before EVSEs, these before charge points, and these before the rest
    assert order == ["session", "evse", "charge_point", "location", "transaction", "tariff"]


def test_a_postponed_read_waits_and_says_why(connection: Connection) -> None:
    want(connection, "evse", 902)
    (request,) = claim(connection)
    refresh_queue.postpone(connection, "t", [request], delay=timedelta(hours=1), error="down", counts=False)
    found = connection.execute(
        text("SELECT attempts, last_error, due_at > now() + interval '50 minutes' FROM ingest.refresh_request")
    ).one()
    assert found == (0, "down", True)
    assert refresh_queue.claim(connection, "t", limit=10) == []


def test_a_mark_does_not_shorten_the_wait_after_a_failure(connection: Connection) -> None:
    want(connection, "evse", 902)
    (request,) = claim(connection)
    refresh_queue.postpone(connection, "t", [request], delay=timedelta(hours=1), error="refused", counts=True)
    want(connection, "evse", 902)
    assert claim(connection) == []


def test_a_start_notice_wants_the_session_after_a_while_and_its_evse_at_once(connection: Connection) -> None:
    apply(connection, sample("session.start.stop.notification.start"))
    assert wanted(connection) == {
        ("session", 77120): "provisional",
        ("evse", 902): "unknown",
        ("charge_point", 418): "unknown",
    }
    assert {request.kind for request in claim(connection)} == {"evse"}
    assert {request.kind for request in claim(connection)} == {"charge_point"}
    assert claim(connection) == []


def test_what_waits_of_the_most_urgent_kind_comes_along(connection: Connection) -> None:
    # Given an EVSE that is due, one that is not yet, and a location that is due
    want(connection, "evse", 1, "unknown")
    want(connection, "evse", 2, "changed")
    want(connection, "location", 66, "unknown")
    # When reads are claimed
    claimed = refresh_queue.claim(connection, "t", limit=10)
    # Then both EVSEs are claimed, as one listing may read both, and nothing else
    assert [(request.kind, request.entity_id) for request in claimed] == [("evse", 1), ("evse", 2)]
    assert [request.kind for request in refresh_queue.claim(connection, "t", limit=10)] == ["location"]


def test_a_running_session_goes_before_one_that_stopped_and_a_faulted_evse_before_a_session(
    connection: Connection,
) -> None:
    # Given a session that stopped, one that runs, a working EVSE and a faulted one, all of which changed
    connection.execute(
        text(
            "INSERT INTO charging.session (tenant, session_id, stopped_at) VALUES ('t', 1, now()), ('t', 2, NULL);"
            "INSERT INTO charging.evse (tenant, evse_id, hardware_status)"
            " VALUES ('t', 3, 'available'), ('t', 4, 'faulted')"
        )
    )
    for entity, entity_id in (("session", 1), ("evse", 3), ("session", 2), ("evse", 4)):
        want(connection, entity, entity_id)
    # When reads are claimed, two at a time
    order = [[(one.kind, one.entity_id) for one in claim(connection, limit=2)] for _ in range(2)]
    # Then the urgent one of each kind goes before its like
    assert sorted(order) == [[("evse", 4), ("evse", 3)], [("session", 2), ("session", 1)]]


def test_a_session_that_a_snapshot_made_whole_needs_no_read(connection: Connection) -> None:
    apply(connection, sample("session.start.stop.notification.start"))
    assert not load_stored(connection, "t", "session", [77120])[77120].is_complete
    apply(connection, sample("SessionUpdateNotification.active"))
    assert load_stored(connection, "t", "session", [77120])[77120].is_complete


def test_a_whole_session_wants_no_read_when_it_is_mentioned_again(connection: Connection) -> None:
    apply(connection, sample("SessionUpdateNotification.active"))
    connection.execute(text("DELETE FROM ingest.refresh_request"))
    apply(connection, sample("SessionMeterValuesNotification"))
    assert ("session", 77120) not in wanted(connection)


def test_meter_values_of_an_unknown_session_request_a_read_of_it(connection: Connection) -> None:
    apply(connection, sample("SessionMeterValuesNotification"))
    assert wanted(connection) == {("session", 77120): "unknown"}


def test_different_statuses_of_one_second_are_conflicting_and_read(connection: Connection) -> None:
    # Given two statuses of an EVSE that carry the same time
    one, other = sample("HardwareStatusNotification.evse"), sample("HardwareStatusNotification.evse")
    other["hardwareStatus"] = "charging"
    # When both come, in two chunks
    apply(connection, one)
    assert wanted(connection)[("evse", 902)] == "unknown"
    apply(connection, other)
    # Then a read is to settle it, and both are in the history
    assert row(connection, "evse")["hardware_conflicting"] is True
    assert wanted(connection)[("evse", 902)] == "conflicting"
    assert connection.execute(text("SELECT count(*) FROM charging.evse_status_observation")).scalar() == 2


def test_a_tombstoned_entity_that_is_spoken_of_is_looked_for_later(connection: Connection) -> None:
    # Given a charge point that a read did not find
    upsert(connection, "t", Fold([presence("charge_point", 418, began_at=NOW, gone=True)]))
    # When a status shows that it exists since
    later = {"timestamp": (NOW + timedelta(seconds=1)).isoformat()}
    apply(connection, sample("NetworkStatusNotification.available") | later)
    # Then it is looked for again, and not at once
    assert wanted(connection) == {("charge_point", 418): "gone"}
    assert claim(connection) == []


def test_a_tombstone_is_lifted_by_a_later_read_and_not_by_an_earlier_one(connection: Connection) -> None:
    upsert(connection, "t", Fold([presence("evse", 1, began_at=NOW, gone=True)]))
    upsert(connection, "t", Fold([presence("evse", 1, began_at=NOW - timedelta(seconds=1), gone=False)]))
    assert row(connection, "evse")["deleted_at"] == NOW
    upsert(connection, "t", Fold([presence("evse", 1, began_at=NOW + timedelta(seconds=1), gone=False)]))
    assert row(connection, "evse")["deleted_at"] is None
