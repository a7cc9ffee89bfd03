"""Resources of charging and commerce as JSON, in the form of AMPECO's API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from simulator.fleet.model import (
    Authorization,
    IdTag,
    Partner,
    Reservation,
    Sample,
    Session,
    Tariff,
    Transaction,
    User,
)

CURRENCY = "EUR"
COUNTRY = "BG"
AUTHORIZATION_METHOD = "id_tag"
TARIFF_GROUP_ID = 12
TARIFF_SNAPSHOT_ID = 6_120
TAX_ID, TAX_PERCENTAGE = 3, 20


def instant(moment: datetime) -> str:
    """Return a time in AMPECO's form: to the second, with its zone."""
    return moment.isoformat(timespec="seconds")


def _maybe(moment: datetime | None) -> str | None:
    return None if moment is None else instant(moment)


def session_resource(
    session: Session,
    authorization: Authorization,
    *,
    with_authorization: bool,
    with_charging_periods: bool,
    with_price_breakdown: bool = False,
    with_periods_price_breakdown: bool = False,
) -> dict[str, Any]:
    """Return a session (AMPECO API, sessions v1.0).

    Parameters:
        with_authorization, with_charging_periods, with_price_breakdown: parts to include.
        with_periods_price_breakdown: whether each charging period, if included, has its own price breakdown.
    """
    resource: dict[str, Any] = {
        "id": str(session.id),
        "chargePointId": session.charge_point_id,
        "evseId": session.evse_id,
        "connectorId": session.connector_id,
        "status": session.status,
        "userId": session.user_id,
        "startedAt": instant(session.started_at),
        "stoppedAt": _maybe(session.stopped_at),
        "energy": session.energy_wh,
        "powerKw": session.power_w / 1000,
        "socPercent": round(session.soc_percent),
        "amount": float(session.amount_with_tax),
        "totalAmount": {
            "withTax": float(session.amount_with_tax),
            "withoutTax": float(session.amount_without_tax),
        },
        "tax": {"taxId": TAX_ID, "taxPercentage": TAX_PERCENTAGE},
        "currency": CURRENCY,
        "paymentType": "tokenized",
        "paymentMethodId": f"pm-{session.user_id}",
        "terminalId": None,
        "nonBillableEnergy": 0,
        "paymentStatus": session.payment_status,
        "authorizationId": session.authorization_id,
        "idTag": session.id_tag,
        "idTagLabel": "",
        "extendingSessionId": None,
        "reimbursementEligibility": False,
        "externalSessionId": None,
        "tariffSnapshotId": TARIFF_SNAPSHOT_ID,
        "electricityCost": None,
        "evsePhysicalReference": session.evse_label,
        "paymentStatusUpdatedAt": _maybe(session.payment_changed_at),
        "lastUpdatedAt": instant(session.changed_at),
        "energyConsumption": {"total": session.energy_wh, "grid": session.energy_wh},
        "billingStatus": session.billing_status,
        "receiptId": session.receipt_id,
        "power": {"latest": session.power_w, "peak": session.peak_w, "average": session.average_w},
    }
    if session.reason is not None:
        resource["reason"] = session.reason
    if with_authorization:
        resource["authorization"] = {
            "id": authorization.id,
            "method": "rfid_tag",
            "source": "local",
            "createdAt": instant(authorization.created_at),
            "status": "accepted",
            "rejectionReason": None,
            "userId": authorization.user_id,
            "rfidTagUid": authorization.id_tag,
            "lastUpdatedAt": instant(authorization.changed_at),
        }
    if with_charging_periods:
        resource["chargingPeriods"] = _charging_periods(session, with_price_breakdown=with_periods_price_breakdown)
    if with_price_breakdown:
        resource["priceBreakdown"] = [
            part | {"totalPrice": part["price"]["withTax"], "unitPrice": part["pricePerUnit"]["withTax"]}
            for part in _price_breakdown(session)
        ]
    return resource


def _price_breakdown(session: Session) -> list[dict[str, Any]]:
    """Return the parts of a session's price, which is for energy only."""
    per_unit = {
        "withTax": float(session.price_per_kwh),
        "withoutTax": round(float(session.price_per_kwh) / (1 + TAX_PERCENTAGE / 100), 4),
    }
    return [
        {
            "type": "energy",
            "currency": CURRENCY,
            "unit": "kwh",
            "pricePerUnit": per_unit,
            "quantity": session.energy_wh / 1000,
            "price": {"withTax": float(session.amount_with_tax), "withoutTax": float(session.amount_without_tax)},
            "taxPercentage": TAX_PERCENTAGE,
        }
    ]


