"""What a listing shows, or a stored read has shown, costs no call of its own; and nothing is ended by an older read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from storage.sync import backfills, refresh_queue, sync_runs
from tests.support.deployment import Deployment
from tests.support.facts import sample
from tests.support.tenant import Tenant, tenant
from workers.sync.reconcile import sync_pages
from workers.sync.schedule import listed

CHANCE = Random(1)


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant whose pages hold ten entities; its clock is months behind ours."""
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=12) as made:
        yield made


def reads_of_one(living: Tenant, path: str) -> int:
    """How many entities of a path were read by themselves."""
    calls = living.simulator.guard.calls
    return sum(count for shape, count in calls.items() if shape.startswith(f"GET /public-api/resources/{path}/"))


def all_calls(living: Tenant) -> int:
    return living.simulator.guard.calls.total()


def age_requests(living: Tenant | Deployment) -> None:
    """Let a minute pass for the requests."""
    with living.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.refresh_request SET requested_at = requested_at - interval '1 minute'"))


def run(living: Tenant, kind: str, since: datetime | None, *, requested_at: datetime | None = None) -> None:
    """Make one sync run of one kind."""
    with living.service.engine.begin() as connection:
        made = sync_runs.begin(connection, "demo", kind, "backfill", since, requested_at=requested_at)
    assert made is not None
    for _ in sync_pages(living.context, made, reason="backfill"):
        pass


class TestBackfill:
    """What a backfill is about to list is not read one by one."""

    def test_authorizations_wait_for_their_listing_even_if_a_first_look_was_finished(self, living: Tenant) -> None:
        # Given a first look at the authorizations, and a backfill that has come to the sessions
        run(living, "authorization", living.now)
        with living.service.engine.begin() as connection:
            requested_at = backfills.request(connection, "demo", None, again=False)
        run(living, "session", None, requested_at=requested_at)
        wanted = living.service.count("ingest.refresh_request WHERE kind = 'authorization'")
        assert wanted > 20
        # When what is due is read beside it, even after a while
        with living.service.engine.begin() as connection:
            aged = "UPDATE ingest.refresh_request SET requested_at = requested_at - interval '1 hour'"
            connection.execute(text(aged))
        for _ in range(5):
            living.refresh()
        # Then no authorization is read by itself, and the backfill's listing ends all of the requests
        assert reads_of_one(living, "authorizations/v2.1") == 0
        run(living, "authorization", None, requested_at=requested_at)
        living.refresh()
        assert reads_of_one(living, "authorizations/v2.1") == 0
        assert living.service.count("ingest.refresh_request WHERE kind = 'authorization'") == 0

    def test_they_are_read_if_no_process_makes_the_backfill_any_more(self, living: Tenant) -> None:
        run(living, "authorization", living.now)
        with living.service.engine.begin() as connection:
            requested_at = backfills.request(connection, "demo", None, again=False)
        run(living, "session", None, requested_at=requested_at)
        with living.service.engine.begin() as connection:
            connection.execute(text("UPDATE ingest.sync_run SET moved_at = now() - interval '10 minutes'"))
        while living.service.count("ingest.refresh_request WHERE kind = 'authorization'"):
            living.refresh()
        sessions = living.service.query("SELECT authorization_id FROM charging.session")
        read = living.service.query("SELECT authorization_id FROM charging.authorization WHERE master_version > '1'")
        assert {row["authorization_id"] for row in read} >= {row["authorization_id"] for row in sessions}

    def test_what_sessions_name_is_listed_before_them(self, living: Tenant) -> None:
        for kind in listed(living.context.tenants["demo"]):
            if kind in ("authorization", "session"):
                run(living, kind, None)
        assert living.service.count("charging.session") > 20
        assert living.service.count("ingest.refresh_request WHERE kind = 'authorization'") == 0


