"""The tenant's entities as tables: one row each, made of column groups with their own clocks.

A *group* is a set of columns that one source replaces together. Beside its columns it
keeps three of its own:

- ``<group>_at``: the time of the newest fact, by the source's clock;
- ``<group>_version``: orders facts of equal time (see :mod:`storage.facts`);
- ``<group>_contested``: two different facts carry that time, and a read has to settle it.

The group ``presence`` holds the tombstone: a read that finds nothing sets
``deleted_at``, a later one that finds the entity lifts it. Rows are never deleted.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables import CHARGING, instant, metadata, tenant_column


@dataclass(frozen=True, slots=True)
class Group:
    """Columns that share a clock."""

    name: str
    columns: tuple[str, ...]

    @property
    def at(self) -> str:
        return f"{self.name}_at"

    @property
    def version(self) -> str:
        return f"{self.name}_version"

    @property
    def contested(self) -> str:
        return f"{self.name}_contested"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirrored entity: its table, the name of its id column, and its groups."""

    table: Table
    key: str
    groups: tuple[Group, ...]

    @property
    def name(self) -> str:
        return self.table.name

    def group(self, name: str) -> Group:
        return next(group for group in self.groups if group.name == name)


#: Every mirrored entity by table name, in the one order in which tables are written:
#: two transactions that write several tables never wait for each other in a circle.
MIRRORS: dict[str, Mirror] = {}


def _text(name: str, comment: str) -> Column[str]:
    return Column(name, Text, comment=comment)


def _id(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, comment=comment)


def _number(name: str, comment: str) -> Column:  # type: ignore[type-arg]
    return Column(name, Numeric, comment=comment)


def _flag(name: str, comment: str) -> Column[bool]:
    return Column(name, Boolean, comment=comment)


def _raw() -> Column:  # type: ignore[type-arg]
    return Column("raw", JSONB, comment="The newest snapshot as sent, without secrets, for what has no column")


def _hardware() -> list[Column]:  # type: ignore[type-arg]
    return [
        _text("hardware_status", "Hardware status as AMPECO spells it; null: never reported"),
        _text("error_code", "OCPP error code; NoError when fine"),
        _text("error_info", "Free text of the charge point about the error"),
        _text("vendor_id", "Vendor whose error code it is"),
        _text("vendor_error_code", "Error code of the vendor"),
    ]


def _mirror(
    name: str,
    comment: str,
    groups: dict[str, list[Column]],  # type: ignore[type-arg]
    *indexes: str,
) -> Mirror:
    key = f"{name}_id"
    groups = groups | {"presence": [instant("deleted_at", "When a read found it gone, by the tenant's clock")]}
    columns: list[Column] = [tenant_column(), Column(key, BigInteger, nullable=False, comment="Id at AMPECO")]  # type: ignore[type-arg]
    described = tuple(Group(group, tuple(str(column.name) for column in own)) for group, own in groups.items())
    for group, own in zip(described, groups.values(), strict=True):
        columns += own
        columns += [
            instant(group.at, f"Time of the newest {group.name} fact, by its source's clock"),
            Column(group.version, Text(collation="C"), comment=f"Orders {group.name} facts of equal time"),
            Column(
                group.contested,
                Boolean,
                nullable=False,
                server_default=text("false"),
                comment=f"Different {group.name} facts carry {group.at}; a read will settle it",
            ),
        ]
    columns += [
        instant("first_seen_at", "When this row was first written", nullable=False, default=func.now()),
        instant("updated_at", "When this row last changed", nullable=False, default=func.now()),
    ]
    table = Table(
        name,
        metadata,
        *columns,
        PrimaryKeyConstraint("tenant", key),
        *[Index(None, "tenant", indexed) for indexed in indexes],
        schema=CHARGING,
        comment=comment,
    )
    mirror = MIRRORS[name] = Mirror(table, key, described)
    return mirror


