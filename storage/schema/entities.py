"""Define the mirrors: a table for each kind of entity, made of column groups with their own clocks.

:mod:`storage.schema.column_groups` explains column groups and how a table is made of them. This module contains sites
and sessions, :mod:`storage.schema.commerce` contains commerce and all other kinds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import JSONB

from ampeco.resources.kinds import KINDS
from storage.schema import billing, equipment, partnership
from storage.schema.column_groups import (
    ColumnGroup,
    Mirror,
    flag_column,
    id_column,
    mirror,
    number_column,
    raw_column,
    text_column,
)
from storage.schema.commerce import authorization, cdr, reservation, resource, tariff, transaction
from storage.schema.tables import instant

__all__ = ["ABOUT_READS", "CHILDREN", "MIRRORS", "READ_ONLY", "ColumnGroup", "Mirror"]


def _log(status: str) -> list[Column[Any]]:
    """Return the column of a status log's group; the clock of the group is the end of the covered time."""
    return [instant(f"{status}_covered_from_at", f"The status log was read from then on, up to {status}_log_at")]


def _hardware() -> list[Column[Any]]:
    return [
        text_column("hardware_status", "Hardware status as AMPECO spells it; null: never reported"),
        text_column("error_code", "OCPP error code; NoError when fine"),
        text_column("error_info", "Free text of the charge point about the error"),
        text_column("vendor_id", "Vendor whose error code it is"),
        text_column("vendor_error_code", "Error code of the vendor"),
    ]


def _price_breakdown() -> Column[Any]:
    return Column("price_breakdown", JSONB, comment="Parts of the price, an array of objects as AMPECO shows them")


location = mirror(
    "location",
    "A place with charge points",
    {
        "master": [
            text_column("name", "Name, in English where there is one"),
            text_column("status", "enabled or disabled"),
            text_column("external_id", "Id that the operator gave it"),
            text_column("street_address", "Address, in English where there is one"),
            text_column("city", "City"),
            text_column("region", "Region"),
            text_column("post_code", "Post code"),
            text_column("country", "Country, ISO 3166-1 alpha-2"),
            number_column("latitude", "Latitude, degrees, WGS 84"),
            number_column("longitude", "Longitude, degrees, WGS 84"),
            text_column("timezone", "IANA time zone"),
            Column("working_hours", JSONB, comment="When it is open, in its own time zone, as AMPECO shows it"),
            id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            raw_column(),
        ]
    },
    has_children=True,
)

charge_point = mirror(
    "charge_point",
    "A charge point: the unit that holds EVSEs and speaks OCPP",
    {
        "master": [
            text_column("name", "Name"),
            text_column("access_type", "public, private or personal"),
            text_column("status", "System status: enabled, disabled, out_of_order or demo"),
            id_column("location_id", "Location"),
            id_column("charging_zone_id", "Charging zone within the location"),
            text_column("network_id", "Identity in OCPP"),
            text_column("network_protocol", "OCPP version that it speaks"),
            text_column("communication_mode", "none, direct_ocpp, via_ocpp_connected_charge_point or roaming"),
            text_column("external_id", "Id that the operator gave it"),
            id_column("model_id", "Model in AMPECO's catalogue"),
            id_column("partner_id", "Partner that owns it"),
            id_column("owner_user_id", "User that owns a personal one; 0 for an erased user"),
            id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            flag_column("managed_by_operator", "Whether the operator manages it"),
            Column("tags", JSONB, comment="Tags, an array of text"),
            flag_column("uptime_tracking_enabled", "Whether AMPECO tracks its uptime"),
            instant("uptime_tracking_activated_at", "Since when AMPECO tracks its uptime"),
            instant("created_at", "When it was created at AMPECO"),
            raw_column(),
        ],
        "network": [
            text_column(
                "network_status", "never_connected, available, temporarily_unavailable or long_term_unavailable"
            )
        ],
        "network_log": _log("network"),
        "hardware": _hardware(),
        "hardware_log": _log("hardware"),
        "boot": [
            text_column("boot_vendor", "Vendor, by its last boot notification"),
            text_column("boot_model", "Model, by its last boot notification"),
            text_column("firmware_version", "Firmware, by its last boot notification"),
            text_column("charge_point_serial_number", "Serial number of the charge point"),
            text_column("charge_box_serial_number", "Serial number of the charge box"),
            text_column("meter_type", "Type of its meter"),
            text_column("meter_serial_number", "Serial number of its meter"),
            text_column("iccid", "ICCID of its SIM card"),
            text_column("imsi", "IMSI of its SIM card"),
        ],
    },
    "location_id",
)

evse = mirror(
    "evse",
    "An EVSE: one place of a charge point that charges one vehicle at a time",
    {
        "master": [
            id_column("charge_point_id", "Charge point"),
            text_column("physical_reference", "Label printed on the unit"),
            text_column("label", "Label shown to drivers"),
            text_column("current_type", "ac or dc"),
            text_column("network_id", "Number of the EVSE in OCPP"),
            text_column("status", "System status: enabled, disabled or out_of_order"),
            number_column("max_power_w", "Maximum power, W"),
            text_column("max_voltage_v", "Voltage, V; a range such as 220-240 is kept as sent"),
            number_column("max_amperage_a", "Maximum current, A"),
            text_column("phases", "single_phase, three_phase or split_phase"),
            id_column("tariff_group_id", "Tariff group"),
            flag_column("allows_reservation", "Whether it can be reserved"),
            flag_column("booking_enabled", "Whether it can be booked"),
            text_column("external_id", "Id that the operator gave it"),
            id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            text_column("roaming_evse_id", "EVSE id in roaming"),
            instant("created_at", "When it was created at AMPECO"),
            raw_column(),
        ],
        "hardware": _hardware(),
        "hardware_log": _log("hardware"),
    },
    "charge_point_id",
    has_children=True,
)

