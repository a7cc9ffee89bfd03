"""The kinds about partners: contracts, revenues, expenses and settlement."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ampeco.resources import partnership
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import DAY, HOUR, Kind, ReadRule

PARTNERS: tuple[Kind[Any], ...] = (
    Kind(
        "partner",
        Resource,
        "partners/v2.0",
        group="partners",
        paging="page",
        changed_every=HOUR,
        read_rules=(
            ReadRule("partner.changed", "partner_id"),
            ReadRule("settlementReport.created", "partner_id", "unknown"),
        ),
    ),
    Kind(
        "partner_invite",
        Resource,
        "partner-invites/v2.0",
        group="partners",
        older_paths=("partner-invites/v1.0",),
        paging="page",
        changed_every=HOUR,
        read_rules=(ReadRule("partnerInvite.changed", "partner_invite_id"),),
    ),
    Kind(
        "settlement_report",
        Resource,
        "partner-settlement-reports/v1.0",
        group="partners",
        changed_filters=("period_after",),
        changed_margin=timedelta(days=62),  # a report comes after the end of its period, a month
        changed_every=HOUR,
        read_rules=(ReadRule("settlementReport.created", "id"),),
    ),
    Kind(
        "sub_operator",
        Resource,
        "sub-operators/v2.0",
        group="partners",
        older_paths=("sub-operators/v1.0",),
        paging="page",
        changed_filters=(),
        read_rules=(ReadRule("SubOperatorChangedNotification", "sub_operator.id"),),
    ),
    Kind(
        "partner_contract",
        partnership.PartnerContract,
        "partner-contracts/v1.0",
        group="partners",
        paging="page",
        changed_every=HOUR,
    ),
    Kind(
        "partner_revenue",
        partnership.PartnerRevenue,
        "partner-revenues/v1.2",
        group="partners",
        older_paths=("partner-revenues/v1.1",),
        has_read=False,
        changed_filters=("date_after",),
        changed_margin=timedelta(days=35),  # the monthly settlement changes it
        changed_every=DAY,
    ),
    Kind(
        "partner_expense",
        partnership.PartnerExpense,
        "partner-expenses/v1.2",
        group="partners",
        older_paths=("partner-expenses/v1.1",),
        parts=(("withBreakdown", "true"),),
        has_read=False,
        changed_filters=("date_after",),
        changed_margin=timedelta(days=35),
        changed_every=DAY,
    ),
)