class TestLate:
    """A notification of what a read has shown already costs nothing; a newer one costs what it must."""

    def test_late_and_repeated_notifications_of_what_was_read_cost_no_call(self, living: Tenant) -> None:
        # Given an hour whose notifications are late, and a reconcile in between
        living.sync_run(full=True)
        living.settle()
        living.live(minutes=60)
        held, living.under_way = living.under_way, []
        living.live(minutes=1)
        last_minute, living.under_way = living.under_way, []
        living.sync_run(full=False)
        living.settle()
        before = all_calls(living)
        # When they arrive, twice
        for _ in range(2):
            living.under_way = list(held)
            living.deliver(1.0, CHANCE, in_order=False)
            living.service.apply()
        living.refresh()
        # Then only CDRs, which are known by a reference, are looked up
        cdrs = sum(b'"cdr.received"' in body for body in held)
        assert all_calls(living) - before <= cdrs
        # And nothing is stale once the last minute's notifications arrive, too
        living.under_way = last_minute
        living.deliver(1.0, CHANCE, in_order=True)
        living.settle()
        assert living.differences()[1] == []

    def test_a_change_after_the_read_is_read(self, deployment: Deployment) -> None:
        # Given an EVSE that is read, and a change of which the notification comes late
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        deployment.refresh()
        (read,) = deployment.service.query("SELECT master_at, master_version FROM charging.evse")
        began_at = datetime.fromtimestamp(int(read["master_version"][1:21]) / 1e6, UTC)
        before = deployment.ampeco.calls["evses/v2.1/902"]
        # When the notification dates it before the read, and the read shows it: no call; otherwise one
        for changed_at, calls in (
            (read["master_at"], 0),
            (read["master_at"] + timedelta(seconds=1), 1),  # the read shows an older state, so the API lagged
            (began_at, 2),
            (began_at + timedelta(seconds=1), 3),
        ):
            deployment.deliver(sample("evse.changed") | {"lastUpdatedAt": changed_at.isoformat()})
            deployment.refresh()
            assert deployment.ampeco.calls["evses/v2.1/902"] - before == calls, changed_at

    @pytest.mark.parametrize("action", ["deleted", "restored"])
    def test_only_a_read_decides_on_a_deletion(self, deployment: Deployment, action: str) -> None:
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        deployment.refresh()
        del deployment.ampeco.resources["evses/v2.1/902"]
        (read,) = deployment.service.query("SELECT master_at FROM charging.evse")
        deployment.deliver(sample("evse.changed") | {"action": action, "lastUpdatedAt": read["master_at"].isoformat()})
        deployment.refresh()
        assert deployment.row("evse")["deleted_at"] is not None

    def test_many_late_changes_that_no_read_has_shown_cost_a_listing(self, living: Tenant) -> None:
        # Given a tenant that is known, and half an hour later, edits of which the notifications come after a while
        living.sync_run(full=True)
        living.settle()
        evses = living.simulator.fleet.tenant.live_evses()
        living.simulator.runner.pause()
        living.live(minutes=30)
        living.lose(1.0, CHANCE)
        for evse in evses:
            evse.label, evse.changed_at = f"{evse.label} (new)", living.now.replace(microsecond=0)
        living.live(minutes=20)
        living.lose(1.0, CHANCE)
        TestSyncRunEndsRequests.request(living, [evse.id for evse in evses])
        # When they are read
        living.refresh()
        # Then pages show them, and none is read by itself
        assert reads_of_one(living, "evses/v2.1") == 0
        assert living.service.count("ingest.refresh_request WHERE kind = 'evse'") == 0
        labels = {
            row["evse_id"]: row["physical_reference"] for row in living.service.query("SELECT * FROM charging.evse")
        }
        assert all(labels[evse.id] == evse.label for evse in evses)


