"""Statements that wait for another transaction heed what that transaction did.

In READ COMMITTED a statement sees what was committed before it began, and of a row that it waited for
what stands there now; of everything else it keeps its older view.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, text

from storage.inbox import batches
from storage.monitoring import resends, traffic, uptime
from storage.monitoring.subscriptions import ManagedSubscription
from storage.rebuild import replayed, swap
from storage.state.changes import ChangeSet, Entity
from storage.state.fold import Fold
from storage.state.unknown_fields import UnknownFields, record_unknown_fields
from storage.state.upsert import upsert
from storage.sync import inaccessible_kinds, refresh_queue, sync_runs
from storage.sync.absent_entities import find_absent, request_absent
from storage.sync.refresh_queue import RefreshRequest
from storage.sync.refresh_requests import request_refresh
from storage.sync.sync_runs import SyncRun, SyncRunStats
from tests.support.facts import apply, changes, finished_session, sample
from tests.support.locks import after_waiting
from tests.support.log import accept, execute, query
from tests.support.replay import compared
from workers.apply.apply import apply_open_batches

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


def request_reads(connection: Connection, *entities: tuple[str, int]) -> None:
    found = ChangeSet()
    found.required_reads |= {Entity(*entity): "conflicting" for entity in entities}
    request_refresh(connection, "t", found, [])


def claimed(engine: Engine, *entities: tuple[str, int]) -> list[RefreshRequest]:
    """Request reads, and claim them."""
    with engine.begin() as connection:
        request_reads(connection, *entities)
    with engine.begin() as connection:
        return refresh_queue.claim(connection, "t", limit=10)


def requests(engine: Engine) -> list[dict[str, Any]]:
    return query(
        engine,
        "SELECT entity_id, generation, lease_expires_at IS NULL AS is_free, due_at <= now() AS is_due"
        " FROM ingest.refresh_request ORDER BY kind, entity_id",
    )


def test_a_read_that_is_marked_while_its_end_waits_is_due_at_once(engine: Engine) -> None:
    # Given two claimed reads
    held = claimed(engine, ("evse", 1), ("evse", 2))
    # When one of them is marked by a transaction that commits while the end of both waits for it
    after_waiting(
        engine,
        lambda connection: request_reads(connection, ("evse", 1)),
        lambda connection: refresh_queue.finish(connection, "t", held),
    )
    # Then that one is in no process's hands and due, and the other is done
    assert requests(engine) == [{"entity_id": 1, "generation": 2, "is_free": True, "is_due": True}]


def test_a_read_that_is_marked_while_it_is_being_put_off_is_put_off_and_free(engine: Engine) -> None:
    held = claimed(engine, ("evse", 1))
    after_waiting(
        engine,
        lambda connection: request_reads(connection, ("evse", 1)),
        lambda connection: refresh_queue.postpone(connection, "t", held, delay=HOUR, error="down", counts=True),
    )
    assert requests(engine) == [{"entity_id": 1, "generation": 2, "is_free": True, "is_due": False}]


def test_a_mark_that_waits_for_a_claim_survives_the_end_of_that_read(engine: Engine) -> None:
    # Given a mark that waits for a claim
    with engine.begin() as connection:
        request_reads(connection, ("evse", 1))
    held: list[RefreshRequest] = []
    after_waiting(
        engine,
        lambda connection: held.extend(refresh_queue.claim(connection, "t", limit=10)),
        lambda connection: request_reads(connection, ("evse", 1)),
    )
    # When the read ends, then the entity is to be read again
    with engine.begin() as connection:
        refresh_queue.finish(connection, "t", held)
    assert requests(engine) == [{"entity_id": 1, "generation": 2, "is_free": True, "is_due": True}]


def test_a_mark_that_waits_for_the_end_of_a_read_is_a_new_request(engine: Engine) -> None:
    held = claimed(engine, ("evse", 1))
    after_waiting(
        engine,
        lambda connection: refresh_queue.finish(connection, "t", held),
        lambda connection: request_reads(connection, ("evse", 1)),
    )
    assert requests(engine) == [{"entity_id": 1, "generation": 1, "is_free": True, "is_due": True}]


def test_a_claim_waits_for_no_mark_and_takes_what_is_free(engine: Engine) -> None:
    with engine.begin() as connection:
        request_reads(connection, ("evse", 1), ("evse", 2))
    with engine.begin() as marking, engine.begin() as claiming:
        request_reads(marking, ("evse", 1))
        assert [one.entity_id for one in refresh_queue.claim(claiming, "t", limit=10)] == [2]
    with engine.begin() as connection:
        assert [one.generation for one in refresh_queue.claim(connection, "t", limit=10)] == [2]


def test_a_refusal_that_is_lifted_while_a_reader_waits_for_it_refuses_nothing(engine: Engine) -> None:
    # Given a refusal whose hour is over
    with engine.begin() as connection:
        inaccessible_kinds.record_inaccessible(connection, "t", "user", "forbidden", "403")
        connection.execute(text("UPDATE ingest.inaccessible_kind SET ask_again_at = now() - interval '1 s'"))
    # When a reader asks while another lifts it, then the kind may be read
    permission = after_waiting(
        engine,
        lambda connection: inaccessible_kinds.clear_inaccessible(connection, "t", "user"),
        lambda connection: inaccessible_kinds.permission_to_read(connection, "t", "user"),
    )
    assert permission == "open"


def test_of_two_readers_one_tries_whether_a_kind_may_be_read_again(engine: Engine) -> None:
    with engine.begin() as connection:
        inaccessible_kinds.record_inaccessible(connection, "t", "user", "forbidden", "403")
        connection.execute(text("UPDATE ingest.inaccessible_kind SET ask_again_at = now() - interval '1 s'"))
    permissions: list[str] = []

    def ask(connection: Connection) -> str:
        permissions.append(inaccessible_kinds.permission_to_read(connection, "t", "user"))
        return permissions[-1]

    assert after_waiting(engine, ask, ask) == "refused"
    assert permissions == ["trial", "refused"]


def test_batches_that_two_close_at_once_are_counted_once(engine: Engine) -> None:
    accept(engine, sample("HardwareStatusNotification.evse"), sample("BootNotification"))
    with engine.begin() as connection:
        (batch,) = batches.claim(connection, max_batches=9, max_notifications=9, max_bytes=10**6)
    close = partial(batches.close, tenant="t", batch_ids=[batch.batch_id])
    after_waiting(engine, close, close)
    assert query(engine, "SELECT closed FROM ingest.total") == [{"closed": 2}]


def apply_session(connection: Connection, body: dict[str, Any]) -> None:
    """Write what a notification says of its session, and nothing else that two would wait for first."""
    found = changes(body)
    facts = [fact for fact in found.facts if fact.kind == "session"]
    upsert(connection, "t", Fold(facts), source_notifications=found.source_notifications)


def test_a_session_that_another_stops_while_a_correction_waits_leaves_a_revision(engine: Engine) -> None:
    # Given a session that runs
    with engine.begin() as connection:
        apply_session(connection, sample("SessionUpdateNotification.active"))
    # When its correction waits for the transaction that stops it
    after_waiting(
        engine,
        lambda connection: apply_session(connection, finished_session(0, billingStatus="pending")),
        lambda connection: apply_session(connection, finished_session(5, billingStatus="completed")),
    )
    # Then what it was in between is kept
    (revision,) = query(engine, "SELECT changed_from, changed_to FROM charging.session_revision")
    assert revision["changed_from"]["billing_status"] == "pending"
    assert revision["changed_to"]["billing_status"] == "completed"


def test_an_older_fact_that_waits_for_a_newer_one_does_not_replace_it(engine: Engine) -> None:
    older, newer = sample("HardwareStatusNotification.evse"), sample("HardwareStatusNotification.evse")
    newer |= {"timestamp": "2026-03-04T11:00:00Z", "hardwareStatus": "charging"}
    after_waiting(engine, lambda connection: apply(connection, newer), lambda connection: apply(connection, older))
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "charging"}]


CLAIM = ManagedSubscription("t", "https://us.example/t", 1, NOW, NOW, "sound", None, None, 0, None, None)


def test_a_resend_that_is_wanted_while_ampeco_is_being_asked_waits_its_quarter_of_an_hour(engine: Engine) -> None:
    with engine.begin() as connection:
        resends.request_resend(connection, CLAIM, "manual", None)

    def ask(connection: Connection) -> None:
        taken = resends.take(connection, "t", CLAIM.callback_url)
        assert taken is not None
        resends.record_result(connection, taken, "asked")

    wanted = after_waiting(engine, ask, lambda connection: resends.request_resend(connection, CLAIM, "outage", NOW))
    assert wanted.state == "waiting"
    (row,) = query(engine, "SELECT max(tried_at) AS tried_at FROM ingest.resend")
    assert wanted.due_at == row["tried_at"] + resends.INTERVAL


def test_of_two_processes_one_takes_a_resend(engine: Engine) -> None:
    with engine.begin() as connection:
        resends.request_resend(connection, CLAIM, "manual", None)
    take = partial(resends.take, tenant="t", callback_url=CLAIM.callback_url)
    assert after_waiting(engine, take, take) is None


def test_an_outcome_that_changes_while_it_is_erased_is_gone_and_counted(engine: Engine) -> None:
    # Given a notification that failed
    (entry,) = accept(engine, b"not JSON")
    apply_open_batches(engine)
    (failed,) = query(engine, "SELECT batch_id, received_at FROM ingest.outcome")

    def ignore(connection: Connection) -> None:
        outcome = batches.Outcome(
            failed["batch_id"], entry.notification_id, failed["received_at"], "ignored", "unknown type"
        )
        batches.record_outcomes(connection, "t", [outcome])

    # When one replay ignores it, and another that applies it waits for that
    erased = after_waiting(
        engine, ignore, lambda connection: replayed.clear_outcomes(connection, "t", [entry.notification_id])
    )
    # Then it is neither, and counted as neither
    assert erased == 1
    assert query(engine, "SELECT ignored, failed FROM ingest.total") == [{"ignored": 0, "failed": 0}]
    assert query(engine, "SELECT state FROM ingest.outcome") == []


def test_a_swap_that_waits_for_a_newer_fact_leaves_it(engine: Engine) -> None:
    # Given a row that is not what its log makes it
    accept(engine, sample("HardwareStatusNotification.evse"))
    apply_open_batches(engine)
    execute(engine, "UPDATE charging.evse SET hardware_status = 'spoiled'")
    compared(engine)
    # When the swap meets a notification that is being applied
    newer = sample("HardwareStatusNotification.evse") | {
        "timestamp": "2026-03-04T11:00:00Z",
        "hardwareStatus": "charging",
    }
    after_waiting(engine, lambda connection: apply(connection, newer), lambda connection: swap.swap(connection, "t"))
    assert query(engine, "SELECT hardware_status FROM charging.evse") == [{"hardware_status": "charging"}]


def begun(engine: Engine, kind: str = "evse") -> SyncRun:
    with engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "t", kind, "reconcile", None)
        assert sync_run is not None
        return sync_run


def move(connection: Connection, sync_run: SyncRun, following: Sequence[tuple[str, str]] | None) -> bool:
    return sync_runs.move(
        connection, sync_run, SyncRunStats(), began_at=NOW, following=None if following is None else [*following]
    )


def test_of_two_processes_one_begins_a_sync_run(engine: Engine) -> None:
    begin = partial(sync_runs.begin, tenant="t", kind="evse", purpose="reconcile", changed_since=None)
    assert after_waiting(engine, begin, begin) is None


def test_a_sync_run_that_begins_while_the_one_before_ends_is_a_new_one(engine: Engine) -> None:
    sync_run = begun(engine)
    another = after_waiting(
        engine,
        lambda connection: move(connection, sync_run, None),
        lambda connection: sync_runs.begin(connection, "t", "evse", "reconcile", None),
    )
    assert another is not None
    assert another.sync_run_id != sync_run.sync_run_id


def test_a_page_that_another_process_stores_first_is_stored_once(engine: Engine) -> None:
    sync_run = begun(engine)
    late = SyncRun(**{name: getattr(sync_run, name) for name in SyncRun.__slots__})
    assert not after_waiting(
        engine,
        lambda connection: move(connection, sync_run, [("cursor", "a")]),
        lambda connection: move(connection, late, [("cursor", "a")]),
    )
    assert query(engine, "SELECT pages FROM ingest.sync_run") == [{"pages": 1}]


def test_an_absent_entity_that_is_being_marked_is_marked_once(engine: Engine) -> None:
    # Given an EVSE that a sync run through everything did not show
    with engine.begin() as connection:
        apply(connection, sample("HardwareStatusNotification.evse"))
        connection.execute(text("DELETE FROM ingest.refresh_request"))
    sync_run = begun(engine)
    with engine.begin() as connection:
        sync_runs.move(connection, sync_run, SyncRunStats(), began_at=datetime.now(UTC), following=None)
    # When its mark waits for another one
    absent = after_waiting(
        engine,
        lambda connection: request_reads(connection, ("evse", 902)),
        lambda connection: request_absent(connection, sync_run, find_absent(connection, sync_run)),
    )
    # Then that one stands
    assert absent == 0
    assert requests(engine) == [{"entity_id": 902, "generation": 1, "is_free": True, "is_due": True}]


def test_an_outage_is_found_by_one_of_two_that_rise(engine: Engine) -> None:
    execute(engine, "INSERT INTO ingest.uptime VALUES (now() - interval '2 hours', now() - interval '1 hour')")
    assert after_waiting(engine, uptime.beat, uptime.beat) is None
    assert query(engine, "SELECT count(*) AS rows FROM ingest.uptime") == [{"rows": 2}]


def test_one_of_two_processes_counts_arrivals(engine: Engine) -> None:
    take = partial(traffic.take, tenant="t", interval=HOUR)
    assert after_waiting(engine, take, take) is None


def test_what_two_see_of_one_unknown_type_is_added_up(engine: Engine) -> None:
    (entry,) = accept(engine, b"{}")

    def see(connection: Connection) -> None:
        seen = UnknownFields()
        seen.see_type("aNewType", {}, NOW, entry.notification_id)
        record_unknown_fields(connection, "t", seen)

    after_waiting(engine, see, see)
    assert query(engine, "SELECT name, times FROM ingest.unknown_field") == [{"name": "aNewType", "times": 2}]