location = _mirror(
    "location",
    "A place with charge points",
    {
        "master": [
            _text("name", "Name, in English where there is one"),
            _text("status", "enabled or disabled"),
            _text("external_id", "Id that the operator gave it"),
            _text("street_address", "Address, in English where there is one"),
            _text("city", "City"),
            _text("region", "Region"),
            _text("post_code", "Post code"),
            _text("country", "Country, ISO 3166-1 alpha-2"),
            _number("latitude", "Latitude, degrees, WGS 84"),
            _number("longitude", "Longitude, degrees, WGS 84"),
            _text("timezone", "IANA time zone"),
            _id("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            _raw(),
        ]
    },
)

charge_point = _mirror(
    "charge_point",
    "A charge point: the unit that holds EVSEs and speaks OCPP",
    {
        "master": [
            _text("name", "Name"),
            _text("access_type", "public, private or personal"),
            _text("status", "System status: enabled, disabled, out_of_order or demo"),
            _id("location_id", "Location"),
            _id("charging_zone_id", "Charging zone within the location"),
            _text("network_id", "Identity in OCPP"),
            _text("network_protocol", "OCPP version that it speaks"),
            _text("communication_mode", "none, direct_ocpp, via_ocpp_connected_charge_point or roaming"),
            _text("external_id", "Id that the operator gave it"),
            _id("model_id", "Model in AMPECO's catalogue"),
            _id("partner_id", "Partner that owns it"),
            _id("owner_user_id", "User that owns it, for a personal one"),
            _id("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            _flag("managed_by_operator", "Whether the operator manages it"),
            Column("tags", JSONB, comment="Tags, an array of text"),
            instant("created_at", "When it was created at AMPECO"),
            _raw(),
        ],
        "network": [
            _text("network_status", "never_connected, available, temporarily_unavailable or long_term_unavailable")
        ],
        "hardware": _hardware(),
        "boot": [
            _text("boot_vendor", "Vendor, by its last boot notification"),
            _text("boot_model", "Model, by its last boot notification"),
            _text("firmware_version", "Firmware, by its last boot notification"),
            _text("charge_point_serial_number", "Serial number of the charge point"),
            _text("charge_box_serial_number", "Serial number of the charge box"),
            _text("meter_type", "Type of its meter"),
            _text("meter_serial_number", "Serial number of its meter"),
            _text("iccid", "ICCID of its SIM card"),
            _text("imsi", "IMSI of its SIM card"),
        ],
    },
    "location_id",
)

evse = _mirror(
    "evse",
    "An EVSE: one place of a charge point that charges one vehicle at a time",
    {
        "master": [
            _id("charge_point_id", "Charge point"),
            _text("physical_reference", "Label printed on the unit"),
            _text("label", "Label shown to drivers"),
            _text("current_type", "ac or dc"),
            _text("network_id", "Number of the EVSE in OCPP"),
            _text("status", "System status: enabled, disabled or out_of_order"),
            _number("max_power_w", "Most power, W"),
            _text("max_voltage_v", "Voltage, V; a range such as 220-240 is kept as sent"),
            _number("max_amperage_a", "Most current, A"),
            _text("phases", "single_phase, three_phase or split_phase"),
            _id("tariff_group_id", "Tariff group"),
            _flag("allows_reservation", "Whether it can be reserved"),
            _flag("booking_enabled", "Whether it can be booked"),
            _text("external_id", "Id that the operator gave it"),
            _id("roaming_operator_id", "Roaming operator; null for the tenant's own"),
            _text("roaming_evse_id", "EVSE id in roaming"),
            instant("created_at", "When it was created at AMPECO"),
            _raw(),
        ],
        "hardware": _hardware(),
    },
    "charge_point_id",
)

connector = _mirror(
    "connector",
    "A plug or socket of an EVSE; it follows the clock of its EVSE",
    {
        "master": [
            _id("evse_id", "EVSE"),
            _text("type", "Plug type, such as ccs2 or type2"),
            _text("format", "socket or cable"),
            _text("status", "enabled or disabled"),
        ]
    },
    "evse_id",
)

authorization = _mirror(
    "authorization",
    "Leave to charge, as a session names it",
    {
        "master": [
            _text("method", "How the driver was recognised"),
            _text("source", "local, roaming or third_party"),
            _text("status", "accepted, rejected or pending"),
            _text("rejection_reason", "Why it was rejected"),
            _id("user_id", "User; 0 for anonymous"),
            _text("id_tag", "RFID tag"),
            instant("created_at", "When it was asked for"),
            _raw(),
        ]
    },
)

session = _mirror(
    "session",
    "A charging session",
    {
        # Told by start and stop notices and by every snapshot.
        "state": [
            _text("status", "pending, active, finished, failed, expired or unknown"),
            _id("charge_point_id", "Charge point"),
            _id("evse_id", "EVSE"),
            instant("started_at", "When it started"),
            instant("stopped_at", "When it stopped; null while it runs"),
            _text("stop_reason", "Why it stopped"),
            _number("energy_wh", "Energy delivered so far, Wh"),
        ],
        # Told by snapshots; a start notice fills in who charges until the first one.
        "detail": [
            _id("connector_id", "Connector"),
            _id("user_id", "User; null for anonymous"),
            _text("id_tag", "RFID tag, or * and the session id for a remote start"),
            _text("external_session_id", "Id that another system gave it"),
            _id("authorization_id", "Authorization"),
            _id("booking_id", "Booking"),
            _id("original_session_id", "First session of the chain that this one continues"),
            _id("extended_by_session_id", "Session that continues this one"),
            _number("energy_grid_wh", "Part of the energy from the grid, Wh"),
            _number("energy_local_wh", "Part of the energy from local sources, Wh"),
            _number("non_billable_energy_wh", "Part of the energy that is not billed, Wh"),
            _number("power_w", "Latest power, W"),
            _number("power_peak_w", "Highest power, W"),
            _number("power_average_w", "Average power, W"),
            _number("soc_percent", "State of charge of the battery, %"),
            _number("amount_with_tax", "Price with tax, in currency"),
            _number("amount_without_tax", "Price without tax, in currency"),
            _text("currency", "Currency, ISO 4217"),
            _number("tax_percent", "Tax rate, %"),
            _number("electricity_cost", "Cost of the electricity, in currency"),
            _text("payment_type", "How it is paid"),
            _text("payment_method_id", "Payment method"),
            _text("payment_status", "pending, paid, partially or failed"),
            instant("payment_status_updated_at", "When payment_status changed"),
            _text("billing_status", "pending, suspended or completed; the price is final once completed"),
            _id("tariff_snapshot_id", "Tariff as it stood"),
            _id("receipt_id", "Receipt"),
            _id("terminal_id", "Payment terminal"),
            _raw(),
        ],
        # Told by start and stop notices alone.
        "meter": [
            _number("meter_start_wh", "Register of the meter at the start, Wh"),
            _number("meter_stop_wh", "Register of the meter at the stop, Wh"),
        ],
    },
    "started_at",
    "evse_id",
)

charging_period = _mirror(
    "charging_period",
    "A part of a session, charging or idle; it follows the clock of its session",
    {
        "master": [
            _id("session_id", "Session"),
            instant("started_at", "When it started"),
            instant("stopped_at", "When it stopped; null while it runs"),
            _text("charging_state", "charging or idle"),
            _number("energy_wh", "Energy of the period, Wh"),
            _number("amount", "Price of the period, in the session's currency"),
        ]
    },
    "session_id",
)