connector = mirror(
    "connector",
    "A plug or socket of an EVSE; it follows the clock of its EVSE",
    {
        "master": [
            text_column("type", "Plug type, such as ccs2 or type2"),
            text_column("format", "socket or cable"),
            text_column("status", "enabled or disabled"),
        ],
        "presence": [id_column("evse_id", "EVSE")],
    },
    "evse_id",
    parent="evse",
)

session = mirror(
    "session",
    "A charging session",
    {
        # Filled by start and stop notices and by every snapshot.
        "state": [
            text_column("status", "pending, active, finished, failed, expired or unknown"),
            id_column("charge_point_id", "Charge point"),
            id_column("evse_id", "EVSE"),
            instant("started_at", "When it started"),
            instant("stopped_at", "When it stopped; null while it runs"),
            text_column("stop_reason", "Why it stopped"),
            number_column("energy_wh", "Energy delivered so far, Wh"),
        ],
        # Filled by snapshots; until the first one, a start notice fills in the user and the id tag.
        "detail": [
            id_column("connector_id", "Connector"),
            id_column("user_id", "User; null for an anonymous user, 0 for an erased one"),
            text_column("id_tag", "RFID tag, or * and the session id for a remote start"),
            text_column("external_session_id", "Id that another system gave it"),
            id_column("authorization_id", "Authorization"),
            id_column("booking_id", "Booking"),
            id_column("original_session_id", "First session of the chain that this one continues"),
            id_column("extended_by_session_id", "Session that continues this one"),
            number_column("energy_grid_wh", "Part of the energy from the grid, Wh"),
            number_column("energy_local_wh", "Part of the energy from local sources, Wh"),
            number_column("non_billable_energy_wh", "Part of the energy that is not billed, Wh"),
            number_column("power_w", "Latest power, W"),
            number_column("power_peak_w", "Highest power, W"),
            number_column("power_average_w", "Average power, W"),
            number_column("soc_percent", "State of charge of the battery, %"),
            number_column("amount_with_tax", "Price with tax, in currency"),
            number_column("amount_without_tax", "Price without tax, in currency"),
            text_column("currency", "Currency, ISO 4217"),
            number_column("tax_percent", "Tax rate, %"),
            number_column("electricity_cost", "Cost of the electricity, in currency"),
            text_column("payment_type", "How it is paid"),
            text_column("payment_method_id", "Payment method"),
            text_column("payment_status", "pending, paid, partially or failed"),
            instant("payment_status_updated_at", "When payment_status changed"),
            text_column("billing_status", "pending, suspended or completed; the price is final once completed"),
            id_column("tariff_snapshot_id", "Tariff as it was for this session"),
            id_column("receipt_id", "Receipt"),
            id_column("terminal_id", "Payment terminal"),
            raw_column(),
        ],
        # Filled by reads, because notifications leave it out.
        "price": [_price_breakdown()],
        # Filled by start and stop notices only.
        "meter": [
            number_column("meter_start_wh", "Register of the meter at the start, Wh"),
            number_column("meter_stop_wh", "Register of the meter at the stop, Wh"),
        ],
    },
    "started_at",
    "evse_id",
    "connector_id",
    "tariff_snapshot_id",
    has_children=True,
)

charging_period = mirror(
    "charging_period",
    "A part of a session, charging or idle; it follows the clock of its session",
    {
        "master": [
            instant("started_at", "When it started"),
            instant("stopped_at", "When it stopped; null while it runs"),
            text_column("charging_state", "charging or idle"),
            number_column("energy_wh", "Energy of the period, Wh"),
            number_column("amount", "Price of the period, in the session's currency"),
        ],
        "price": [_price_breakdown()],
        "presence": [id_column("session_id", "Session")],
    },
    "session_id",
    parent="session",
)

_TABLES = (
    *(location, charge_point, evse, connector, authorization, session, charging_period),
    *(transaction, reservation, cdr, tariff),
    *(equipment.charging_zone, equipment.evse_downtime_period, equipment.charge_point_downtime_period),
    *(equipment.downtime_period_notice, equipment.charge_point_vendor, equipment.charge_point_model),
    *(equipment.vendor_error_code, equipment.payment_terminal),
    *(billing.tariff_group, billing.tariff_snapshot, billing.receipt, billing.invoice, billing.subscription),
    *(partnership.partner_contract, partnership.partner_revenue, partnership.partner_expense),
    partnership.roaming_operator,
)

#: Every mirrored kind of entity by its name, in the one order in which all transactions write them, so that two
#: transactions never wait for each other in a circle. A kind without a table of its own is stored in
#: ``charging.resource``.
MIRRORS: dict[str, Mirror] = {table.name: table for table in _TABLES}
MIRRORS |= {kind: replace(resource, kind=kind) for kind in KINDS if kind not in MIRRORS}

#: The kind of an entity's children, by the kind of the entity. Children have no read of their own.
CHILDREN: dict[str, str] = {child.parent: name for name, child in MIRRORS.items() if child.parent is not None}

#: Columns that name a person. Master data is tracked without them, and the console hides or labels them.
PERSONAL_COLUMNS = frozenset({"user_id", "owner_user_id", "id_tag", "payment_method_id"})

#: Column groups that describe reads, and not the entity itself.
ABOUT_READS = frozenset({"presence", "hardware_log", "network_log"})

#: Column groups that only reads fill, so that it is no lost notification if they differ from a read.
READ_ONLY = ABOUT_READS | {"price"}