class TestSyncRunEndsRequests:
    """A page resolves requests that were made before it was read, and no others."""

    @staticmethod
    def edit(living: Tenant, label: str) -> list[int]:
        evses = living.simulator.fleet.tenant.live_evses()
        for evse in evses:
            evse.label, evse.changed_at = label, living.now.replace(microsecond=0)
        return [evse.id for evse in evses]

    @staticmethod
    def request(living: Tenant, ids: list[int]) -> None:
        with living.service.engine.begin() as connection:
            for evse_id in ids:
                connection.execute(
                    text(
                        "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                        " VALUES ('demo', 'evse', :id, 'changed')"
                        " ON CONFLICT (tenant, kind, entity_id, reference)"
                        " DO UPDATE SET generation = refresh_request.generation + 1"
                    ),
                    {"id": evse_id},
                )

    def test_a_sync_run_ends_the_requests_of_what_it_has_read(self, living: Tenant) -> None:
        living.sync_run(full=True)
        living.settle()
        self.request(living, self.edit(living, "new"))
        age_requests(living)
        run(living, "evse", None)
        before = all_calls(living)
        living.refresh()
        assert all_calls(living) == before
        assert living.service.count("ingest.refresh_request WHERE kind = 'evse'") == 0
        assert {
            row["physical_reference"] for row in living.service.query("SELECT physical_reference FROM charging.evse")
        } == {"new"}

    @pytest.mark.parametrize("is_repeated", [False, True], ids=["first", "again"])
    def test_a_request_that_is_made_while_a_page_is_read_survives_it(self, living: Tenant, is_repeated: bool) -> None:
        # Given a listing during whose pages everything changes, and is requested, for the first time or again
        living.sync_run(full=True)
        living.settle()
        ids = self.edit(living, "old")
        if is_repeated:
            self.request(living, ids)
            age_requests(living)
        with living.service.engine.begin() as connection:
            made = sync_runs.begin(connection, "demo", "evse", "backfill", None)
        assert made is not None
        make_client = living.context.make_client

        def changing(*arguments: Any, **options: Any) -> Any:
            client = make_client(*arguments, **options)
            page = client.page

            def read(*of: Any, **by: Any) -> Any:
                answered = page(*of, **by)
                self.request(living, self.edit(living, "new"))
                age_requests(living)
                return answered

            client.page = read  # type: ignore[method-assign]
            return client

        living.context.make_client = changing
        next(iter(sync_pages(living.context, made, reason="backfill")))
        living.context.make_client = make_client
        # Then the page ends no request, and the reads show the changes
        assert living.service.count("ingest.refresh_request WHERE kind = 'evse'") == len(ids)
        living.settle()
        assert {
            row["physical_reference"] for row in living.service.query("SELECT physical_reference FROM charging.evse")
        } == {"new"}

    def test_an_entity_that_the_page_shows_in_an_older_state_stays_requested(self, living: Tenant) -> None:
        # Given sessions that are known better than the API shows them
        living.sync_run(full=True)
        living.settle()
        ids = [row["session_id"] for row in living.service.query("SELECT session_id FROM charging.session")][:3]
        with living.service.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE charging.session SET state_at = now(), state_version = '000:0000000000000000'"
                    " WHERE session_id = ANY(:ids)"
                ),
                {"ids": ids},
            )
            connection.execute(
                text(
                    "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                    " SELECT 'demo', 'session', unnest(CAST(:ids AS bigint[])), 'provisional'"
                ),
                {"ids": ids},
            )
        age_requests(living)
        run(living, "session", None)
        with living.service.engine.connect() as connection:
            assert refresh_queue.waiting(connection, "demo", "session", ids) == set(ids)


class TestCdrs:
    """A CDR that no listing shows is looked up ever less often, for a day."""

    REFERENCE = sample("cdr.received")["id"]

    @staticmethod
    def due_in(deployment: Deployment) -> float:
        (row,) = deployment.service.query(
            "SELECT extract(epoch FROM due_at - now()) AS seconds FROM ingest.refresh_request WHERE kind = 'cdr'"
        )
        return float(row["seconds"])

    def test_it_is_looked_up_ever_less_often(self, deployment: Deployment) -> None:
        deployment.deliver(sample("cdr.received"))
        waits = []
        for _ in range(6):
            deployment.refresh()
            waits.append(self.due_in(deployment))
        assert all(later > 1.5 * earlier for earlier, later in pairwise(waits[:4]))
        assert waits[0] > 60
        assert max(waits) < 10 * 3_600

    def test_after_a_day_it_is_given_up_and_reported(self, deployment: Deployment) -> None:
        deployment.deliver(sample("cdr.received"))
        deployment.refresh()
        assert deployment.waiting() == 1
        with deployment.service.engine.begin() as connection:
            aged = "UPDATE ingest.refresh_request SET requested_at = requested_at - interval '24 hours'"
            connection.execute(text(aged))
        deployment.refresh()
        # Then nothing is looked up any more, and status shows the notification as failed, with the reason
        assert deployment.waiting() == 0
        ((state, reason),) = deployment.service.states().values()
        assert (state, reason) == ("failed", "not listed")
        (total,) = deployment.service.query("SELECT closed, ignored, failed FROM ingest.total")
        assert total == {"closed": 1, "ignored": 0, "failed": 1}
        (outcome,) = deployment.service.query("SELECT error FROM ingest.outcome")
        assert self.REFERENCE in outcome["error"]

    def test_a_sync_run_that_shows_it_ends_the_lookup(self, deployment: Deployment) -> None:
        deployment.deliver(sample("cdr.received"))
        deployment.refresh()
        age_requests(deployment)
        ocpi = {"currency": "EUR", "totalCost": 8.77, "totalEnergy": 23.41}
        shown = {"id": 3001, "roamingId": self.REFERENCE, "isLocal": False, "ocpiData": ocpi}
        deployment.ampeco.answers["cdrs/v2.0"] = _listing([shown])
        with deployment.service.engine.begin() as connection:
            made = sync_runs.begin(connection, "demo", "cdr", "reconcile", None)
        assert made is not None
        list(sync_pages(deployment.context, made, reason="reconcile"))
        assert deployment.waiting() == 0
        assert deployment.row("cdr")["roaming_id"] == self.REFERENCE


