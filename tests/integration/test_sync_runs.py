"""Sync runs through AMPECO's listings: what was missed is found and healed, and a sync run is never begun twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from ampeco.resources.kinds import KINDS
from storage.sync import sync_runs
from storage.sync.api_usage import spent
from storage.sync.completeness import KindCompleteness, completeness
from storage.sync.sync_runs import SyncRunStats
from tests.support.tenant import Tenant, tenant
from workers.api.rate_limit import CallDeferredError
from workers.sync.due_runs import run_due
from workers.sync.reconcile import sync_pages
from workers.sync.schedule import due_sync_runs

CHANCE = Random(1)


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant with more sessions than a page holds; its clock is months behind ours."""
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=5) as made:
        yield made


def report(living: Tenant, *, without: str = "") -> dict[str, KindCompleteness]:
    """Return the report by kind, as it is without a kind in ``mirror``."""
    kinds = {"demo": KINDS.keys() - {without}}
    with living.service.engine.connect() as connection:
        return {row.kind: row for row in completeness(connection, kinds, timedelta(days=1))}


def calls(living: Tenant) -> int:
    return living.simulator.guard.calls.total()


def due(living: Tenant, interval: timedelta = timedelta(minutes=15)) -> dict[str, datetime | None]:
    """The kinds whose walk is due, with what they are asked for."""
    found = due_sync_runs(living.context, interval)
    return {one.kind: one.changed_since for one in found if one.tenant == "demo"}


def test_what_no_notification_reported_is_found_healed_and_counted(living: Tenant) -> None:
    # Given a tenant that is known whole, and hours of which every notification is lost
    living.sync_run(full=True)
    living.settle()
    assert living.differences()[1] == []
    living.live(minutes=240)
    living.lose(1.0, CHANCE)
    assert living.differences()[1] != []
    # When what changed is reconciled
    living.sync_run(full=False)
    living.settle()
    # Then nothing differs, and the report says what was missed and how long
    assert living.differences()[1] == []
    session = report(living)["session"]
    assert session.missing > 0
    assert session.stale > 0
    assert session.healed == session.missing + session.stale
    assert session.behind_seconds is not None
    assert 1_800 < session.behind_seconds <= 4 * 3_600
    # And a second look finds nothing
    before = session.missing + session.stale
    living.sync_run(full=False)
    after = report(living)["session"]
    assert after.missing + after.stale == before
    assert after.compared > session.compared


def test_what_was_accepted_and_is_not_applied_yet_does_not_count_as_missed(living: Tenant) -> None:
    # Given a tenant that is known whole, and an hour whose notifications were accepted, and not applied yet
    living.sync_run(full=True)
    found = report(living)["session"]
    living.live(minutes=60)
    living.deliver(1.0, CHANCE, in_order=True)
    with living.service.engine.begin() as connection:  # as if they had come while the tenant's hour passed
        connection.execute(text("UPDATE ingest.batch SET first_received_at = '2026-03-04T08:00:00Z'"))
    # When what changed is reconciled, then it is healed, and does not count as missed
    living.sync_run(full=False)
    again = report(living)["session"]
    assert again.sync_runs > found.sync_runs
    assert (again.missing, again.stale) == (found.missing, found.stale)


def test_what_was_deleted_without_a_notification_gets_its_tombstone(living: Tenant) -> None:
    # Given a tenant that is known whole, and EVSEs that were taken down, without any notification
    living.sync_run(full=True)
    gone = living.simulator.fleet.tenant.live_evses()[:3]
    for evse in gone:
        evse.is_deleted = True
    living.live(minutes=5)
    living.lose(1.0, CHANCE)
    # When everything is compared
    living.reconcile()
    # Then they are deleted, their connectors are not lost, and nothing else is
    deleted = living.service.query("SELECT evse_id FROM charging.evse WHERE deleted_at IS NOT NULL")
    assert {row["evse_id"] for row in deleted} == {evse.id for evse in gone}
    assert report(living)["evse"].absent == 3
    assert living.differences()[1] == []


