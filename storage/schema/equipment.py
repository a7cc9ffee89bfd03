"""Tables of equipment: charging zones, downtime, models and vendors, error codes and payment terminals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column

from storage.schema.column_groups import Mirror, id_column, mirror, raw_column, text_column
from storage.schema.tables import instant

charging_zone = mirror(
    "charging_zone",
    "A part of a location; it arrives with its location, and follows its clock",
    {
        "master": [
            text_column("name", "Name, for the operator alone"),
            text_column("status", "enabled or disabled"),
        ],
        "presence": [id_column("location_id", "Location")],
    },
    "location_id",
    parent="location",
)


def _downtime(subject: str) -> list[Column[Any]]:
    return [
        id_column("charge_point_id", "Charge point"),
        id_column("location_id", "Location"),
        text_column("type", "downtime, or exempt: not to be counted as downtime"),
        text_column("entry_mode", "automatic: made by AMPECO; manual: made by a person"),
        id_column("notice_id", "Reason that a person gave, a downtime period notice"),
        instant("started_at", f"When the {subject} went down"),
        instant("ended_at", "When it was up again; null while it is down"),
        text_column("system_status", "System status when the period was created"),
        text_column("network_status", "Network status of the charge point when the period was created"),
        text_column("hardware_status", "Hardware status when the period was created"),
        raw_column(),
    ]


evse_downtime_period: Mirror = mirror(
    "evse_downtime_period",
    "A time in which an EVSE was down by AMPECO's own account, or is exempt from counting as down",
    {"master": [id_column("evse_id", "EVSE"), *_downtime("EVSE")]},
    "evse_id",
)

charge_point_downtime_period = mirror(
    "charge_point_downtime_period",
    "A time in which a charge point was down by AMPECO's own account, or is exempt from counting as down",
    {"master": _downtime("charge point")},
    "charge_point_id",
)

downtime_period_notice = mirror(
    "downtime_period_notice",
    "A reason that a person can give for a downtime period",
    {
        "master": [
            text_column("type", "downtime or exempt"),
            text_column("notice", "Reason"),
            text_column("description", "Explanation of the reason"),
            instant("created_at", "When it was created"),
            raw_column(),
        ]
    },
)

charge_point_vendor = mirror(
    "charge_point_vendor",
    "A maker of charge points",
    {"master": [text_column("name", "Name"), raw_column()]},
)

charge_point_model = mirror(
    "charge_point_model",
    "A model of charge point",
    {"master": [text_column("name", "Name"), id_column("vendor_id", "Vendor, a charge point vendor"), raw_column()]},
)

vendor_error_code = mirror(
    "vendor_error_code",
    "What an error code of a vendor means",
    {
        "master": [
            text_column("vendor_id", "Vendor, as charge points report it; not a charge point vendor's id"),
            text_column("error_code", "Error code, as charge points report it"),
            text_column("error_code_description", "What it means"),
            text_column("error_code_customer_action", "What a driver can do about it"),
            raw_column(),
        ]
    },
)

payment_terminal = mirror(
    "payment_terminal",
    "A terminal at which drivers pay",
    {
        "master": [
            text_column("name", "Name"),
            text_column("terminal_type", "Make of the terminal"),
            text_column("serial_number", "Serial number"),
            id_column("charge_point_id", "Charge point, if it belongs to one"),
            id_column("charging_zone_id", "Charging zone, if it belongs to one"),
            id_column("operator_id", "Sub-operator"),
            text_column("network_status", "online, offline or unknown"),
            text_column("external_id", "Id that the operator gave it"),
            raw_column(),
        ]
    },
)
