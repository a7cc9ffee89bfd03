"""The kinds about roaming: CDRs, platforms, operators, providers and their tariffs."""

from __future__ import annotations

from typing import Any

from ampeco.resources import commercial, partnership
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import Kind, ReadRule

CDR = Kind(
    "cdr",
    commercial.Cdr,
    "cdrs/v2.0",
    group="roaming",
    changed_filters=("sent_after", "received_after"),  # our own CDRs, then those of roaming partners
    reference_filter="roaming_id",
    read_rules=(ReadRule("cdr.received", "id"),),
)

ROAMING: tuple[Kind[Any], ...] = (
    CDR,
    Kind(
        "roaming_platform",
        Resource,
        "roaming-connections/v2.0",  # the present name of roaming-platforms/v1.0
        group="roaming",
        changed_filters=(),
        read_rules=(ReadRule("roamingPlatform.changed", "roaming_platform_id"),),
    ),
    Kind(
        "roaming_operator",
        partnership.RoamingOperator,
        "roaming-operators/v2.0",
        group="roaming",
        paging="page",
        changed_filters=(),
    ),
    Kind("roaming_provider", Resource, "roaming-providers/v2.0", group="roaming", paging="page", changed_filters=()),
    Kind("roaming_tariff", Resource, "roaming-tariffs/v2.0", group="roaming", paging="page", changed_filters=()),
)
