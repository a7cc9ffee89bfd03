"""Batches that wait to be applied are shown with the reason."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, text

from storage.inbox import attempts
from storage.reports.overview import OldestPending, oldest_pending, overview
from storage.state.unknown_fields import MAX_SHOWN
from tests.support.batches import claim, commit, group


def test_the_oldest_pending_batch_and_its_reason_can_be_asked_for(database_url: str, engine: Engine) -> None:
    with engine.connect() as connection:
        assert oldest_pending(connection) == OldestPending(None, None, 0)
    # Given two batches, of which the younger was tried in vain
    commit(database_url, group("a", b"1"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET committed_at = now() - interval '1 hour'"))
    tried = group("b", b"2", b"3")
    commit(database_url, tried)
    claim(engine)
    claim(engine)
    with engine.begin() as connection:
        attempts.retry_later(connection, "b", [tried.batch_id], after=timedelta(0), error="DiskFull: no space left")
    # Then the age is that of the older, the reason that of the younger
    with engine.connect() as connection:
        found = oldest_pending(connection)
        tenants = {one.tenant: one for one in overview(connection, ["a", "b"])}
    assert found.seconds is not None
    assert found.seconds >= 3600
    assert (found.reason, found.batches) == ("DiskFull: no space left", 2)
    assert (tenants["a"].pending_reason, tenants["b"].pending_reason) == (None, "DiskFull: no space left")


def test_unknown_names_are_counted_beyond_those_that_are_shown(engine: Engine) -> None:
    with engine.begin() as connection:
        # Given as many names as are shown, an older one, and an older one that this release knows
        connection.execute(
            text("""
            INSERT INTO ingest.unknown_field (tenant, what, model, name, times, first_seen_at, last_seen_at)
            SELECT 'a', 'field', 'Model' || number, 'newField', 1, now(), now()
              FROM generate_series(1, :shown) AS number
            UNION ALL
            SELECT 'b', 'type', '', name, 1, now() - interval '1 day', now() - interval '1 day'
              FROM unnest(ARRAY['issue.changed', 'BootNotification']) AS name
            """),
            {"shown": MAX_SHOWN},
        )
        # Then each tenant's names are counted
        counts = {each.tenant: each.unknown_names for each in overview(connection, ["a", "b"])}
    assert counts == {"a": MAX_SHOWN, "b": 1}