def test_a_sync_run_that_was_killed_continues_from_its_last_page(living: Tenant) -> None:
    # Given a backfill of several pages that ended after the first one
    engine = living.service.engine
    with engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "demo", "session", "backfill", None)
    assert sync_run is not None
    next(iter(sync_pages(living.context, sync_run, reason="backfill")))
    (row,) = living.service.query("SELECT * FROM ingest.sync_run")
    assert (row["pages"], row["finished_at"], row["compared"]) == (1, None, 10)
    # When another process takes it up
    living.hasten()
    with engine.begin() as connection:
        again = sync_runs.begin(connection, "demo", "session", "reconcile", None)
    assert again is not None
    assert again.sync_run_id == sync_run.sync_run_id
    before = calls(living)
    for _ in sync_pages(living.context, again, reason="backfill"):
        pass
    # Then it reads the other pages alone, and knows every session
    (row,) = living.service.query("SELECT * FROM ingest.sync_run")
    shown = len(list(living.client.sessions()))
    assert row["compared"] == shown > 10
    assert living.service.count("charging.session") == shown
    assert row["finished_at"] is not None
    assert calls(living) - before == row["pages"] - 1 + 1  # this test listed them, too


def test_a_backfill_of_late_changes_leaves_no_gap_behind(living: Tenant) -> None:
    living.reconcile()
    known = "SELECT changed_until FROM ingest.sync_cursor WHERE kind = 'location'"
    before = living.service.query(known)
    for hours, is_moved in ((1, False), (-1, True)):
        living.live(10)
        # When only what changed later, or earlier, than what is known until now is read
        since = before[0]["changed_until"] + timedelta(hours=hours)
        with living.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "location", "backfill", since)
        assert sync_run is not None
        assert [each.finished for each in sync_pages(living.context, sync_run, reason="backfill")] == [True]
        # Then what changed in between is still to be read, if there is such a time
        assert (living.service.query(known) != before) == is_moved


def test_what_changes_after_the_tenants_clock_was_set_back_is_found(living: Tenant) -> None:
    # Given a tenant whose sessions are known whole, and whose clock was years ahead when they were last read
    living.sync_run(full=True, kinds=["session"])
    with living.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.sync_cursor SET changed_until = changed_until + interval '9 years'"))
    # When the clock is right again, and every notification is lost
    living.live(minutes=240)
    living.lose(1.0, CHANCE)
    # Then the next sync run shows that, and the one after it reads everything
    living.sync_run(full=False, kinds=["session"])
    assert due(living)["session"] is None
    living.sync_run(full=True, kinds=["session"])
    assert report(living)["session"].healed > 0
    assert living.service.count("charging.session") == len(list(living.client.sessions()))
    # And those after it read what changes
    with living.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.sync_cursor SET checked_at = now() - interval '1 day'"))
    changed_since = due(living)["session"]
    assert changed_since is not None
    assert changed_since < living.now


def test_two_processes_never_sync_run_one_listing(living: Tenant) -> None:
    engine = living.service.engine
    with engine.begin() as connection:
        one = sync_runs.begin(connection, "demo", "session", "reconcile", None)
    assert one is not None
    # While one has claimed it, no other can
    with engine.begin() as connection:
        assert sync_runs.begin(connection, "demo", "session", "reconcile", None) is None
    # Once its lease is over another continues, and the first one finds out at its next page
    living.hasten()
    with engine.begin() as connection:
        other = sync_runs.begin(connection, "demo", "session", "reconcile", None)
    assert other is not None
    following = [("cursor", "x")]
    with engine.begin() as connection:
        assert sync_runs.move(connection, other, SyncRunStats(compared=100), began_at=living.now, following=following)
    with engine.begin() as connection:
        assert not sync_runs.move(connection, one, SyncRunStats(compared=100), began_at=living.now, following=following)
    (row,) = living.service.query("SELECT * FROM ingest.sync_run")
    assert (row["pages"], row["compared"]) == (1, 100)


def test_a_throttled_sync_run_is_no_success_and_continues_later(living: Tenant) -> None:
    with living.service.engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "demo", "session", "backfill", None)
    assert sync_run is not None
    syncing = sync_pages(living.context, sync_run, reason="backfill")
    next(syncing)
    living.set_faults(api_429=1.0)
    with pytest.raises(CallDeferredError):
        next(syncing)
    (row,) = living.service.query("SELECT * FROM ingest.sync_run")
    assert (row["pages"], row["finished_at"]) == (1, None)
    assert "429" in row["last_error"]
    assert living.service.query("SELECT * FROM ingest.sync_cursor") == []
    # And it is due again once the tenant's pause is over
    living.set_faults()
    living.hasten()
    while run_due(living.context, "demo", timedelta(hours=1)):
        pass
    assert living.service.query("SELECT * FROM ingest.sync_run WHERE kind = 'session' AND finished_at IS NULL") == []
    assert living.service.count("charging.session") == len(list(living.client.sessions()))


