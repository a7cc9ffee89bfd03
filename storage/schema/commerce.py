"""Tables of commerce: authorizations, payments, reservations, roaming and tariffs; and the table of all other kinds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Text
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.column_groups import flag_column, id_column, mirror, number_column, raw_column, text_column
from storage.schema.tables import instant

authorization = mirror(
    "authorization",
    "A request for permission to charge, and its result",
    {
        "master": [
            text_column("method", "How the driver was recognised"),
            text_column("source", "local, roaming or third_party"),
            text_column("status", "accepted, rejected or pending"),
            text_column("rejection_reason", "Why it was rejected"),
            id_column("user_id", "User; 0 for an anonymous or erased user"),
            text_column("id_tag", "RFID tag"),
            id_column("charge_point_id", "Charge point of the request"),
            id_column("evse_id", "EVSE of the request"),
            Column("session_ids", JSONB, comment="Sessions that it allowed, an array of ids"),
            instant("created_at", "When it was requested"),
            raw_column(),
        ]
    },
)

transaction = mirror(
    "transaction",
    "A payment, for a session or anything else that is sold",
    {
        "master": [
            text_column("number", "Number that people see"),
            id_column("session_id", "Session that is paid for, where it is one"),
            id_column("user_id", "User who pays; null for an anonymous user, 0 for an erased one"),
            number_column("total_amount", "Amount, in currency"),
            text_column("currency", "Currency, ISO 4217"),
            text_column("status", "initialized, authorized, pending, finalized, failed, reversed or refunded"),
            text_column("purchase_resource_type", "What is paid for, such as session"),
            id_column("purchase_resource_id", "Id of what is paid for"),
            text_column("payment_method_id", "Payment method"),
            text_column("billing_type", "internal or external"),
            text_column("ref", "Reference at the payment provider"),
            text_column("failure_reason", "Why it failed"),
            id_column("invoice_id", "Invoice"),
            id_column("receipt_id", "Receipt"),
            id_column("terminal_id", "Payment terminal"),
            id_column("voucher_id", "Voucher that paid"),
            instant("created_at", "When it was made"),
            instant("finalized_at", "When it was final"),
            raw_column(),
        ]
    },
    "session_id",
)

reservation = mirror(
    "reservation",
    "An EVSE kept free for a user",
    {
        "master": [
            id_column("charge_point_id", "Charge point"),
            id_column("evse_id", "EVSE"),
            id_column("user_id", "User; 0 for an erased one"),
            text_column("status", "active, expired, canceled or done"),
            instant("reserved_at", "From when it is kept free"),
            instant("canceled_at", "When it was canceled"),
            number_column("duration_minutes", "For how long it is kept free, minutes"),
            raw_column(),
        ]
    },
    "evse_id",
)

cdr = mirror(
    "cdr",
    "A charge detail record of roaming, sent or received",
    {
        "master": [
            id_column("operator_id", "Roaming operator or provider"),
            id_column("platform_id", "Roaming platform"),
            text_column("protocol_type", "OCPI or Hubject"),
            text_column("roaming_id", "Id that the charge point operator gave it"),
            text_column("session_reference", "Session, by the reference that the roaming partners use"),
            flag_column("is_local", "Whether the tenant issued it, as charge point operator"),
            flag_column("is_credit", "Whether it cancels another CDR"),
            instant("started_at", "When the session, or its reservation, started"),
            instant("ended_at", "When the session ended"),
            number_column("energy_wh", "Energy, Wh"),
            number_column("amount_without_tax", "Cost without tax, in currency; not available in OICP"),
            text_column("currency", "Currency, ISO 4217; not available in OICP"),
            instant("received_at", "When it was received"),
            instant("sent_at", "When it was sent"),
            text_column("delivery_response", "success or fail, if it was sent"),
            raw_column(),
        ]
    },
    "roaming_id",
)


def tariff_columns() -> list[Column[Any]]:
    """Return the columns of a tariff, as it is or as it was."""
    return [
        text_column("name", "Name"),
        text_column("type", "How it computes the price, such as standard or flat rate"),
        text_column("currency", "Currency, ISO 4217"),
        number_column("price_per_kwh", "Price of a kWh, in currency, if there is only one"),
        number_column("price_per_session", "Price of a session, in currency"),
        number_column("connection_fee", "Fee for connecting, in currency"),
        number_column("idle_fee_per_minute", "Fee of a minute without charging, in currency"),
        number_column("min_price", "Minimum price of a session, in currency"),
        id_column("partner_id", "Partner whose tariff it is"),
        text_column("external_id", "Id that the operator gave it"),
        raw_column(),
    ]


tariff = mirror("tariff", "How charging is priced", {"master": tariff_columns()})

resource = mirror(
    "resource",
    "An entity of any other kind, as AMPECO shows it",
    {"master": [raw_column()]},
    further_keys=[Column("kind", Text, nullable=False, comment="Kind of entity, such as user or partner")],
)
