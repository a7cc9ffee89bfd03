"""What is mirrored: the kinds of a tenant's groups, by their listings, with the columns that reports are built on."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from starlette.responses import JSONResponse

from ampeco.resources.kinds import KINDS
from storage.schema.entities import MIRRORS
from storage.sync import sync_runs
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import sample
from workers.sync import due_runs
from workers.sync.due_runs import run_due
from workers.sync.reconcile import sync_pages
from workers.sync.schedule import Part, due_sync_runs, listed

INTERVAL = timedelta(minutes=15)

DOWN = {
    "chargePointId": 418,
    "locationId": 31,
    "startedAt": "2026-03-04T07:00:00+00:00",
    "endedAt": None,
    "entryMode": "automatic",
    "type": "downtime",
    "statuses": {"system": "out of order", "network": "temporarily unavailable", "hardware": "SuspendedEV"},
}

#: An entity of each kind with a table that only listings show, and some of its columns.
SHOWN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "evse_downtime_period",
        {"evseId": 902, **DOWN},
        {
            "evse_id": 902,
            "type": "downtime",
            "entry_mode": "automatic",
            "ended_at": None,
            "system_status": "out_of_order",
            "network_status": "temporarily_unavailable",
            "hardware_status": "suspendedEV",
        },
    ),
    ("charge_point_downtime_period", {**DOWN, "noticeId": 3}, {"charge_point_id": 418, "notice_id": 3}),
    ("downtime_period_notice", {"type": "exempt", "notice": "Road works"}, {"type": "exempt", "notice": "Road works"}),
    ("charge_point_vendor", {"name": "Harbour"}, {"name": "Harbour"}),
    ("charge_point_model", {"name": "H-50", "vendorId": 7}, {"name": "H-50", "vendor_id": 7}),
    (
        "vendor_error_code",
        {"vendorId": "harbour", "errorCode": "E12", "errorCodeDescription": "Fan"},
        {"vendor_id": "harbour", "error_code": "E12", "error_code_description": "Fan"},
    ),
    ("payment_terminal", {"terminalType": "Pax", "serialNumber": "P1"}, {"terminal_type": "Pax"}),
    ("tariff_group", {"name": "Public", "tariffIds": [12, 13]}, {"name": "Public", "tariff_ids": [12, 13]}),
    (
        "receipt",
        {"receiptNo": "R-1", "totalKwh": 12.5, "totalAmount": 6.2, "tax": {"taxPercentage": 20}},
        {"number": "R-1", "energy_wh": Decimal(12500), "total_amount": Decimal("6.2"), "tax_percent": Decimal(20)},
    ),
    (
        "invoice",
        {"number": "I-1", "type": "credit_note", "date": "2026-03-31T22:00:00+00:00", "taxRate": 20},
        {"number": "I-1", "type": "credit_note", "tax_percent": Decimal(20)},
    ),
    ("subscription", {"planId": 2, "userId": 5511, "status": "active"}, {"plan_id": 2, "status": "active"}),
    (
        "partner_contract",
        {"partnerId": 31, "revenueSharing": {"partnerSharePercentageAcEvse": 70}, "monthlyPlatformFees": []},
        {"partner_id": 31, "partner_share_ac_percent": Decimal(70), "monthly_fee_per_ac_evse": None},
    ),
    (
        "partner_revenue",
        {"chargingSessionId": 77120, "totalAmount": {"withoutTax": 4.5}, "partnerShare": 3, "currencyCode": "EUR"},
        {"session_id": 77120, "amount_without_tax": Decimal("4.5"), "partner_share": Decimal(3), "currency": "EUR"},
    ),
    (
        "partner_expense",
        {"origin": "platform-fee-cpo", "operatorDiscountPercentage": 5},
        {"origin": "platform-fee-cpo", "discount_percent": Decimal(5)},
    ),
    ("roaming_operator", {"role": "cpo", "enabled": True, "partyId": "HRB"}, {"role": "cpo", "is_enabled": True}),
]


def sync(deployment: Deployment, kind: str) -> None:
    """Make a full sync run, as if what is stored had been stored for an hour."""
    mirror = MIRRORS[kind]
    with deployment.service.engine.begin() as connection:
        connection.execute(text(f"UPDATE charging.{mirror.name} SET first_seen_at = first_seen_at - interval '1 hour'"))
        run = sync_runs.begin(connection, "demo", kind, "reconcile", None)
    assert run is not None
    list(sync_pages(deployment.context, run, reason="reconcile"))


def rows(deployment: Deployment, kind: str) -> list[dict[str, Any]]:
    mirror = MIRRORS[kind]
    return deployment.service.query(
        f"SELECT * FROM charging.{mirror.name} AS kept"
        f" WHERE {mirror.matches('kept', tenant=':tenant')} ORDER BY {mirror.key}",
        tenant="demo",
    )


def choose(deployment: Deployment, *groups: str) -> None:
    """Let the tenant have these groups mirrored."""
    tenants = deployment.context.tenants
    tenants["demo"] = tenants["demo"].model_copy(update={"mirror": groups})


@pytest.mark.parametrize(("kind", "resource", "columns"), SHOWN, ids=[kind for kind, _, _ in SHOWN])
def test_what_only_a_listing_shows_has_its_columns(
    deployment: Deployment, kind: str, resource: dict[str, Any], columns: dict[str, Any]
) -> None:
    deployment.ampeco.everything[KINDS[kind].path] = [{"id": 7, **resource}]
    sync(deployment, kind)
    (row,) = rows(deployment, kind)
    assert row[MIRRORS[kind].key] == 7
    assert {name: row[name] for name in columns} == columns
    assert row["deleted_at"] is None


def test_every_kind_with_a_table_that_only_listings_show_is_tested_here() -> None:
    only_listed = {name for name, kind in KINDS.items() if not kind.read_rules and MIRRORS[name].kind is None}
    assert {kind for kind, _, _ in SHOWN} == only_listed - {"tariff_snapshot"}


@pytest.mark.parametrize(
    ("kind", "kept", "dropped"),
    [
        ("voucher", {"amount": 10}, {"code": "SPRING-77", "promoCode": "SPRING"}),
        ("charge_point_model", {"name": "H-50"}, {"defaultPhoto": "https://files.example.com/1?expires=9"}),
        ("firmware_version", {"firmwareVersion": "1.2"}, {"fileUrl": "https://files.example.com/2?expires=9"}),
        ("electricity_meter", {"name": "Roof"}, {"integrationParameters": {"login": "x"}}),
        ("invoice", {"number": "I-1"}, {"downloadUrl": "https://files.example.com/3"}),
        ("payment_terminal", {"name": "T"}, {"adminToken": "a", "adyenApiKey": "b", "verificationCode": "c"}),
    ],
)
def test_codes_and_links_that_open_something_are_not_kept(
    deployment: Deployment, kind: str, kept: dict[str, Any], dropped: dict[str, Any]
) -> None:
    deployment.ampeco.everything[KINDS[kind].path] = [{"id": 7, **kept, **dropped}]
    sync(deployment, kind)
    (row,) = rows(deployment, kind)
    assert row["raw"] == {"id": 7, **kept}


def test_a_deleted_downtime_period_gets_its_tombstone(deployment: Deployment) -> None:
    path = KINDS["evse_downtime_period"].path
    period = {"id": 7, "evseId": 902, **DOWN, "entryMode": "manual"}
    deployment.ampeco.everything[path] = [period]
    deployment.ampeco.resources[f"{path}/7"] = period
    sync(deployment, "evse_downtime_period")
    deployment.ampeco.everything[path] = []
    del deployment.ampeco.resources[f"{path}/7"]
    sync(deployment, "evse_downtime_period")
    deployment.refresh()
    assert rows(deployment, "evse_downtime_period")[0]["deleted_at"] is not None


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.has_read])
def test_an_entity_that_cannot_be_read_by_itself_is_gone_if_the_complete_listing_lacks_it(
    deployment: Deployment, kind: str
) -> None:
    # Given two entities
    path = KINDS[kind].path
    deployment.ampeco.everything[path] = [{"id": 7}, {"id": 8}]
    sync(deployment, kind)
    # When the listing shows one of them, then both, then one that cannot be parsed
    listings: list[list[dict[str, Any]]] = [[{"id": 8}], [{"id": 7}, {"id": 8}], [{"id": {}}, {"id": 8}]]
    present = []
    for shows in listings:
        deployment.ampeco.everything[path] = shows
        sync(deployment, kind)
        present.append([row[MIRRORS[kind].key] for row in rows(deployment, kind) if row["deleted_at"] is None])
    # Then the other one is gone, and back, and stays if it may be the one that cannot be parsed; none is read by itself
    assert present == [[8], [7, 8], [7, 8]]
    assert deployment.service.count("ingest.refresh_request") == 0
    assert deployment.ampeco.calls.keys() == {path}


def test_a_tariff_snapshot_is_read_once_when_a_session_names_it(deployment: Deployment) -> None:
    deployment.ampeco.resources["sessions/v1.0/77120"] |= {"tariffSnapshotId": 6120}
    path = KINDS["tariff_snapshot"].path_of(6120)
    deployment.ampeco.resources[path] = {"id": 6120, "tariffId": 12, "pricing": {"pricePerKwh": 0.49}}
    for _ in range(2):
        deployment.deliver(sample("session.start.stop.notification.start"))
        deployment.refresh()
        deployment.refresh()
        deployment.refresh()
    snapshot = deployment.row("tariff_snapshot")
    assert (snapshot["tariff_id"], snapshot["price_per_kwh"]) == (12, Decimal("0.49"))
    assert deployment.ampeco.calls[path] == 1


def test_the_parts_of_a_price_come_from_reads_and_stay_when_a_notification_leaves_them_out(
    deployment: Deployment,
) -> None:
    parts = [{"type": "energy", "unit": "kwh", "total": {"withTax": 8.1}}, {"type": "connection"}]
    session = shown("session_read")
    session["chargingPeriods"] = [{**session["chargingPeriods"][0], "priceBreakdown": parts[:1]}]
    deployment.ampeco.resources["sessions/v1.0/77120"] = {**session, "priceBreakdown": parts}
    deployment.deliver(sample("session.start.stop.notification.start"))
    deployment.refresh()
    later = sample("SessionUpdateNotification.finished")
    later["session"]["lastUpdatedAt"] = "2026-03-04T23:00:00+00:00"
    deployment.deliver(later)
    assert deployment.row("session")["price_breakdown"] == parts
    (period,) = deployment.service.query(
        "SELECT price_breakdown FROM charging.charging_period WHERE price_breakdown IS NOT NULL"
    )
    assert period["price_breakdown"] == parts[:1]
    # And the parts that a read adds to a stopped session are no correction of it
    revised = deployment.service.query("SELECT DISTINCT column_group FROM charging.session_revision")
    assert "price" not in {row["column_group"] for row in revised}


def test_a_group_that_is_not_mirrored_is_neither_listed_nor_read(deployment: Deployment) -> None:
    # Given a tenant that has two groups mirrored
    choose(deployment, "fleet", "sessions")
    mirrored = {name for name, kind in KINDS.items() if kind.group in ("fleet", "sessions") and kind.has_listing}
    # Then only the kinds of these are synced
    assert set(listed(deployment.context.tenants["demo"])) == mirrored
    due = due_sync_runs(deployment.context, INTERVAL, ["demo"])
    assert {sync_run.kind for sync_run in due} == mirrored
    # And what notifications name of the others is not read, and waits for nothing
    for name in ("transaction.changed", "partner.changed.updated", "UserChangedNotification"):
        deployment.deliver(sample(name))
        deployment.refresh()
    assert deployment.ampeco.calls == {}
    assert deployment.service.count("ingest.refresh_request") == 0
    # Until the tenant has them mirrored
    choose(deployment, "fleet", "sessions", "partners")
    deployment.ampeco.resources["partners/v2.0/31"] = {"id": 31, "name": "Harbour Fleet"}
    deployment.deliver(sample("partner.changed.updated"))
    deployment.refresh()
    assert [row["raw"]["name"] for row in rows(deployment, "partner")] == ["Harbour Fleet"]


def test_kinds_that_no_one_watches_by_the_minute_are_listed_once_an_hour(deployment: Deployment) -> None:
    # Given kinds that have been synced in full
    for kind in ("evse_downtime_period", "user", "tax"):
        sync(deployment, kind)

    def due(after: timedelta) -> set[str]:
        """The kinds of these that are due, so long after their last sync run."""
        with deployment.service.engine.begin() as connection:
            connection.execute(
                text("UPDATE ingest.sync_cursor SET checked_at = now() - :after, full_at = now() - :after"),
                {"after": after},
            )
        known = due_sync_runs(deployment.context, INTERVAL, ["demo"])
        return {run.kind for run in known} & {"evse_downtime_period", "user", "tax"}

    assert due(timedelta(minutes=14)) == set()
    assert due(timedelta(minutes=16)) == {"user"}
    assert due(timedelta(minutes=61)) == {"user", "evse_downtime_period"}
    assert due(timedelta(hours=25)) == {"user", "evse_downtime_period", "tax"}
    complete = [run.kind for run in due_sync_runs(deployment.context, INTERVAL, ["demo"]) if run.purpose == "reconcile"]
    assert set(complete) == {"user", "evse_downtime_period", "tax"}


def test_what_an_error_code_means_is_kept_once(deployment: Deployment) -> None:
    entry = {
        "status": "faulted",
        "timestamp": "2026-03-04T07:04:00+00:00",
        "errorCode": "OtherError",
        "vendorErrorCode": "E12",
        "errorCodeDescription": "The fan does not turn",
        "errorCodeCustomerAction": "Use another charger",
    }
    deployment.ampeco.resources["evses/v2.1/902"] |= {"hardwareStatus": "faulted"}
    deployment.ampeco.resources["evses/v2.0/902/latest-hardware-status-log"] = entry
    deployment.ampeco.answers["evses/v2.0/902/hardware-status-logs"] = lambda _request: JSONResponse(
        {"data": [entry], "links": {"next": None}}
    )
    for _ in range(2):
        deployment.deliver(sample("evse.changed"))
        deployment.refresh()
    row = deployment.row("error_description")
    assert (row["error_code"], row["vendor_error_code"]) == ("OtherError", "E12")
    assert (row["description"], row["customer_action"]) == ("The fan does not turn", "Use another charger")


def test_charge_points_and_evses_do_not_wait_for_all_other_kinds(deployment: Deployment) -> None:
    # Statuses have messages of their own: one reads charge points and EVSEs alone, the other one everything else
    parts: tuple[Part, ...] = ("statuses", "others")
    paths: dict[Part, set[str]] = {}
    for part in parts:
        deployment.ampeco.calls.clear()
        run_due(deployment.context, "demo", INTERVAL, part)
        paths[part] = set(deployment.ampeco.calls)
    listed_paths = {kind.path for kind in KINDS.values() if kind.has_listing}
    assert paths["statuses"] == {KINDS["charge_point"].path, KINDS["evse"].path}
    assert paths["others"] == listed_paths - paths["statuses"]


def test_other_kinds_wait_while_statuses_are_synced_but_not_for_ever(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_runs, "PATIENCE_SECONDS", 0.6)
    asked: list[int] = []

    def has_urgent() -> bool:
        asked.append(deployment.ampeco.calls.total())
        return True

    # Statuses that are always at work let others continue after some time
    assert run_due(deployment.context, "demo", INTERVAL, "others", has_urgent=has_urgent) > 0
    # And no call was made before the patience was over
    assert len(asked) == 3
    assert set(asked) == {0}
