"""Every kind of entity: from the notification that names it to the row that shows it, or to who may not see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ampeco.resources.kinds import KINDS
from storage.schema.entities import MIRRORS
from storage.sync import inaccessible_kinds, sync_runs
from tests.support.deployment import Deployment
from tests.support.facts import recent, sample
from workers.api.rate_limit import CallDeferredError
from workers.broker import create_broker
from workers.sync.reconcile import sync_pages
from workers.sync.refresh import refresh_tenant
from workers.sync.refresh_reader import MAX_REFUSED_IN_A_ROW
from workers.wake_ups import wake_refreshes

LATER = {"lastUpdatedAt": "2026-03-04T09:00:00+00:00"}

#: A notification of each kind that is read by one call, the id that it names, and what the read shows.
READ: list[tuple[str, str, int, dict[str, Any]]] = [
    ("authorization.changed", "authorization", 90233, {"status": "accepted", "evseId": 902, "sessionIds": [77120]}),
    ("transaction.changed", "transaction", 44102, {"status": "finalized", "totalAmount": 10.53, "currency": "EUR"}),
    ("reservation.changed", "reservation", 811, {"status": "active", "duration": 15, "evseId": 902}),
    ("TariffChangedNotification", "tariff", 12, {"name": "DC", "pricing": {"pricePerKwh": 0.49}, "currency": "EUR"}),
    ("UserChangedNotification", "user", 5511, {"email": "driver@example.com"}),
    ("partner.changed.updated", "partner", 31, {"name": "Harbour Fleet"}),
    ("circuit.changed", "circuit", 9, {"name": "Garage"}),
    ("idTag.changed", "id_tag", 615, {"idTagUid": "04A1B2C3D4"}),
    ("parkingSpace.occupancyStatus.changed", "parking_space", 51, {"occupancyStatus": "occupied"}),
    ("installerJob.changed", "installer_job", 15, {"status": "new"}),
    ("partnerInvite.changed", "partner_invite", 77, {"status": "sent"}),
    ("settlementReport.created", "settlement_report", 61, {"number": "SR-2026-02-31"}),
    ("roamingPlatform.changed", "roaming_platform", 2, {"protocol": "OCPI"}),
    ("SubOperatorChangedNotification", "sub_operator", 4, {"name": "North"}),
    ("user.subscription.changed", "subscription_plan", 2, {"type": "pre-paid"}),
]


def shown(deployment: Deployment, kind: str) -> list[dict[str, Any]]:
    mirror = MIRRORS[kind]
    matches = mirror.matches("shown", tenant="shown.tenant")
    return deployment.service.query(
        f"SELECT * FROM charging.{mirror.name} AS shown WHERE {matches} ORDER BY {mirror.key}"
    )


def answer(deployment: Deployment, kind: str, entity_id: int, **fields: Any) -> None:
    deployment.ampeco.resources[KINDS[kind].path_of(entity_id)] = {"id": entity_id, **LATER, **fields}


@pytest.mark.parametrize(("name", "kind", "entity_id", "fields"), READ, ids=[kind for _, kind, _, _ in READ])
def test_what_a_notification_names_is_read_and_kept(
    deployment: Deployment, name: str, kind: str, entity_id: int, fields: dict[str, Any]
) -> None:
    # Given an AMPECO that shows the entity
    answer(deployment, kind, entity_id, **fields)
    # When a notification names it
    deployment.deliver(sample(name))
    deployment.refresh()
    # Then its row is what the API shows, and nothing waits
    (row,) = shown(deployment, kind)
    assert row[MIRRORS[kind].key] == entity_id
    assert row["raw"] == {"id": entity_id, **LATER, **fields}
    assert row["master_at"].isoformat() == LATER["lastUpdatedAt"]
    assert row["deleted_at"] is None
    assert deployment.service.count("ingest.refresh_request") == 0


def test_every_kind_that_a_notification_names_is_tested_here() -> None:
    notified = {name for name, kind in KINDS.items() if kind.read_rules}
    assert {kind for _, kind, _, _ in READ} == notified - {"session", "charge_point", "evse", "location", "cdr"}


def test_the_columns_of_commerce_are_filled(deployment: Deployment) -> None:
    for name, kind, entity_id, fields in READ[:4]:
        answer(deployment, kind, entity_id, **fields)
        deployment.deliver(sample(name))
    deployment.refresh()
    (authorization,), (transaction,) = shown(deployment, "authorization"), shown(deployment, "transaction")
    (reservation,), (tariff,) = shown(deployment, "reservation"), shown(deployment, "tariff")
    assert (authorization["evse_id"], authorization["session_ids"]) == (902, [77120])
    assert (str(transaction["total_amount"]), transaction["currency"]) == ("10.53", "EUR")
    assert (reservation["duration_minutes"], reservation["status"]) == (15, "active")
    assert (str(tariff["price_per_kwh"]), tariff["currency"]) == ("0.49", "EUR")


def test_an_entity_without_a_time_of_its_own_counts_from_its_read(deployment: Deployment) -> None:
    answer(deployment, "circuit", 9, lastUpdatedAt=None, name="Garage")
    deployment.deliver(sample("circuit.changed"))
    deployment.refresh()
    answer(deployment, "circuit", 9, lastUpdatedAt=None, name="Roof")
    deployment.deliver(sample("circuit.changed"))
    deployment.refresh()
    (row,) = shown(deployment, "circuit")
    assert row["raw"]["name"] in ("Garage", "Roof")  # within one second of the tenant's clock, by the read's begin
    assert row["raw"]["name"] == "Roof"


def test_entities_of_different_kinds_with_one_id_are_different_entities(deployment: Deployment) -> None:
    answer(deployment, "partner", 9, name="Harbour Fleet")
    answer(deployment, "circuit", 9, name="Garage")
    deployment.deliver(sample("circuit.changed"), sample("partner.changed.updated") | {"partnerId": 9})
    deployment.refresh()
    assert [row["raw"]["name"] for kind in ("partner", "circuit") for row in shown(deployment, kind)] == [
        "Harbour Fleet",
        "Garage",
    ]
    assert len(shown(deployment, "partner")) == 1


def test_any_kind_that_is_gone_gets_a_tombstone(deployment: Deployment) -> None:
    answer(deployment, "partner", 31, name="Harbour Fleet")
    deployment.deliver(sample("partner.changed.updated"))
    deployment.refresh()
    deployment.ampeco.resources.clear()
    deployment.deliver(sample("partner.changed.deleted"))
    deployment.refresh()
    (row,) = shown(deployment, "partner")
    assert row["deleted_at"] is not None
    assert row["raw"]["name"] == "Harbour Fleet"


class TestCdrs:
    ROAMING_ID = "8f0e5a0e-6d3c-4f9d-9d8f-1f8f0a2b7711"

    @staticmethod
    def cdr(number: int, **fields: Any) -> dict[str, Any]:
        ocpi = {"currency": "EUR", "totalCost": 8.77, "totalEnergy": 23.41}
        return {"id": number, "roamingId": TestCdrs.ROAMING_ID, "isLocal": False, "ocpiData": ocpi, **LATER, **fields}

    def test_a_cdr_is_looked_up_by_the_id_that_its_sender_gave_it(self, deployment: Deployment) -> None:
        deployment.ampeco.listings["cdrs/v2.0", self.ROAMING_ID] = [self.cdr(3001), self.cdr(3002, credit=True)]
        deployment.deliver(sample("cdr.received"), sample("cdr.received"))
        deployment.refresh()
        received, credit = shown(deployment, "cdr")
        assert (received["cdr_id"], received["roaming_id"]) == (3001, self.ROAMING_ID)
        assert (str(received["energy_wh"]), str(received["amount_without_tax"])) == ("23410.00", "8.77")
        assert (credit["cdr_id"], credit["is_credit"]) == (3002, True)
        assert deployment.ampeco.calls == {"cdrs/v2.0": 1}
        assert deployment.service.count("ingest.refresh_request") == 0

    def test_a_cdr_that_is_not_listed_yet_is_looked_up_again_and_makes_no_tombstone(
        self, deployment: Deployment
    ) -> None:
        deployment.deliver(sample("cdr.received"))
        for _ in range(4):
            deployment.refresh()
        assert shown(deployment, "cdr") == []
        (request,) = deployment.service.query("SELECT * FROM ingest.refresh_request")
        assert (request["reference"], request["last_error"]) == (self.ROAMING_ID, "no listing shows it yet")
        deployment.ampeco.listings["cdrs/v2.0", self.ROAMING_ID] = [self.cdr(3001)]
        deployment.refresh()
        assert len(shown(deployment, "cdr")) == 1
        assert deployment.service.count("ingest.refresh_request") == 0

    def test_a_listing_that_is_missing_makes_the_kind_inaccessible_and_not_one_read_fail(
        self, deployment: Deployment
    ) -> None:
        deployment.ampeco.answers["cdrs/v2.0"] = lambda _request: JSONResponse({"message": "Not Found"}, 404)
        deployment.deliver(sample("cdr.received"))
        deployment.refresh()
        assert deployment.service.query("SELECT kind, reason FROM ingest.inaccessible_kind") == [
            {"kind": "cdr", "reason": "not_offered"}
        ]

    def test_our_own_cdrs_and_those_of_partners_are_reconciled_by_a_filter_each(self, deployment: Deployment) -> None:
        # Given CDRs that only one of the two filters shows, on two pages each
        pages = {
            "filter[sentAfter]": [[self.cdr(1, isLocal=True)], [self.cdr(2, isLocal=True)]],
            "filter[receivedAfter]": [[self.cdr(3)], [self.cdr(4)]],
        }
        asked: list[str] = []

        def listing(request: Request) -> Response:
            (name,) = pages.keys() & request.query_params.keys()
            number = int(request.query_params.get("cursor", "0"))
            asked.append(f"{name} {request.query_params[name]} {number}")
            link = None if number else f"{request.url}&cursor=1"
            return JSONResponse({"data": pages[name][number], "links": {"next": link}})

        deployment.ampeco.answers["cdrs/v2.0"] = listing
        since = datetime(2026, 3, 4, 7, tzinfo=UTC)
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "cdr", "reconcile", since)
        assert sync_run is not None
        # When a process is stopped after each page, and another one continues
        for _ in range(4):
            assert not sync_run.finished
            next(sync_pages(deployment.context, sync_run, reason="reconcile"))
            if not sync_run.finished:
                with deployment.service.engine.begin() as connection:
                    connection.execute(text("UPDATE ingest.sync_run SET lease_expires_at = NULL"))
                    claimed = sync_runs.begin(connection, "demo", "cdr", "reconcile", None)
                assert claimed is not None
                sync_run = claimed
        # Then each page was read once, and all CDRs are stored
        assert sync_run.finished
        assert asked == [
            f"{name} 2026-03-04T07:00:00Z {number}"
            for name in ("filter[sentAfter]", "filter[receivedAfter]")
            for number in (0, 1)
        ]
        assert [row["cdr_id"] for row in shown(deployment, "cdr")] == [1, 2, 3, 4]

    def test_a_session_names_the_cdrs_that_are_read(self, deployment: Deployment) -> None:
        deployment.ampeco.resources["sessions/v1.0/77120"] |= {"roaming": {"cdrIds": [3001]}}
        deployment.ampeco.resources["cdrs/v2.0/3001"] = self.cdr(3001)
        deployment.deliver(sample("session.start.stop.notification.stop"))
        deployment.refresh()
        deployment.refresh()
        assert [row["cdr_id"] for row in shown(deployment, "cdr")] == [3001]


class TestForbidden:
    """What the token may not read is reported once, waits, and is asked for once an hour."""

    @pytest.fixture
    def refused(self, deployment: Deployment) -> Deployment:
        deployment.ampeco.forbidden = {"users"}
        for user_id in range(1, 6):
            deployment.deliver(sample("userBalance.changed") | {"userId": user_id, "transactionId": None})
        deployment.refresh()
        return deployment

    @staticmethod
    def asked(deployment: Deployment) -> int:
        return sum(calls for path, calls in deployment.ampeco.calls.items() if path.startswith("users/"))

    def test_one_read_finds_out_and_all_of_the_kind_wait(self, refused: Deployment) -> None:
        for _ in range(3):
            refused.refresh()
        assert self.asked(refused) == 1
        assert refused.service.count("ingest.refresh_request") == 5
        with refused.service.engine.connect() as connection:
            (forbidden,) = inaccessible_kinds.inaccessible_kinds(connection, {"demo": {"user"}})
        assert (forbidden.tenant, forbidden.kind, forbidden.waiting) == ("demo", "user", 5)
        assert "403" in forbidden.error

    def test_no_worker_is_woken_for_what_waits(self, refused: Deployment) -> None:
        broker = create_broker(refused.context.redis)
        assert wake_refreshes(refused.context, broker) == 0

    def test_other_kinds_are_still_read(self, refused: Deployment) -> None:
        answer(refused, "circuit", 9, name="Garage")
        refused.deliver(sample("circuit.changed"))
        refused.refresh()
        assert len(shown(refused, "circuit")) == 1

    def test_after_an_hour_one_read_asks_again(self, refused: Deployment) -> None:
        self.an_hour_later(refused)
        refused.refresh()
        assert self.asked(refused) == 2
        with refused.service.engine.connect() as connection:
            (forbidden,) = inaccessible_kinds.inaccessible_kinds(connection, {"demo": {"user"}})
        assert forbidden.first_refused_at < forbidden.last_refused_at
        assert refused.service.count("ingest.refresh_request") == 5

    def test_once_it_is_allowed_everything_is_read_and_the_refusal_is_gone(self, refused: Deployment) -> None:
        refused.ampeco.forbidden = set()
        for user_id in range(1, 6):
            answer(refused, "user", user_id, status="enabled")
        self.an_hour_later(refused)
        while refused.refresh():
            pass
        assert len(shown(refused, "user")) == 5
        assert refused.service.count("ingest.refresh_request") == 0
        assert refused.service.count("ingest.inaccessible_kind") == 0

    def test_a_sync_run_asks_no_sooner_than_a_read_and_lifts_the_refusal_as_well(self, refused: Deployment) -> None:
        # Given a kind that a read found refused
        with refused.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "user", "reconcile", None)
        assert sync_run is not None
        # When a sync run comes to it within the hour, then it asks nothing
        with pytest.raises(CallDeferredError):
            list(sync_pages(refused.context, sync_run, reason="reconcile"))
        assert self.asked(refused) == 1
        # And when it comes after the hour and may read it, then the refusal is gone
        refused.ampeco.forbidden = set()
        self.an_hour_later(refused)
        list(sync_pages(refused.context, sync_run, reason="reconcile"))
        assert refused.service.count("ingest.inaccessible_kind") == 0

    def test_a_pause_of_the_tenant_uses_up_no_trial(self, refused: Deployment) -> None:
        # Given a tenant that is paused when the hour is over
        self.an_hour_later(refused)
        refused.context.redis.set("ampeco-receiver:pause:demo", "maintenance", px=60_000)
        refresh_tenant(refused.context, "demo")
        with refused.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "user", "reconcile", None)
        assert sync_run is not None
        with pytest.raises(CallDeferredError, match="maintenance"):
            list(sync_pages(refused.context, sync_run, reason="reconcile"))
        assert self.asked(refused) == 1
        # Then the kind is tried as soon as the tenant may be called again
        refused.context.redis.delete("ampeco-receiver:pause:demo")
        refused.refresh()
        assert self.asked(refused) == 2

    def test_status_shows_it(self, refused: Deployment) -> None:
        from receiver.commands.status_tables import inaccessible_table
        from receiver.terminal import console

        with refused.service.engine.connect() as connection, console.capture() as shown:
            console.print(inaccessible_table(inaccessible_kinds.inaccessible_kinds(connection, {"demo": {"user"}})))
        assert "user" in shown.get()
        assert "403" in shown.get()

    @staticmethod
    def an_hour_later(deployment: Deployment) -> None:
        with deployment.service.engine.begin() as connection:
            connection.execute(text("UPDATE ingest.inaccessible_kind SET ask_again_at = now()"))


class TestOneForbidden:
    """A kind that is listed may be read: what is refused of it is refused for itself."""

    @pytest.fixture
    def synced(self, deployment: Deployment) -> Deployment:
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "user", "backfill", None)
        assert sync_run is not None
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
        for user_id in range(1, 6):
            answer(deployment, "user", user_id, status="enabled")
        return deployment

    @staticmethod
    def deliver(deployment: Deployment) -> None:
        for user_id in range(1, 6):
            deployment.deliver(sample("userBalance.changed") | {"userId": user_id, "transactionId": None})
        deployment.refresh()

    def test_its_neighbours_are_read_and_it_is_tried_again_later(self, synced: Deployment) -> None:
        synced.ampeco.forbidden = {"users/v1.1/1", "users/v1.1/3"}
        self.deliver(synced)
        assert [row[MIRRORS["user"].key] for row in shown(synced, "user")] == [2, 4, 5]
        assert synced.service.count("ingest.inaccessible_kind") == 0
        left = synced.service.query("SELECT entity_id, attempts, last_error FROM ingest.refresh_request ORDER BY 1")
        assert [(row["entity_id"], row["attempts"]) for row in left] == [(1, 1), (3, 1)]
        assert all("403" in row["last_error"] for row in left)

    def test_several_in_a_row_speak_for_the_kind_all_the_same(self, synced: Deployment) -> None:
        single = {f"users/v1.1/{user_id}" for user_id in range(1, 6)}
        synced.ampeco.forbidden = single
        self.deliver(synced)
        assert sum(synced.ampeco.calls[path] for path in single) == MAX_REFUSED_IN_A_ROW
        assert synced.service.count("ingest.inaccessible_kind") == 1


class TestNotOffered:
    """A 404 makes a tombstone only if the record is missing, and not if the tenant lacks the kind."""

    @staticmethod
    def refuse(deployment: Deployment, message: str, *, listing: bool) -> None:
        """Answer the reads of partners with a 404, and their listing, too, if ``listing``."""

        def answer_404(_request: Request) -> Response:
            return JSONResponse({"message": message}, 404)

        deployment.ampeco.answers |= {f"partners/v2.0/{partner_id}": answer_404 for partner_id in (1, 2)}
        if listing:
            deployment.ampeco.answers["partners/v2.0"] = answer_404

    @staticmethod
    def deliver(deployment: Deployment) -> None:
        for partner_id in (1, 2):
            answer(deployment, "partner", partner_id, name="P")
            deployment.deliver(recent("partner.changed.updated") | {"partnerId": partner_id})
        deployment.refresh()

    @pytest.mark.parametrize(
        ("message", "listing_answers"),
        [
            ("No query results for model [App\\Partner] 1", False),
            ("The record is not found", False),
            ("", True),
            ("Not Found", True),
        ],
    )
    def test_a_missing_record_is_gone(self, deployment: Deployment, message: str, listing_answers: bool) -> None:
        self.deliver(deployment)
        self.refuse(deployment, message, listing=not listing_answers)
        self.deliver(deployment)
        assert all(
            row["deleted_at"] is not None
            for row in deployment.service.query("SELECT deleted_at FROM charging.resource")
        )
        assert deployment.service.count("ingest.inaccessible_kind") == 0

    @pytest.mark.parametrize(
        ("message", "listing_answers"),
        [
            ("Feature is not enabled", True),
            ("The route public-api/resources/partners/v2.0/1 could not be found.", True),
            ("", False),
            ("Not Found", False),
        ],
    )
    def test_a_kind_that_is_not_offered_keeps_its_entities(
        self, deployment: Deployment, message: str, listing_answers: bool
    ) -> None:
        self.deliver(deployment)
        self.refuse(deployment, message, listing=not listing_answers)
        self.deliver(deployment)
        assert [row["deleted_at"] for row in deployment.service.query("SELECT deleted_at FROM charging.resource")] == [
            None
        ] * 2
        (kind,) = deployment.service.query("SELECT kind, reason, error FROM ingest.inaccessible_kind")
        assert (kind["kind"], kind["reason"]) == ("partner", "not_offered")
        assert "404" in kind["error"]

    def test_a_listing_that_is_not_offered_waits_as_well(self, deployment: Deployment) -> None:
        self.refuse(deployment, "Not Found", listing=True)
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "partner", "backfill", None)
        assert sync_run is not None
        with pytest.raises(CallDeferredError):
            list(sync_pages(deployment.context, sync_run, reason="backfill"))
        assert deployment.service.query("SELECT reason FROM ingest.inaccessible_kind") == [{"reason": "not_offered"}]

    @pytest.mark.parametrize("status", [404, 422])
    def test_a_page_that_is_refused_in_the_middle_of_a_listing_makes_the_sync_run_start_over(
        self, deployment: Deployment, status: int
    ) -> None:
        refused = [status]

        def listing(request: Request) -> Response:
            if "cursor" not in request.query_params:
                return JSONResponse({"data": [], "links": {"next": f"{request.url}&cursor=1"}})
            if refused:
                return JSONResponse({"message": "Not Found"}, refused.pop())
            return JSONResponse({"data": [{"id": 7, **LATER}], "links": {"next": None}})

        deployment.ampeco.answers["partners/v2.0"] = listing
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "partner", "backfill", None)
        assert sync_run is not None
        with pytest.raises(CallDeferredError):
            list(sync_pages(deployment.context, sync_run, reason="backfill"))
        assert deployment.service.count("ingest.inaccessible_kind") == 0
        with deployment.service.engine.begin() as connection:
            again = sync_runs.begin(connection, "demo", "partner", "backfill", None, at_once=True)
        assert again is not None
        assert (again.sync_run_id, again.following) == (sync_run.sync_run_id, None)
        list(sync_pages(deployment.context, again, reason="backfill"))
        assert again.finished
        assert deployment.service.count("charging.resource") == 1

    def test_it_is_tried_after_an_hour_and_then_ever_less_often_until_once_a_day(self, deployment: Deployment) -> None:
        with deployment.service.engine.begin() as connection:
            inaccessible_kinds.record_inaccessible(connection, "demo", "partner", "not_offered", "404")
        hours = []
        for refused_for in ("1 hour", "3 hours", "30 hours"):
            with deployment.service.engine.begin() as connection:
                connection.execute(
                    text(
                        "UPDATE ingest.inaccessible_kind SET ask_again_at = now(),"
                        f" first_refused_at = now() - interval '{refused_for}'"
                    )
                )
                assert inaccessible_kinds.permission_to_read(connection, "demo", "partner") == "trial"
                assert inaccessible_kinds.permission_to_read(connection, "demo", "partner") == "refused"
            (row,) = deployment.service.query(
                "SELECT round(extract(epoch FROM ask_again_at - now()) / 3600) AS hours FROM ingest.inaccessible_kind"
            )
            hours.append(int(row["hours"]))
        assert hours == [1, 3, 24]