def _charging_periods(session: Session, *, with_price_breakdown: bool) -> list[dict[str, Any]]:
    charging_until = session.idle_since or session.stopped_at
    periods: list[dict[str, Any]] = [
        {
            "id": session.id * 10,
            "energy": session.energy_wh,
            "startedAt": instant(session.started_at),
            "stoppedAt": _maybe(charging_until),
            "state": "charging",
            "chargingState": "charging",
            "amount": float(session.amount_with_tax),
        }
    ]
    if session.idle_since is not None:
        periods.append(
            {
                "id": session.id * 10 + 1,
                "energy": 0,
                "startedAt": instant(session.idle_since),
                "stoppedAt": _maybe(session.stopped_at),
                "state": "idle",
                "chargingState": "idle",
                "amount": 0,
            }
        )
    if with_price_breakdown:
        for number, period in enumerate(periods):
            period["priceBreakdown"] = _price_breakdown(session) if number == 0 else []
    return periods


def sample_resource(sample: Sample) -> dict[str, Any]:
    """Return a point of a session's consumption (AMPECO API, sessions v1.0, consumption stats)."""
    return {"energy": sample.energy_wh, "power": sample.power_w, "timestamp": instant(sample.at)}


def authorization_resource(authorization: Authorization) -> dict[str, Any]:
    """Return an authorization (AMPECO API, authorizations v2.1)."""
    resource: dict[str, Any] = {
        "id": authorization.id,
        "method": AUTHORIZATION_METHOD,
        "source": "local",
        "createdAt": instant(authorization.created_at),
        "status": "accepted" if authorization.is_accepted else "rejected",
        "userId": authorization.user_id,
        "idTagUid": authorization.id_tag,
        "chargePointId": authorization.charge_point_id,
        "evseId": authorization.evse_id,
        "sessionIds": [] if authorization.session_id is None else [authorization.session_id],
        "lastUpdatedAt": instant(authorization.changed_at),
    }
    if not authorization.is_accepted:
        resource["rejectionReason"] = "unknown id tag"
    return resource


def transaction_resource(transaction: Transaction) -> dict[str, Any]:
    """Return a transaction (AMPECO API, transactions v1.0)."""
    return {
        "id": transaction.id,
        "number": f"T-{transaction.id}",
        "date": instant(transaction.created_at),
        "userId": transaction.user_id,
        "sessionId": transaction.session_id,
        "paymentMethodId": f"pm-{transaction.user_id}",
        "purchaseResourceType": "session",
        "purchaseResourceId": transaction.session_id,
        "totalAmount": float(transaction.amount),
        "currency": CURRENCY,
        "status": transaction.status,
        "ref": f"ref-{transaction.id}",
        "billingType": "internal",
        "lastUpdatedAt": instant(transaction.changed_at),
        "finalizedAt": _maybe(transaction.finalized_at),
        "receiptId": transaction.receipt_id,
        "invoiceId": transaction.invoice_id,
    }


def reservation_resource(reservation: Reservation) -> dict[str, Any]:
    """Return a reservation (AMPECO API, reservations v1.0)."""
    return {
        "id": reservation.id,
        "chargePointId": reservation.charge_point_id,
        "evseId": reservation.evse_id,
        "status": reservation.status,
        "userId": reservation.user_id,
        "reservedAt": instant(reservation.reserved_at),
        "canceledAt": _maybe(reservation.canceled_at),
        "duration": reservation.minutes,
        "lastUpdatedAt": instant(reservation.changed_at),
    }


def tariff_resource(tariff: Tariff) -> dict[str, Any]:
    """Return a tariff (AMPECO API, tariffs v1.0)."""
    return {
        "id": tariff.id,
        "name": tariff.name,
        "type": "standard",
        "pricing": {"pricePerKwh": tariff.price_per_kwh, "connectionFee": 0},
        "currency": CURRENCY,
        "externalId": None,
        "lastUpdatedAt": instant(tariff.changed_at),
    }


def user_resource(user: User) -> dict[str, Any]:
    """Return a user with a password hash, which is an option of AMPECO (AMPECO API, users v1.0)."""
    return {
        "id": str(user.id),
        "email": user.email,
        "firstName": user.first_name,
        "lastName": None,
        "locale": "en-GB",
        "status": "enabled",
        "balance": 0,
        "password": f"password-hash-{user.id}",
        "receiveNewsAndPromotions": user.wants_news,
        "createdAt": instant(user.created_at),
        "lastUpdatedAt": instant(user.changed_at),
    }


def id_tag_resource(tag: IdTag) -> dict[str, Any]:
    """Return an id tag (AMPECO API, id tags v2.0)."""
    return {
        "id": tag.id,
        "idTagUid": tag.uid,
        "type": "rfid",
        "status": "enabled",
        "userId": tag.user_id,
        "createdAt": instant(tag.changed_at),
        "lastUpdatedAt": instant(tag.changed_at),
    }


def partner_resource(partner: Partner) -> dict[str, Any]:
    """Return a partner (AMPECO API, partners v2.0)."""
    return {
        "id": partner.id,
        "name": partner.name,
        "country": COUNTRY,
        "externalId": None,
        "lastUpdatedAt": instant(partner.changed_at),
    }