def _listing(rows: list[dict[str, Any]]) -> Any:
    def answer(_request: Request) -> Response:
        return JSONResponse({"data": rows, "links": {"next": None}})

    return answer


class TestGone:
    """An entity that a read did not find is not read again because a session names it."""

    def gone(self, living: Tenant) -> list[int]:
        """Remove the EVSEs and charge points of all sessions, and let the service notice."""
        living.live(minutes=120)
        living.lose(1.0, CHANCE)
        fleet = living.simulator.fleet.tenant
        named = {session.evse_id for session in fleet.sessions.values()}
        for evse_id in named:
            fleet.evses[evse_id].is_deleted = True
        living.sync_run(full=True)
        living.settle()
        assert named
        return sorted(named)

    def test_sessions_of_evses_that_are_gone_cost_no_read_of_them(self, living: Tenant) -> None:
        evse_ids = self.gone(living)
        gone = "SELECT count(*) AS n FROM charging.evse WHERE deleted_at IS NOT NULL AND evse_id = ANY(:ids)"
        assert living.service.query(gone, ids=evse_ids) == [{"n": len(evse_ids)}]
        before = reads_of_one(living, "evses/v2.1")
        # When the sessions are reconciled again, in full
        living.sync_run(full=True)
        assert living.service.count("ingest.refresh_request") == 0
        living.settle()
        # Then no EVSE of theirs is read
        assert reads_of_one(living, "evses/v2.1") == before

    def test_a_session_that_started_since_has_the_evse_read_again(self, deployment: Deployment) -> None:
        # Given an EVSE that a read did not find, and that is back, without a word
        resource = deployment.ampeco.resources.pop("evses/v2.1/902")
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        deployment.refresh()
        assert deployment.row("evse")["deleted_at"] is not None
        deployment.ampeco.resources["evses/v2.1/902"] = resource
        # When a session of an earlier time names it, then it is not read
        deployment.deliver(sample("SessionUpdateNotification.finished"))
        deployment.refresh()
        assert deployment.ampeco.calls["evses/v2.1/902"] == 1
        # And when one names it that started since, it is
        update = sample("SessionUpdateNotification.active")
        started_at = (datetime.now(UTC) + timedelta(seconds=5)).isoformat(timespec="seconds")
        update["session"] |= {"id": "77999", "startedAt": started_at, "lastUpdatedAt": started_at}
        deployment.deliver(update)
        deployment.refresh()
        assert deployment.ampeco.calls["evses/v2.1/902"] == 2
        assert deployment.row("evse")["deleted_at"] is None

    def test_a_status_of_a_later_time_has_it_read_again(self, deployment: Deployment) -> None:
        deployment.ampeco.resources.pop("evses/v2.1/902")
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        deployment.refresh()
        deployment.deliver(sample("HardwareStatusNotification.faulted"))
        assert deployment.waiting() == 0
        later = {"timestamp": (datetime.now(UTC) + timedelta(seconds=5)).isoformat()}
        deployment.deliver(sample("HardwareStatusNotification.faulted") | later)
        waiting = deployment.service.query("SELECT kind, entity_id, reason FROM ingest.refresh_request")
        assert {"kind": "evse", "entity_id": 902, "reason": "gone"} in waiting
