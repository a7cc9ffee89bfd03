"""Tables of billing: groups and snapshots of tariffs, receipts, invoices and subscriptions."""

from __future__ import annotations

from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.column_groups import id_column, mirror, number_column, raw_column, text_column
from storage.schema.commerce import tariff_columns
from storage.schema.tables import instant

tariff_group = mirror(
    "tariff_group",
    "Tariffs that are tried for a driver in turn; EVSEs refer to it",
    {
        "master": [
            text_column("name", "Name"),
            Column("tariff_ids", JSONB, comment="Tariffs, an array of ids; the last one that fits applies"),
            id_column("partner_id", "Partner whose group it is"),
            raw_column(),
        ]
    },
)

tariff_snapshot = mirror(
    "tariff_snapshot",
    "A tariff as it was when sessions were priced by it; it never changes",
    {"master": [id_column("tariff_id", "Tariff"), *tariff_columns()]},
    "tariff_id",
)

receipt = mirror(
    "receipt",
    "A receipt for payments of a user",
    {
        "master": [
            text_column("number", "Number that people see"),
            id_column("user_id", "User; null for an anonymous user, 0 for an erased one"),
            number_column("energy_wh", "Energy, Wh"),
            number_column("total_amount", "Amount with tax; transactions with this receipt have its currency"),
            number_column("tax_percent", "Tax, %"),
            text_column("payment_status", "pending, paid or partially_paid"),
            instant("period_start_at", "When its period began, if it is for a period"),
            instant("period_end_at", "When its period ended, if it is for a period"),
            raw_column(),
        ]
    },
    "user_id",
)

invoice = mirror(
    "invoice",
    "An invoice to a user",
    {
        "master": [
            text_column("number", "Number that people see"),
            text_column("type", "invoice, pro_forma or credit_note"),
            instant("issued_at", "When it was issued"),
            id_column("user_id", "User; -1 if it was issued to none, 0 for an erased one"),
            instant("period_start_at", "Time of the first transaction in it"),
            instant("period_end_at", "Time of the last transaction in it"),
            text_column("service", "What it is for"),
            number_column("quantity", "How much of it"),
            number_column("unit_price", "Price of one"),
            number_column("subtotal", "Amount without tax"),
            number_column("tax_percent", "Tax, %"),
            number_column("tax_amount", "Tax"),
            number_column("total_amount", "Amount with tax; transactions with this invoice have its currency"),
            raw_column(),
        ]
    },
    "user_id",
)

subscription = mirror(
    "subscription",
    "A user's subscription to a plan",
    {
        "master": [
            id_column("plan_id", "Subscription plan"),
            id_column("user_id", "User; 0 for an erased one"),
            text_column("status", "active, canceled, expired, suspended or pending"),
            instant("status_at", "When it got this status"),
            instant("starts_at", "When it starts"),
            instant("ends_at", "When it ends"),
            raw_column(),
        ]
    },
    "user_id",
)
