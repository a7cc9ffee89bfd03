"""The inbox's progress: who may take which batch, and what becomes of each notification."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text

from storage.ids import uuid7
from storage.inbox import attempts
from storage.inbox import batches as inbox
from storage.inbox.commit import Entry
from storage.monitoring import processes
from storage.monitoring.processes import LOST_AFTER, Process
from tests.support.batches import PLENTY, claim, commit, group


def test_committing_the_same_group_twice_adds_nothing(database_url: str, engine: Engine) -> None:
    twice = group("a", b"1", b"2")
    commit(database_url, twice)
    commit(database_url, twice)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.notification")).scalar() == 2
        assert connection.execute(text("SELECT notifications, body_bytes FROM ingest.batch")).one() == (2, 2)


def test_one_commit_makes_a_batch_for_each_tenant(database_url: str, engine: Engine) -> None:
    commit(database_url, group("a", b"1", b"2"), group("b", b"3"))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT tenant, notifications FROM ingest.batch ORDER BY tenant")).all()
    assert found == [("a", 2), ("b", 1)]


def test_a_commit_of_several_tenants_is_one_transaction(database_url: str, engine: Engine) -> None:
    # Given a notification that Postgres refuses, as it has no partition, between those of two other tenants
    refused = group("b", b"2")
    refused.entries[0].received_at -= timedelta(days=3650)
    with pytest.raises(psycopg.errors.CheckViolation):
        commit(database_url, group("a", b"1"), refused, group("c", b"3"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.batch")).scalar() == 0
    # Then the same commit succeeds once its cause is removed
    refused.stamp()
    commit(database_url, group("a", b"1"), refused, group("c", b"3"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.batch")).scalar() == 3


def test_the_oldest_open_batches_of_one_tenant_are_claimed_and_the_attempt_counted(
    database_url: str, engine: Engine
) -> None:
    first, second, third = group("a", b"1"), group("b", b"2"), group("a", b"3")
    for one in (first, second, third):
        commit(database_url, one)
    assert [batch.batch_id for batch in claim(engine)] == [first.batch_id, third.batch_id]
    (batch,) = claim(engine)
    assert (batch.tenant, batch.batch_id, batch.attempts) == ("b", second.batch_id, 1)
    assert claim(engine) == []


def test_a_chunk_is_bounded_by_batches_by_notifications_and_by_bytes(database_url: str, engine: Engine) -> None:
    for _ in range(4):
        commit(database_url, group("a", b"12345", b"67890"))
    assert len(claim(engine, max_batches=1)) == 1
    assert len(claim(engine, max_notifications=2)) == 1
    assert len(claim(engine, max_bytes=10)) == 1
    assert len(claim(engine)) == 1


def test_a_batch_larger_than_the_bound_is_claimed_all_the_same(database_url: str, engine: Engine) -> None:
    commit(database_url, group("a", *[b"x" * 100] * 50))
    assert len(claim(engine, max_notifications=10, max_bytes=10)) == 1


def test_a_lease_that_ran_out_lets_another_worker_in(database_url: str, engine: Engine) -> None:
    commit(database_url, group("a", b"1"))
    claim(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET lease_expires_at = now() - interval '1 second'"))
    (batch,) = claim(engine)
    assert batch.attempts == 2


def test_the_batches_of_a_process_that_went_away_are_free_and_sent_again(database_url: str, engine: Engine) -> None:
    # Given batches in the hands of a process that lives, and of one that gave its own back for a while
    commit(database_url, group("a", b"1"))
    holder = Process(uuid7(), "work apply", "host", 1, "1.2.3")
    with engine.begin() as connection:
        processes.register(connection, holder)
        assert len(inbox.claim(connection, **PLENTY, holder=holder.process_id)) == 1
    commit(database_url, group("b", b"2"))
    with engine.begin() as connection:
        (later,) = inbox.claim(connection, **PLENTY, holder=holder.process_id)
        attempts.retry_later(connection, "b", [later.batch_id], after=timedelta(minutes=4), error="Postgres went away")
    assert claim(engine) == []
    # When it beats no more
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE ingest.process SET seen_at = now() - :age"), {"age": LOST_AFTER + timedelta(seconds=1)}
        )
    # Then the sweep sends what it held, another takes it up, and the delay of the other batch stays
    with engine.begin() as connection:
        assert len(inbox.overdue(connection, age=timedelta(0), limit=10)) == 1
    assert [(batch.tenant, batch.attempts) for batch in claim(engine)] == [("a", 2)]


def test_what_is_dated_ahead_since_postgres_clock_was_set_back_waits_for_nothing(
    database_url: str, engine: Engine
) -> None:
    # Given a batch that was committed and leased while the clock was two hours ahead
    one = group("a", b"1")
    commit(database_url, one)
    claim(engine)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE ingest.batch SET lease_expires_at = now() + '2 hours', committed_at = now() + '2 hours'")
        )
        # Then the sweep finds it, and it can be claimed
        assert inbox.overdue(connection, age=timedelta(seconds=30), limit=10) == [one.batch_id]
    assert len(claim(engine)) == 1


def test_a_batch_that_was_put_off_is_sent_again_before_others(database_url: str, engine: Engine) -> None:
    postponed, fresh = group("a", b"1"), group("b", b"2")
    commit(database_url, postponed)
    claim(engine)
    commit(database_url, fresh)
    with engine.begin() as connection:
        attempts.postpone(connection, "a", [postponed.batch_id], at_least=timedelta(0), error="DiskFull: no space left")
        connection.execute(
            text("UPDATE ingest.batch SET committed_at = now() - interval '10 s', lease_expires_at = NULL")
        )
        assert inbox.overdue(connection, age=timedelta(seconds=30), limit=10) == [postponed.batch_id]
        row = connection.execute(text("SELECT attempts, failures, last_error FROM ingest.batch WHERE failures > 0"))
        assert row.one() == (0, 1, "DiskFull: no space left")


def test_a_batch_given_back_waits_and_says_why(database_url: str, engine: Engine) -> None:
    one = group("a", b"1")
    commit(database_url, one)
    claim(engine)
    with engine.begin() as connection:
        attempts.retry_later(connection, "a", [one.batch_id], after=timedelta(0), error="Postgres went away")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT last_error FROM ingest.batch")).scalar() == "Postgres went away"
    assert len(claim(engine)) == 1


def test_a_batch_that_another_worker_closed_is_left_alone(database_url: str, engine: Engine) -> None:
    # Given a batch in the hands of one worker
    one = group("a", b"1")
    commit(database_url, one)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as holder:
            assert inbox.lock_batches(holder, "a", [one.batch_id]) == {one.batch_id}
            # When another wants it, which waits, and the first closes it
            late = pool.submit(lock_batches, engine, one.batch_id)
            inbox.close(holder, "a", [one.batch_id])
        # Then there is nothing left to do
        assert late.result() == set()


def lock_batches(engine: Engine, batch_id: UUID) -> set[UUID]:
    with engine.begin() as connection:
        return inbox.lock_batches(connection, "a", [batch_id])


def test_a_batch_that_somebody_looks_at_is_waited_for_and_not_skipped(database_url: str, engine: Engine) -> None:
    one = group("a", b"1")
    commit(database_url, one)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as looker:
            looker.execute(text("SELECT FROM ingest.batch FOR UPDATE"))
            mine = pool.submit(lock_batches, engine, one.batch_id)
        assert mine.result() == {one.batch_id}


def test_an_overdue_batch_is_sent_again_once_by_all_sweeps_together(database_url: str, engine: Engine) -> None:
    one, fresh, held, closed = (group("a", b"1") for _ in range(4))
    commit(database_url, one)
    commit(database_url, held)
    commit(database_url, closed)
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET committed_at = now() - interval '1 minute'"))
        inbox.close(connection, "a", [closed.batch_id])
        connection.execute(
            text("UPDATE ingest.batch SET lease_expires_at = now() + interval '1 minute' WHERE batch_id = :id"),
            {"id": held.batch_id},
        )
    commit(database_url, fresh)

    def sweep() -> list[UUID]:
        with engine.begin() as connection:
            return inbox.overdue(connection, age=timedelta(seconds=30), limit=10)

    assert sweep() == [one.batch_id]
    assert sweep() == []


def test_a_notification_ends_applied_ignored_or_failed(database_url: str, engine: Engine) -> None:
    # Given three notifications, of which two are set aside
    one = group("a", b"1", b"2", b"3")
    commit(database_url, one)
    (batch,) = claim(engine)
    with engine.begin() as connection:
        assert {row.state for row in connection.execute(text("SELECT state FROM ingest.notification_state"))} == {
            "pending"
        }
        logged = inbox.notifications_of(connection, [batch])
        inbox.record_outcomes(
            connection,
            "a",
            [
                inbox.Outcome(
                    batch.batch_id, logged[0].notification_id, logged[0].received_at, "ignored", "no handler"
                ),
                inbox.Outcome(
                    batch.batch_id, logged[1].notification_id, logged[1].received_at, "failed", "not JSON", "E", "f:1"
                ),
            ],
        )
        # Then those two are not offered again
        assert [one.body for one in inbox.notifications_of(connection, [batch])] == [b"3"]
        inbox.close(connection, "a", [batch.batch_id])
        found = connection.execute(
            text("SELECT state, reason, error FROM ingest.notification_state ORDER BY notification_id")
        ).all()
    assert found == [("ignored", "no handler", None), ("failed", "not JSON", "E"), ("applied", None, None)]


def test_what_is_read_beside_the_body_never_refuses_it() -> None:
    for body in (
        b"",
        b"null",
        b"[]",
        b'{"session":[]}',
        b'{"session":{"id":{}}}',
        b'{"evseId":true,"sessionId":"\xd9\xa1"}',
    ):
        entry = Entry("a", body, {}, "token", "hex")
        assert (entry.session_id, entry.evse_id, entry.charge_point_id) == (None, None, None)


def test_ids_are_read_whichever_way_the_body_writes_them() -> None:
    entry = Entry("a", b'{"notification":"x","session":{"id":"77","evseId":9,"chargePointId":"4"}}', {}, "token", "hex")
    assert (entry.notification_type, entry.session_id, entry.evse_id, entry.charge_point_id) == ("x", 77, 9, 4)


def test_the_id_carries_the_time_of_receipt() -> None:
    entry = Entry("a", b"", {}, "token", "hex")
    assert int(entry.received_at.timestamp() * 1000) == entry.notification_id.int >> 80
    assert entry.notification_id.version == 7
