"""The kinds of commerce: prices, payments and what is sold."""

from __future__ import annotations

from typing import Any

from ampeco.resources import billing, commercial, equipment
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import DAY, HOUR, WEEK, Kind, ReadRule

TRANSACTION = Kind(
    "transaction",
    commercial.Transaction,
    "transactions/v1.0",
    group="commerce",
    paging="empty cursor",
    read_rules=(
        ReadRule("transaction.changed", "transaction_id"),
        ReadRule("userBalance.changed", "transaction_id", "unknown"),
    ),
)

TARIFF = Kind(
    "tariff",
    commercial.Tariff,
    "tariffs/v1.0",
    group="commerce",
    paging="empty cursor",
    changed_filters=(),
    read_rules=(ReadRule("TariffChangedNotification", "tariff.id"),),
)

COMMERCE: tuple[Kind[Any], ...] = (
    TRANSACTION,
    TARIFF,
    Kind(
        "subscription_plan",
        Resource,
        "subscription-plans/v2.0",
        group="commerce",
        paging="page",
        changed_every=HOUR,
        read_rules=(
            ReadRule("user.subscription.changed", "plan_id", "unknown"),
            ReadRule("user.subscriptionChanged", "plan_id", "unknown"),
        ),
    ),
    Kind(
        "tariff_group",
        billing.TariffGroup,
        "tariff-groups/v1.0",
        group="commerce",
        paging="empty cursor",
        changed_every=HOUR,
    ),
    Kind(
        "tariff_snapshot",
        billing.TariffSnapshot,
        "tariff-snapshots/v1.0",
        group="commerce",
        changed_filters=(),
        has_listing=False,
    ),
    Kind(
        "receipt",
        billing.Receipt,
        "receipts/v2.0",
        group="commerce",
        paging="page",
        changed_filters=(),  # the filter by period leaves out receipts of a single payment
        full_every=WEEK,
    ),
    Kind(
        "invoice",
        billing.Invoice,
        "invoices/v1.0",
        group="commerce",
        paging="page",
        changed_filters=("issued_from",),
        changed_margin=WEEK,  # the filter is by the day on which it was issued, and it may change later
        changed_every=HOUR,
    ),
    Kind(
        "subscription",
        billing.UserSubscription,
        "subscriptions/v1.0",
        group="commerce",
        paging="empty cursor",
        changed_filters=(),
    ),
    Kind(
        "payment_terminal",
        equipment.PaymentTerminal,
        "payment-terminals/v1.0",
        group="commerce",
        paging="page",
        changed_filters=(),
    ),
    Kind("currency", Resource, "currencies/v2.0", group="commerce", paging="page", changed_filters=()),
    Kind(
        "currency_rate",
        Resource,
        "currency-rates/v1.0",
        group="commerce",
        changed_filters=("updated_after",),
        changed_every=HOUR,
    ),
    Kind("tax", Resource, "taxes/v2.0", group="commerce", paging="page", changed_filters=()),
    Kind(
        "tax_identification_number",
        Resource,
        "tax-identification-numbers/v2.0",
        group="commerce",
        paging="page",
        changed_filters=(),
    ),
    Kind(
        "custom_fee",
        Resource,
        "custom-fees/v2.0",
        group="commerce",
        paging="page",
        changed_filters=("created_after",),
        changed_margin=DAY,
        changed_every=HOUR,
    ),
    Kind(
        "voucher",
        billing.Voucher,
        "vouchers/v2.1",
        group="commerce",
        paging="page",
        changed_filters=(),
        full_every=WEEK,
    ),
    Kind("top_up_package", Resource, "top-up-packages/v2.0", group="commerce", paging="page", changed_filters=()),
)