def test_a_kind_that_may_not_be_read_holds_up_no_other_sync_run(living: Tenant) -> None:
    living.set_faults(api_forbidden=["sessions"])
    run_due(living.context, "demo", timedelta(hours=1))
    assert living.service.count("charging.session") == 0
    assert living.service.count("charging.evse") == len(living.simulator.fleet.tenant.live_evses()) > 0
    forbidden = "SELECT kind FROM ingest.inaccessible_kind WHERE reason = 'forbidden'"
    assert living.service.query(forbidden) == [{"kind": "session"}]
    # And it is not asked for again at once
    assert "session" not in due(living, timedelta(seconds=1))


def test_sync_runs_are_due_by_the_clock_and_not_before(living: Tenant) -> None:
    # Given a tenant that was never read, everything but what can only be read whole is due
    first = due(living)
    assert {"location", "charge_point", "evse", "session", "transaction"} <= first.keys()
    assert "cdr" in first
    # And once that was done, nothing is until the interval is over
    while run_due(living.context, "demo", timedelta(minutes=15)):
        pass
    assert due(living) == {}
    with living.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.sync_cursor SET checked_at = now() - interval '16 minutes'"))
    again = due(living)
    assert {"evse", "session"} <= again.keys()
    assert again["session"] is not None


def test_many_changes_cost_one_listing_and_the_calls_are_counted(living: Tenant) -> None:
    # Given a tenant that is known whole, and ten EVSEs that somebody edits
    living.sync_run(full=True)
    living.settle()
    for evse in living.simulator.fleet.tenant.live_evses():
        evse.label += " (new)"
        evse.changed_at = living.now
    with living.service.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason, generation, requested_at)"
                " SELECT tenant, 'evse', evse_id, 'changed', 3, '2026-03-04T08:00:00Z' FROM charging.evse "
            )
        )
    # When they are read
    before = calls(living)
    living.refresh()
    # Then one page showed all of them, and thirty requests saved the other calls
    assert calls(living) - before <= 2
    assert living.service.count("ingest.refresh_request") == 0
    assert living.differences()[1] == []
    living.context.usage.write(living.service.engine)
    with living.service.engine.connect() as connection:
        counted = spent(connection, ["demo"], timedelta(hours=2))["demo"]
    assert counted["refresh"].made + counted["refresh"].saved >= 3 * living.service.count("charging.evse")
    assert counted["reconcile"].made > 5


def test_statuses_missed_while_we_were_down_are_in_the_history(living: Tenant) -> None:
    # Given a tenant that is known whole, and hours whose notifications are lost
    living.sync_run(full=True)
    living.live(minutes=300)
    living.lose(1.0, CHANCE)
    # When it is reconciled
    living.sync_run(full=True)
    # Then each status that the log of a changed EVSE holds since then was observed, and says by whom
    changed = [evse for evse in living.simulator.fleet.tenant.live_evses() if len(evse.hardware) > 1]
    row = {one["evse_id"]: one["hardware_status"] for one in living.service.query("SELECT * FROM charging.evse")}
    repaired = 0
    for evse in changed:
        assert row[evse.id] == evse.status
        observed = living.service.query(
            "SELECT observed_at, hardware_status, source FROM charging.evse_status_observation"
            f" WHERE evse_id = {evse.id} AND source = 'status_log'"
        )
        if not observed:
            continue  # it is as it was
        repaired += 1
        stored = {(one["observed_at"], one["hardware_status"]) for one in observed}
        since = min(at for at, _ in stored)
        assert stored == {(change.at, change.status) for change in evse.hardware if change.at >= since}
    assert repaired > 0


def test_a_kind_that_is_no_longer_read_has_no_sync_run_that_cannot_continue(living: Tenant) -> None:
    # Given a kind whose listing the token may not read
    living.set_faults(api_forbidden=["users"])
    living.sync_run(full=True, kinds=["user"])
    assert report(living)["user"].trouble is not None
    # When its group is left out of the kinds that are read, then it is no trouble
    assert report(living, without="user")["user"].trouble is None
