"""Plain records: the same for the same seed, edited and replaced now and then, and complete with secrets."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from simulator.app import Simulator
from simulator.fleet.accounts import EXPENSES, INVOICES, RECEIPTS, REPORTS, REVENUES
from simulator.fleet.fleet import Fleet
from simulator.fleet.records.staff import KINDS
from tests.unit.simulator.support import RESOURCES, START, TOKEN, call, small


@pytest.fixture(scope="module")
def month() -> Simulator:
    """A tenant after a month, with the end of a calendar month in it."""
    simulator = Simulator(small(charge_points=8, evses=12, sessions_a_day=4), token=TOKEN)
    simulator.fleet.advance(START + timedelta(days=30))
    return simulator


@pytest.fixture(scope="module")
def three_days() -> Fleet:
    """The small tenant after three days, lived at once."""
    fleet = Fleet(small())
    fleet.advance(START + timedelta(days=3))
    return fleet


def listed(simulator: Simulator, path: str, query: str = "") -> list[dict[str, Any]]:
    following, rows = f"{RESOURCES}/{path}?{query}", []
    while following:
        page = call(simulator, "GET", following).json()
        rows += page["data"]
        following = page["links"]["next"]
    return rows


@pytest.mark.parametrize("step", [timedelta(hours=7), timedelta(days=3)])
def test_the_same_seed_gives_the_same_records_in_whatever_steps(step: timedelta, three_days: Fleet) -> None:
    by_steps = Fleet(small())
    while by_steps.now < three_days.now:
        by_steps.advance(min(by_steps.now + step, three_days.now))
    assert by_steps.tenant.records == three_days.tenant.records


def test_another_seed_gives_other_records(three_days: Fleet) -> None:
    other = Fleet(small(seed=2))
    other.advance(three_days.now)
    assert other.tenant.records != three_days.tenant.records


def test_ids_of_kinds_are_apart(month: Simulator) -> None:
    ids = Counter(key for records in month.fleet.tenant.records.values() for key in records if key > 100)
    assert ids.most_common(1)[0][1] == 1


def test_records_are_edited_added_and_deleted(month: Simulator) -> None:
    replaced = [kind for kind in KINDS if kind.is_replaceable]
    records = month.fleet.tenant.records
    assert any(len(records[kind.name]) > kind.count for kind in replaced)
    assert any(record.is_deleted for kind in replaced for record in records[kind.name].values())
    assert all(month.fleet.tenant.live_records(kind.name) for kind in KINDS)
    edited = [kind for kind in KINDS if any(row.changed_at > START for row in records[kind.name].values())]
    assert len(edited) > 20


def test_an_edit_shows_in_the_filter_by_change_time(month: Simulator) -> None:
    plans = month.fleet.tenant.live_records("subscription-plans")
    since = max(plan.changed_at for plan in plans)
    expected = [plan.id for plan in plans if plan.changed_at >= since]
    rows = listed(month, "subscription-plans/v2.0", f"filter[lastUpdatedAfter]={since:%Y-%m-%dT%H:%M:%SZ}")
    assert [row["id"] for row in rows] == expected
    assert 0 < len(rows) < len(plans)


def test_a_filter_with_several_values_passes_any_of_them(month: Simulator) -> None:
    one = listed(month, "firmware-versions/v1.0", "filter[vendorId][0]=2100")
    two = listed(month, "firmware-versions/v1.0", "filter[vendorId][0]=2100&filter[vendorId][1]=2101")
    assert {row["chargePointVendorId"] for row in one} == {2100}
    assert {row["chargePointVendorId"] for row in two} == {2100, 2101}


def test_parts_are_shown_only_if_they_are_asked_for(month: Simulator) -> None:
    assert all("evses" not in row for row in listed(month, "parking-spaces/v1.0"))
    assert all("evses" in row for row in listed(month, "parking-spaces/v1.0", "include[]=evses"))
    assert all("breakdown" not in row for row in listed(month, "partner-expenses/v1.2"))
    assert all("breakdown" in row for row in listed(month, "partner-expenses/v1.2", "withBreakdown=true"))


@pytest.mark.parametrize(
    ("path", "secrets"),
    [
        ("payment-terminals/v1.0", {"adminToken", "adyenApiKey", "verificationCode"}),
        ("roaming-connections/v2.0", {"ocpi"}),
        ("electricity-meters/v1.0", {"integrationParameters"}),
        ("installer-jobs/v1.0", {"pin"}),
    ],
)
def test_secrets_are_in_listings_and_reads(month: Simulator, path: str, secrets: set[str]) -> None:
    rows = listed(month, path)
    assert secrets <= {name for row in rows for name, value in row.items() if value}
    read = call(month, "GET", f"{RESOURCES}/{path}/{rows[0]['id']}").json()["data"]
    assert read.items() >= {name: value for name, value in rows[0].items() if name in secrets}.items()


def test_each_final_transaction_has_a_receipt_and_some_an_invoice(month: Simulator) -> None:
    tenant = month.fleet.tenant
    final = [row for row in tenant.transactions.values() if row.status == "finalized"]
    assert {row.receipt_id for row in final} == tenant.records[RECEIPTS].keys()
    assert all(tenant.sessions[row.session_id].receipt_id == row.receipt_id for row in final)
    invoiced = [row for row in final if row.invoice_id is not None]
    assert 0 < len(invoiced) < len(final) / 2
    for row in invoiced:
        assert row.invoice_id is not None
        fields = tenant.records[INVOICES][row.invoice_id].fields
        assert fields["totalAmount"] == pytest.approx(fields["subtotal"] + fields["taxAmount"])
    session = call(month, "GET", f"{RESOURCES}/sessions/v1.0/{final[0].session_id}").json()["data"]
    assert session["receiptId"] == final[0].receipt_id


def test_sessions_at_a_partners_charge_points_bring_revenue_that_is_settled_monthly(month: Simulator) -> None:
    tenant = month.fleet.tenant
    revenues = tenant.live_records(REVENUES)
    assert revenues
    sessions = {row.fields["chargingSessionId"] for row in revenues}
    billed = [row for row in tenant.sessions.values() if row.billing_status == "completed"]
    partnered = {row.id for row in billed if tenant.charge_points[row.charge_point_id].partner_id is not None}
    assert sessions == partnered
    for row in revenues:
        shares = row.fields["operatorShare"] + row.fields["partnerShare"]
        assert shares == pytest.approx(row.fields["totalAmount"]["withoutTax"])
        is_of_march = datetime.fromisoformat(row.fields["date"]) < datetime(2026, 4, 1, tzinfo=START.tzinfo)
        assert (row.fields["settlementReportId"] is not None) == is_of_march
    assert {row.fields["settlementReportId"] for row in revenues} - {None} <= tenant.records[REPORTS].keys()
    assert {row.fields["period"] for row in tenant.live_records(EXPENSES)} == {"February 2026", "March 2026"}


def test_the_price_breakdown_of_a_session_adds_up_to_its_amount(month: Simulator) -> None:
    parts = "withPriceBreakdown=true&withChargingPeriods=true&withChargingPeriodsPriceBreakdown=true"
    for session in listed(month, "sessions/v1.0", f"{parts}&filter[status]=finished")[:20]:
        assert sum(part["totalPrice"] for part in session["priceBreakdown"]) == session["amount"]
        periods = [part for period in session["chargingPeriods"] for part in period["priceBreakdown"]]
        assert sum(part["price"]["withTax"] for part in periods) == session["amount"]
        snapshot = call(month, "GET", f"{RESOURCES}/tariff-snapshots/v1.0/{session['tariffSnapshotId']}").json()["data"]
        assert snapshot["pricing"]["pricePerKwh"] == session["priceBreakdown"][0]["unitPrice"]


def test_charge_points_refer_to_zones_of_their_location_and_to_models(month: Simulator) -> None:
    zones = {
        zone["id"]: location["id"]
        for location in listed(month, "locations/v2.0", "include[]=chargingZones")
        for zone in location["chargingZones"]
    }
    models = {row["id"] for row in listed(month, "charge-point-models/v1.0")}
    for charge_point in listed(month, "charge-points/v2.0"):
        assert zones[charge_point["chargingZoneId"]] == charge_point["locationId"]
        assert charge_point["modelId"] in models
    assert all("chargingZones" not in row for row in listed(month, "locations/v2.0"))


def test_a_status_log_describes_the_vendor_error_codes_that_are_known(month: Simulator) -> None:
    entries = [
        entry
        for evse in month.fleet.tenant.live_evses()
        for entry in listed(month, f"evses/v2.0/{evse.id}/hardware-status-logs")
        if "vendorErrorCode" in entry
    ]
    known = {row["errorCode"] for row in listed(month, "vendor-error-codes/v2.0")}
    assert entries
    for entry in entries:
        assert ("errorCodeDescription" in entry) == (entry["vendorErrorCode"] in known)


def test_each_boot_is_one_security_event(month: Simulator) -> None:
    events = [(row["chargePoint"], row["timestamp"]) for row in listed(month, "security-events/v2.0")]
    assert events
    assert len(set(events)) == len(events)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"api_not_offered": ["invoices"]}, "Feature is not enabled"),
        ({"api_unrouted": ["invoices"]}, "The route public-api/resources/invoices/v1.0 could not be found."),
    ],
)
def test_a_tenant_may_lack_a_feature_or_a_route(month: Simulator, fault: dict[str, Any], message: str) -> None:
    injector = month.fault_injector
    before = injector.faults
    injector.faults = before.model_validate(fault)
    try:
        answer = call(month, "GET", f"{RESOURCES}/invoices/v1.0")
    finally:
        injector.faults = before
    assert (answer.status_code, answer.json()) == (404, {"message": message})
    assert call(month, "GET", f"{RESOURCES}/invoices/v1.0").status_code == 200
