"""A notification whose ids can be read asks for its read, whatever else of it cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine

from ampeco.notifications.catalogue import CATALOGUE
from ampeco.resources.kinds import KINDS
from ampeco.resources.read_rules import READ_RULES
from storage.inbox.batches import LoggedBody, Outcome
from storage.state import notifications
from storage.state.fold import fact_from_notification
from tests.support.facts import sample, wanted
from tests.support.hostile import NAMES
from tests.support.log import accept, query
from workers.apply.apply import apply_open_batches, parse_all, write

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)
HANDLED = [known.name for known in CATALOGUE if known.handler is not None]

#: What each notification names, by its place in the body.
NAMED: dict[str, dict[str, tuple[str, ...]]] = {
    "session": {
        "session.start.stop.notification": ("sessionId",),
        "SessionStartStopNotification": ("sessionId",),
        "SessionMeterValuesNotification": ("sessionId",),
        "SessionUpdateNotification": ("session", "id"),
    },
    "charge_point": {
        "chargePoint.changed": ("chargePointId",),
        "ChargePointChangedNotification": ("chargePoint", "id"),
        "NetworkStatusNotification": ("chargePointId",),
        "HardwareStatusNotification": ("chargePointId",),
        "BootNotification": ("chargePointId",),
    },
    "evse": {"evse.changed": ("evseId",), "HardwareStatusNotification": ("evseId",)},
    "location": {"LocationChangedNotification": ("location", "id")},
    "authorization": {
        "authorization.changed": ("authorizationId",),
        "AuthorizationNotification": ("authorizationId",),
    },
    "transaction": {"transaction.changed": ("transactionId",)},
    "reservation": {"reservation.changed": ("reservationId",)},
    "cdr": {"cdr.received": ("id",)},
    "tariff": {"TariffChangedNotification": ("tariff", "id")},
    "user": {
        "UserChangedNotification": ("user", "id"),
        "userBalance.changed": ("userId",),
        "user.subscription.changed": ("userId",),
        "user.subscriptionChanged": ("userId",),
        "user.paymentMethod.changed": ("userId",),
        "user.invoiceDetails.changed": ("userId",),
    },
    "partner": {"partner.changed": ("partnerId",)},
    "circuit": {"circuit.changed": ("circuitId",), "CircuitConsumptionNotification": ("circuitId",)},
    "id_tag": {"idTag.changed": ("idTagsId",)},
    "parking_space": {"parkingSpace.occupancyStatus.changed": ("parkingSpaceId",)},
    "installer_job": {"installerJob.changed": ("id",)},
    "partner_invite": {"partnerInvite.changed": ("partnerInviteId",)},
    "settlement_report": {"settlementReport.created": ("id",)},
    "roaming_platform": {"roamingPlatform.changed": ("roamingPlatformId",)},
    "sub_operator": {"SubOperatorChangedNotification": ("subOperator", "id")},
    "subscription_plan": {},
}

#: These name nothing that a read would show again: a lost one is only in the log.
NAMELESS = {
    "chargePoint.dataTransferReceived",
    "ChargePointSyncConfigurationNotification",
    "chargingProfile.applied",
    "DiagnosticsStatusNotification",
    "SecurityEventNotification",
}


def named_by(notification: str) -> dict[str, tuple[str, ...]]:
    return {kind: places[notification] for kind, places in NAMED.items() if notification in places}


def sample_of(notification: str) -> dict[str, Any]:
    bodies = [sample(name) for name in NAMES if sample(name)["notification"] == notification]
    return next((body for body in bodies if body.get("evseId")), bodies[0])


def spoiled(body: dict[str, Any], kept: set[tuple[str, ...]], junk: Any, at: tuple[str, ...] = ()) -> dict[str, Any]:
    """A body of which only some places are as they were: all others are junk, or gone where that is None."""
    found: dict[str, Any] = {}
    for key, value in body.items():
        place = (*at, key)
        if place in kept or place == ("notification",):
            found[key] = value
        elif any(one[: len(place)] == place for one in kept):
            found[key] = spoiled(value, kept, junk, place)
        elif junk is not None:
            found[key] = junk
    return found


def settled(connection: Connection, body: Any) -> list[Outcome]:
    """Apply one notification; returns why it was set aside, where it was."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = parse_all([LoggedBody(uuid4(), uuid4(), NOW, raw)])
    outcomes, found.outcomes = found.outcomes, []  # their batches do not exist
    write(connection, "t", found)
    return outcomes


def asked(connection: Connection) -> set[tuple[str, Any]]:
    references = query_references(connection)
    return {(kind, one or entity_id) for (kind, entity_id), one in references.items()}


def query_references(connection: Connection) -> dict[tuple[str, int], str]:
    rows = connection.exec_driver_sql("SELECT kind, entity_id, reference FROM ingest.refresh_request")
    return {(entity, entity_id): reference for entity, entity_id, reference in rows}


