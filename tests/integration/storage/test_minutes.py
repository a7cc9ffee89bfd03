"""What happened each minute is recorded once, also where it is recorded late."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, text

from storage.ids import first_made_at
from storage.monitoring import minutes

#: A batch of ten notifications, received two seconds before its commit and applied half a second after it.
_BATCH = text("""
INSERT INTO ingest.batch
       (tenant, batch_id, notifications, body_bytes, first_received_at, last_received_at, committed_at, applied_at)
VALUES (:tenant, :batch_id, 10, 1, CAST(:at AS timestamptz) - interval '2 seconds', :at, :at,
        CAST(:at AS timestamptz) + interval '0.5 seconds')
""")


def add_batch(connection: Connection, tenant: str, minutes_ago: int) -> None:
    at = connection.execute(
        text("SELECT date_trunc('minute', now()) - make_interval(mins => :ago) + interval '30 seconds'"),
        {"ago": minutes_ago},
    ).scalar_one()
    batch_id = first_made_at(at - timedelta(seconds=2))
    connection.execute(_BATCH, {"tenant": tenant, "batch_id": batch_id, "at": at})


def test_a_minute_has_what_was_received_in_it_and_how_long_that_took(connection: Connection) -> None:
    add_batch(connection, "demo", 1)
    add_batch(connection, "other", 1)
    minutes.record(connection, "demo")
    (minute,) = minutes.minutes(connection, "demo", timedelta(hours=1))
    assert (minute.received, minute.commit_ms_p50, minute.apply_ms_p99) == (10, 2_000, 500)
    assert (minute.pending, minute.refresh_due, minute.derive_ms) == (0, 0, None)
    assert minutes.minutes(connection, "other", timedelta(hours=1)) == []


def test_recording_again_changes_nothing(connection: Connection) -> None:
    add_batch(connection, "demo", 1)
    minutes.record(connection, "demo")
    before = minutes.minutes(connection, "demo", timedelta(hours=1))
    add_batch(connection, "other", 1)
    minutes.record(connection, "demo")
    assert minutes.minutes(connection, "demo", timedelta(hours=1)) == before


def test_minutes_that_were_not_recorded_are_recorded_later_without_what_waited_then(connection: Connection) -> None:
    for ago in (1, 3, 5):
        add_batch(connection, "demo", ago)
    connection.execute(
        text("INSERT INTO ingest.minute (tenant, minute_at, received) VALUES ('demo', :at, 10)"),
        {"at": connection.execute(text("SELECT date_trunc('minute', now()) - interval '5 minutes'")).scalar_one()},
    )
    minutes.record(connection, "demo")
    recorded = minutes.minutes(connection, "demo", timedelta(hours=1))
    assert [minute.received for minute in recorded] == [10, 0, 10, 0, 10]
    assert [minute.pending for minute in recorded] == [None, None, None, None, 0]


def test_minutes_are_kept_for_eight_days(connection: Connection) -> None:
    for days in (7, 9):
        connection.execute(
            text(
                "INSERT INTO ingest.minute (tenant, minute_at, received)"
                " SELECT 'demo', now() - make_interval(days => :days), 1"
            ),
            {"days": days},
        )
    minutes.prune(connection)
    assert len(minutes.minutes(connection, "demo", timedelta(days=30))) == 1
