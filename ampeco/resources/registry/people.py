"""The kinds about people: users, their id tags, and what users are shown."""

from __future__ import annotations

from typing import Any

from ampeco.resources.commercial import Resource
from ampeco.resources.kind import HOUR, Kind, ReadRule

PEOPLE: tuple[Kind[Any], ...] = (
    Kind(
        "user",
        Resource,
        "users/v1.1",
        group="people",
        older_paths=("users/v1.0",),
        paging="empty cursor",
        read_rules=(
            ReadRule("UserChangedNotification", "user.id"),
            ReadRule("userBalance.changed", "user_id"),
            ReadRule("user.subscription.changed", "user_id"),
            ReadRule("user.subscriptionChanged", "user_id"),
            ReadRule("user.paymentMethod.changed", "user_id", "unknown"),
            ReadRule("user.invoiceDetails.changed", "user_id", "unknown"),
        ),
    ),
    Kind(
        "id_tag",
        Resource,
        "id-tags/v2.0",
        group="people",
        paging="empty cursor",
        changed_every=HOUR,
        read_rules=(ReadRule("idTag.changed", "id_tags_id"),),
    ),
    Kind("user_group", Resource, "user-groups/v1.0", group="people", paging="page", changed_every=HOUR),
    Kind("provisioning_certificate", Resource, "provisioning-certificates/v2.0", group="people", changed_filters=()),
    Kind("term_version", Resource, "terms-and-policies/v2.0", group="people", paging="page", changed_filters=()),
    Kind("faq", Resource, "faqs/v2.0", group="people", paging="page", changed_filters=()),
)