def test_every_notification_of_the_catalogue_is_tried() -> None:
    named = {name for places in NAMED.values() for name in places}
    assert set(NAMED) == {name for name, kind in KINDS.items() if kind.read_rules}
    assert named | NAMELESS == set(HANDLED)
    assert named == set(READ_RULES)


@pytest.mark.parametrize("junk", [None, {}, "", "-0001-11-30T00:00:00Z", True, 1e30], ids=repr)
@pytest.mark.parametrize("name", HANDLED)
def test_whatever_is_wrong_with_the_rest_the_read_is_asked_for(connection: Connection, name: str, junk: Any) -> None:
    # Given a notification of which nothing is readable but what it is about
    body = sample_of(name)
    places = named_by(name)
    # When it is applied
    outcomes = settled(connection, spoiled(body, set(places.values()), junk))
    # Then what it is about is to be read
    expected = set()
    for kind, place in places.items():
        held: Any = body
        for key in place:
            held = held[key]
        expected.add((kind, held if KINDS[kind].reference_filter else int(held)))
    assert expected <= asked(connection)
    # And it is applied, or failed with what could not be used
    assert [outcome.state for outcome in outcomes] in ([], ["failed"])
    for outcome in outcomes:
        assert outcome.reason == "not as documented"
        assert outcome.error


@pytest.mark.parametrize(
    "name",
    [
        "chargePoint.changed",
        "evse.changed",
        "LocationChangedNotification",
        "TariffChangedNotification",
        "UserChangedNotification",
        "ChargePointChangedNotification",
    ],
)
@pytest.mark.parametrize("junk", [None, "soon", {}])
def test_a_hint_needs_no_time(connection: Connection, name: str, junk: Any) -> None:
    body = sample_of(name) | {"lastUpdatedAt": junk}
    for held in body.values():
        if isinstance(held, dict):
            held.pop("lastUpdatedAt", None)
            held.pop("last_updated_at", None)
    assert settled(connection, body) == []
    assert asked(connection)
    # What has no time is no fact: the read says how it is
    for table in ("location", "tariff", "resource", "charge_point"):
        assert connection.exec_driver_sql(f"SELECT * FROM charging.{table}").all() == []


def test_a_whole_charge_point_that_is_unusable_asks_for_its_evses_as_well(connection: Connection) -> None:
    body = sample("ChargePointChangedNotification")
    body["charge-point"] = body.pop("chargePoint") | {"id": {}}
    (outcome,) = settled(connection, body)
    assert outcome.state == "failed"
    assert wanted(connection) == {("evse", 902): "changed"}


def test_a_status_without_a_time_asks_for_the_read_of_what_is_known(connection: Connection) -> None:
    # Given an EVSE of which everything is known
    connection.exec_driver_sql(
        "INSERT INTO charging.evse (tenant, evse_id, master_at, master_version) VALUES ('t', 902, now(), '1:x')"
    )
    # When its status comes without a time
    (outcome,) = settled(connection, sample("HardwareStatusNotification.evse") | {"timestamp": "soon"})
    # Then it is read: its status is lost otherwise
    assert (outcome.state, outcome.error) == (
        "failed",
        "timestamp: not a time: ISO 8601 text such as 2026-03-04T07:04:00Z is expected",
    )
    assert wanted(connection)["evse", 902] == "changed"


def test_a_body_nested_too_deep_asks_for_its_read(connection: Connection) -> None:
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    (outcome,) = settled(connection, sample("evse.changed") | {"addedLater": deep})
    assert outcome.state == "failed"
    assert wanted(connection) == {("evse", 902): "changed"}


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b"{}",
        {"notification": []},
        {"notification": "evse.changed"},
        {"notification": "evse.changed", "evseId": {}},
        {"notification": "evse.changed", "evseId": 2**70},
        {"notification": "UserChangedNotification", "user": {"id": 0}, "lastUpdatedAt": {}},
    ],
    ids=repr,
)
def test_a_body_without_readable_ids_asks_for_nothing(connection: Connection, body: Any) -> None:
    settled(connection, body)
    assert asked(connection) == set()


def test_one_that_postgres_refuses_asks_for_its_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(found: Any, payload: Any, *_: Any) -> None:
        found.facts.append(fact_from_notification("evse", payload.evse_id, "hardware", NOW, {"hardware_status": "\0"}))

    monkeypatch.setattr(notifications, "_hardware_status", spoil)
    accept(engine, sample("HardwareStatusNotification.evse"), sample("BootNotification"))
    apply_open_batches(engine)
    assert query(engine, "SELECT state, reason FROM ingest.outcome") == [
        {"state": "failed", "reason": "refused by Postgres"}
    ]
    assert {"kind": "evse", "entity_id": 902, "reason": "changed"} in query(
        engine, "SELECT kind, entity_id, reason FROM ingest.refresh_request"
    )
