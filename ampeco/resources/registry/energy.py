"""The kinds about energy: circuits, meters, rates and flexibility."""

from __future__ import annotations

from typing import Any

from ampeco.resources import equipment
from ampeco.resources.commercial import Resource
from ampeco.resources.kind import HOUR, Kind, ReadRule

ENERGY: tuple[Kind[Any], ...] = (
    Kind(
        "circuit",
        Resource,
        "circuits/v2.0",
        group="energy",
        changed_every=HOUR,
        read_rules=(
            ReadRule("circuit.changed", "circuit_id"),
            ReadRule("CircuitConsumptionNotification", "circuit_id", "unknown"),
        ),
    ),
    Kind("electricity_meter", equipment.Integrated, "electricity-meters/v1.0", group="energy", changed_filters=()),
    Kind("electricity_rate", Resource, "electricity-rates/v2.0", group="energy", changed_filters=()),
    Kind("utility", Resource, "utilities/v1.0", group="energy", changed_filters=()),
    Kind(
        "flexibility_asset",
        equipment.Integrated,
        "flexibility-assets/v1.0",
        group="energy",
        changed_filters=("updated_since",),
        changed_every=HOUR,
    ),
    Kind(
        "flexibility_activation_request",
        Resource,
        "flexibility-activation-requests/v1.0",
        group="energy",
        changed_filters=(),
    ),
)
