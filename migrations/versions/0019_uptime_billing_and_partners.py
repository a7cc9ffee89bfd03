"""Tables for uptime, billing, partners and roaming operators; parts of prices; what error codes mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"

NEW = (
    "charging_zone",
    "evse_downtime_period",
    "charge_point_downtime_period",
    "downtime_period_notice",
    "charge_point_vendor",
    "charge_point_model",
    "vendor_error_code",
    "payment_terminal",
    "tariff_group",
    "tariff_snapshot",
    "receipt",
    "invoice",
    "subscription",
    "partner_contract",
    "partner_revenue",
    "partner_expense",
    "roaming_operator",
)

PRICE = "Parts of the price, an array of objects as AMPECO shows them"


def _instant(name: str, comment: str, *, nullable: bool = True, now: bool = False) -> sa.Column[Any]:
    default = sa.text("now()") if now else None
    kind = postgresql.TIMESTAMP(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=nullable, comment=comment)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml")


def _text(name: str, comment: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), comment=comment)


def _id(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), comment=comment)


def _number(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Numeric(), comment=comment)


def _flag(name: str, comment: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), comment=comment)


def _json(name: str, comment: str) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB(), comment=comment)


def _group(name: str) -> list[sa.Column[Any]]:
    """Return the three columns that a column group has of itself."""
    return [
        _instant(f"{name}_at", f"Time of the newest {name} fact, by its source's clock"),
        sa.Column(f"{name}_version", sa.Text(collation="C"), comment=f"Orders {name} facts of equal time"),
        sa.Column(
            f"{name}_conflicting",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment=f"Two {name} facts of {name}_at contradict each other; a read decides",
        ),
    ]


def _create_mirror(
    name: str,
    comment: str,
    *own: sa.Column[Any],
    presence: Sequence[sa.Column[Any]] = (),
    has_raw: bool = True,
    indexes: Sequence[str] = (),
) -> None:
    """Create the table of a kind: its key, its master data and its tombstone, each with a clock."""
    raw = [_json("raw", "The newest snapshot as sent, without secrets, for what has no column")] if has_raw else []
    op.create_table(
        name,
        _tenant(),
        sa.Column(f"{name}_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        *own,
        *raw,
        *_group("master"),
        _instant("deleted_at", "When a read found it gone, by the tenant's clock"),
        *presence,
        *_group("presence"),
        _instant("first_seen_at", "When this row was first written", nullable=False, now=True),
        _instant("updated_at", "When this row last changed", nullable=False, now=True),
        sa.PrimaryKeyConstraint("tenant", f"{name}_id", name=op.f(f"{name}_pkey")),
        schema="charging",
        comment=comment,
    )
    for column in indexes:
        op.create_index(op.f(f"{name}_tenant_{column}_idx"), name, ["tenant", column], schema="charging")


def upgrade() -> None:
    _create_tables()
    _add("location", _json("working_hours", "When it is open, in its own time zone, as AMPECO shows it"))
    op.create_index(
        "location_gone_idx",
        "location",
        ["tenant", "location_id"],
        schema="charging",
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    _add(
        "charge_point",
        _flag("uptime_tracking_enabled", "Whether AMPECO tracks its uptime"),
        _instant("uptime_tracking_activated_at", "Since when AMPECO tracks its uptime"),
    )
    for table in ("session", "charging_period"):
        _add(table, _json("price_breakdown", PRICE), *_group("price"))
    op.create_table(
        "error_description",
        _tenant(),
        sa.Column("digest", sa.Text(collation="C"), nullable=False, comment="Digest of the following columns"),
        _text("error_code", "OCPP error code"),
        _text("vendor_id", "Vendor whose error code it is"),
        _text("vendor_error_code", "Error code of the vendor"),
        _text("description", "What AMPECO says that it means"),
        _text("customer_action", "What AMPECO says that a driver can do about it"),
        _instant("recorded_at", "When it was first recorded here", nullable=False, now=True),
        sa.UniqueConstraint("tenant", "digest", name=op.f("error_description_tenant_digest_key")),
        schema="charging",
        comment="What error codes of status logs mean, by AMPECO; append-only",
    )


def _create_tables() -> None:
    _create_mirror(
        "charging_zone",
        "A part of a location; it arrives with its location, and follows its clock",
        _text("name", "Name, for the operator alone"),
        _text("status", "enabled or disabled"),
        presence=[_id("location_id", "Location")],
        has_raw=False,
        indexes=("location_id",),
    )
    _create_mirror(
        "evse_downtime_period",
        "A time in which an EVSE was down by AMPECO's own account, or is exempt from counting as down",
        _id("evse_id", "EVSE"),
        _id("charge_point_id", "Charge point"),
        _id("location_id", "Location"),
        _text("type", "downtime, or exempt: not to be counted as downtime"),
        _text("entry_mode", "automatic: made by AMPECO; manual: made by a person"),
        _id("notice_id", "Reason that a person gave, a downtime period notice"),
        _instant("started_at", "When the EVSE went down"),
        _instant("ended_at", "When it was up again; null while it is down"),
        _text("system_status", "System status when the period was created"),
        _text("network_status", "Network status of the charge point when the period was created"),
        _text("hardware_status", "Hardware status when the period was created"),
        indexes=("evse_id",),
    )
    _create_mirror(
        "charge_point_downtime_period",
        "A time in which a charge point was down by AMPECO's own account, or is exempt from counting as down",
        _id("charge_point_id", "Charge point"),
        _id("location_id", "Location"),
        _text("type", "downtime, or exempt: not to be counted as downtime"),
        _text("entry_mode", "automatic: made by AMPECO; manual: made by a person"),
        _id("notice_id", "Reason that a person gave, a downtime period notice"),
        _instant("started_at", "When the charge point went down"),
        _instant("ended_at", "When it was up again; null while it is down"),
        _text("system_status", "System status when the period was created"),
        _text("network_status", "Network status of the charge point when the period was created"),
        _text("hardware_status", "Hardware status when the period was created"),
        indexes=("charge_point_id",),
    )
    _create_mirror(
        "downtime_period_notice",
        "A reason that a person can give for a downtime period",
        _text("type", "downtime or exempt"),
        _text("notice", "Reason"),
        _text("description", "Explanation of the reason"),
        _instant("created_at", "When it was created"),
    )
    _create_mirror(
        "charge_point_vendor",
        "A maker of charge points",
        _text("name", "Name"),
    )
    _create_mirror(
        "charge_point_model",
        "A model of charge point",
        _text("name", "Name"),
        _id("vendor_id", "Vendor, a charge point vendor"),
    )
    _create_mirror(
        "vendor_error_code",
        "What an error code of a vendor means",
        _text("vendor_id", "Vendor, as charge points report it; not a charge point vendor's id"),
        _text("error_code", "Error code, as charge points report it"),
        _text("error_code_description", "What it means"),
        _text("error_code_customer_action", "What a driver can do about it"),
    )
    _create_mirror(
        "payment_terminal",
        "A terminal at which drivers pay",
        _text("name", "Name"),
        _text("terminal_type", "Make of the terminal"),
        _text("serial_number", "Serial number"),
        _id("charge_point_id", "Charge point, if it belongs to one"),
        _id("charging_zone_id", "Charging zone, if it belongs to one"),
        _id("operator_id", "Sub-operator"),
        _text("network_status", "online, offline or unknown"),
        _text("external_id", "Id that the operator gave it"),
    )
    _create_mirror(
        "tariff_group",
        "Tariffs that are tried for a driver in turn; EVSEs refer to it",
        _text("name", "Name"),
        _json("tariff_ids", "Tariffs, an array of ids; the last one that fits applies"),
        _id("partner_id", "Partner whose group it is"),
    )
    _create_mirror(
        "tariff_snapshot",
        "A tariff as it was when sessions were priced by it; it never changes",
        _id("tariff_id", "Tariff"),
        _text("name", "Name"),
        _text("type", "How it computes the price, such as standard or flat rate"),
        _text("currency", "Currency, ISO 4217"),
        _number("price_per_kwh", "Price of a kWh, in currency, if there is only one"),
        _number("price_per_session", "Price of a session, in currency"),
        _number("connection_fee", "Fee for connecting, in currency"),
        _number("idle_fee_per_minute", "Fee of a minute without charging, in currency"),
        _number("min_price", "Minimum price of a session, in currency"),
        _id("partner_id", "Partner whose tariff it is"),
        _text("external_id", "Id that the operator gave it"),
        indexes=("tariff_id",),
    )
    _create_mirror(
        "receipt",
        "A receipt for payments of a user",
        _text("number", "Number that people see"),
        _id("user_id", "User; null for an anonymous user, 0 for an erased one"),
        _number("energy_wh", "Energy, Wh"),
        _number("total_amount", "Amount with tax; transactions with this receipt have its currency"),
        _number("tax_percent", "Tax, %"),
        _text("payment_status", "pending, paid or partially_paid"),
        _instant("period_start_at", "When its period began, if it is for a period"),
        _instant("period_end_at", "When its period ended, if it is for a period"),
        indexes=("user_id",),
    )
    _create_mirror(
        "invoice",
        "An invoice to a user",
        _text("number", "Number that people see"),
        _text("type", "invoice, pro_forma or credit_note"),
        _instant("issued_at", "When it was issued"),
        _id("user_id", "User; -1 if it was issued to none, 0 for an erased one"),
        _instant("period_start_at", "Time of the first transaction in it"),
        _instant("period_end_at", "Time of the last transaction in it"),
        _text("service", "What it is for"),
        _number("quantity", "How much of it"),
        _number("unit_price", "Price of one"),
        _number("subtotal", "Amount without tax"),
        _number("tax_percent", "Tax, %"),
        _number("tax_amount", "Tax"),
        _number("total_amount", "Amount with tax; transactions with this invoice have its currency"),
        indexes=("user_id",),
    )
    _create_mirror(
        "subscription",
        "A user's subscription to a plan",
        _id("plan_id", "Subscription plan"),
        _id("user_id", "User; 0 for an erased one"),
        _text("status", "active, canceled, expired, suspended or pending"),
        _instant("status_at", "When it got this status"),
        _instant("starts_at", "When it starts"),
        _instant("ends_at", "When it ends"),
        indexes=("user_id",),
    )
    _create_mirror(
        "partner_contract",
        "A contract with a partner",
        _text("title", "Title"),
        _id("partner_id", "Partner"),
        _instant("starts_at", "When it takes effect"),
        _instant("ends_at", "When it expires; null: it does not"),
        _flag("is_renewed_automatically", "Whether it goes on after its end"),
        _text("external_id", "Id that the operator gave it"),
        _number("partner_share_ac_percent", "Partner's share of the revenue at AC EVSEs, %"),
        _number("partner_share_dc_percent", "Partner's share of the revenue at DC EVSEs, %"),
        _number("monthly_fee_per_charge_point", "Monthly fee for each charge point, without tax"),
        _number("monthly_fee_per_ac_evse", "Monthly fee for each AC EVSE, without tax"),
        _number("monthly_fee_per_dc_evse", "Monthly fee for each DC EVSE, without tax"),
        indexes=("partner_id",),
    )
    _create_mirror(
        "partner_revenue",
        "What a partner and the operator earned by a session, or a reimbursement",
        _id("partner_id", "Partner"),
        _instant("booked_at", "Date of the entry"),
        _text("origin", "session-cpo or electricity-tax-reimbursement"),
        _number("amount_with_tax", "Amount with tax, in currency, if AMPECO shows it"),
        _number("amount_without_tax", "Amount without tax, in currency"),
        _text("currency", "Currency, ISO 4217"),
        _id("settlement_report_id", "Settlement report that contains it"),
        _id("session_id", "Session, where it is about one"),
        _number("operator_share", "Operator's share, in currency"),
        _number("partner_share", "Partner's share, in currency"),
        _number("electricity_cost", "Cost of the electricity, in currency"),
        _number("remaining_revenue", "Revenue after the cost, in currency"),
        _instant("collected_at", "When the driver had paid all of it; null: not yet"),
        indexes=("partner_id", "session_id"),
    )
    _create_mirror(
        "partner_expense",
        "What a partner owes",
        _id("partner_id", "Partner"),
        _instant("booked_at", "Date of the entry"),
        _text("origin", "platform-fee-emsp, platform-fee-cpo, user-custom-fee or session-emsp"),
        _number("amount_with_tax", "Amount with tax, in currency, if AMPECO shows it"),
        _number("amount_without_tax", "Amount without tax, in currency"),
        _text("currency", "Currency, ISO 4217"),
        _id("settlement_report_id", "Settlement report that contains it"),
        _id("session_id", "Session, where it is about one"),
        _number("discount_percent", "Operator's discount, %"),
        _number("discount_amount", "Operator's discount, in currency"),
        indexes=("partner_id", "session_id"),
    )
    _create_mirror(
        "roaming_operator",
        "A charge point operator or mobility service provider that the tenant roams with",
        _text("role", "Role, such as cpo"),
        _text("business_name", "Name"),
        _text("hubject_id", "Id at Hubject"),
        _id("platform_id", "Roaming platform"),
        _id("partner_id", "Partner that stands for it"),
        _flag("is_enabled", "Whether roaming with it is enabled"),
        _text("country_code", "Country in its OCPI id, ISO 3166-1 alpha-2"),
        _text("party_id", "Party in its OCPI id"),
    )


def _add(table: str, *columns: sa.Column[Any]) -> None:
    for column in columns:
        op.add_column(table, column, schema="charging")


def downgrade() -> None:
    op.drop_table("error_description", schema="charging")
    for table in ("session", "charging_period"):
        _drop(table, "price_breakdown", "price_at", "price_version", "price_conflicting")
    _drop("charge_point", "uptime_tracking_enabled", "uptime_tracking_activated_at")
    op.drop_index("location_gone_idx", table_name="location", schema="charging")
    _drop("location", "working_hours")
    for table in NEW:
        op.drop_table(table, schema="charging")


def _drop(table: str, *columns: str) -> None:
    for column in columns:
        op.drop_column(table, column, schema="charging")
