"""Tables about partners and roaming operators: contracts, revenues and expenses."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column

from storage.schema.column_groups import flag_column, id_column, mirror, number_column, raw_column, text_column
from storage.schema.tables import instant

partner_contract = mirror(
    "partner_contract",
    "A contract with a partner",
    {
        "master": [
            text_column("title", "Title"),
            id_column("partner_id", "Partner"),
            instant("starts_at", "When it takes effect"),
            instant("ends_at", "When it expires; null: it does not"),
            flag_column("is_renewed_automatically", "Whether it is renewed at its end"),
            text_column("external_id", "Id that the operator gave it"),
            number_column("partner_share_ac_percent", "Partner's share of the revenue at AC EVSEs, %"),
            number_column("partner_share_dc_percent", "Partner's share of the revenue at DC EVSEs, %"),
            number_column("monthly_fee_per_charge_point", "Monthly fee for each charge point, without tax"),
            number_column("monthly_fee_per_ac_evse", "Monthly fee for each AC EVSE, without tax"),
            number_column("monthly_fee_per_dc_evse", "Monthly fee for each DC EVSE, without tax"),
            raw_column(),
        ]
    },
    "partner_id",
)


def _entry(origin: str) -> list[Column[Any]]:
    return [
        id_column("partner_id", "Partner"),
        instant("booked_at", "Date of the entry"),
        text_column("origin", origin),
        number_column("amount_with_tax", "Amount with tax, in currency, if AMPECO shows it"),
        number_column("amount_without_tax", "Amount without tax, in currency"),
        text_column("currency", "Currency, ISO 4217"),
        id_column("settlement_report_id", "Settlement report that contains it"),
        id_column("session_id", "Session, where it is about one"),
    ]


partner_revenue = mirror(
    "partner_revenue",
    "What a partner and the operator earned by a session, or a reimbursement",
    {
        "master": [
            *_entry("session-cpo or electricity-tax-reimbursement"),
            number_column("operator_share", "Operator's share, in currency"),
            number_column("partner_share", "Partner's share, in currency"),
            number_column("electricity_cost", "Cost of the electricity, in currency"),
            number_column("remaining_revenue", "Revenue after the cost, in currency"),
            instant("collected_at", "When the driver had paid all of it; null: not yet"),
            raw_column(),
        ]
    },
    "partner_id",
    "session_id",
)

partner_expense = mirror(
    "partner_expense",
    "What a partner owes",
    {
        "master": [
            *_entry("platform-fee-emsp, platform-fee-cpo, user-custom-fee or session-emsp"),
            number_column("discount_percent", "Operator's discount, %"),
            number_column("discount_amount", "Operator's discount, in currency"),
            raw_column(),
        ]
    },
    "partner_id",
    "session_id",
)

roaming_operator = mirror(
    "roaming_operator",
    "A charge point operator or mobility service provider that the tenant roams with",
    {
        "master": [
            text_column("role", "Role, such as cpo"),
            text_column("business_name", "Name"),
            text_column("hubject_id", "Id at Hubject"),
            id_column("platform_id", "Roaming platform"),
            id_column("partner_id", "Partner that stands for it"),
            flag_column("is_enabled", "Whether roaming with it is enabled"),
            text_column("country_code", "Country in its OCPI id, ISO 3166-1 alpha-2"),
            text_column("party_id", "Party in its OCPI id"),
            raw_column(),
        ]
    },
)
