"""Tables of master data: locations, charge points, EVSEs and tariffs as they are, and as they were."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, Integer, Numeric, SmallInteger

from analytics.schema.derived import PRICE, derived, flag_column, id_column, json_column, number_column, text_column
from storage.schema.tables import instant

#: The kinds of which :data:`master_version` keeps versions.
VERSIONED = ("location", "charge_point", "evse", "tariff")

location = derived(
    "location",
    "A place with charge points, as it is",
    [id_column("location_id", "Location", nullable=False)],
    [
        text_column("name", "Name, in English where there is one"),
        text_column("status", "enabled or disabled"),
        text_column("external_id", "Id that the operator gave it"),
        text_column("street_address", "Address, in English where there is one"),
        text_column("city", "City"),
        text_column("region", "Region"),
        text_column("post_code", "Post code"),
        text_column("country", "Country, ISO 3166-1 alpha-2"),
        number_column("latitude", "Latitude, degrees, WGS 84; null: AMPECO gives none", Numeric(9, 6)),
        number_column("longitude", "Longitude, degrees, WGS 84; null: AMPECO gives none", Numeric(9, 6)),
        text_column("timezone", "IANA time zone of its local days; null: AMPECO gives none that is known, see finding"),
        json_column("working_hours", "When it is open, in its own time zone, as AMPECO shows it; null: always"),
        id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
        instant("deleted_at", "When it was found gone; null while it exists"),
    ],
    entity="location_id",
)

charge_point = derived(
    "charge_point",
    "A charge point, the unit that holds EVSEs, as it is",
    [id_column("charge_point_id", "Charge point", nullable=False)],
    [
        id_column("location_id", "Location"),
        text_column("name", "Name"),
        text_column("status", "System status: enabled, disabled, out_of_order or demo"),
        text_column("access_type", "public, private or personal"),
        text_column("external_id", "Id that the operator gave it"),
        text_column("ocpp_id", "Identity in OCPP"),
        text_column("ocpp_version", "OCPP version that it speaks"),
        text_column("vendor", "Vendor, by its last boot notification, else by AMPECO's catalogue"),
        text_column("model", "Model, by its last boot notification, else by AMPECO's catalogue"),
        text_column("firmware_version", "Firmware, by its last boot notification"),
        id_column("partner_id", "Partner that owns it"),
        id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
        number_column("evse_count", "Number of its EVSEs that exist", SmallInteger(), nullable=False),
        number_column("max_power_w", "Largest power of its EVSEs that exist, W", Integer()),
        instant("uptime_tracked_since", "Since when AMPECO tracks its uptime; null: AMPECO shows none"),
        instant("deleted_at", "When it was found gone; null while it exists"),
    ],
    Index(None, "tenant", "location_id"),
    entity="charge_point_id",
)

evse = derived(
    "evse",
    "An EVSE, one place that charges one vehicle at a time, as it is",
    [id_column("evse_id", "EVSE", nullable=False)],
    [
        id_column("charge_point_id", "Charge point"),
        id_column("location_id", "Location of its charge point"),
        text_column("label", "Label that drivers see, else the one printed on the unit"),
        text_column("status", "System status: enabled, disabled or out_of_order"),
        text_column("external_id", "Id that the operator gave it"),
        text_column("ocpp_number", "Number of the EVSE in OCPP"),
        text_column("roaming_evse_id", "EVSE id in roaming"),
        text_column("current_type", "ac or dc"),
        number_column("max_power_w", "Maximum power, W", Integer()),
        text_column("phases", "single_phase, three_phase or split_phase"),
        text_column("connector_types", "Types of its plugs, in alphabetical order, with commas"),
        id_column("tariff_group_id", "Tariff group"),
        id_column("roaming_operator_id", "Roaming operator; null for the tenant's own"),
        instant("uptime_tracked_since", "Since when AMPECO tracks its charge point's uptime; null: AMPECO shows none"),
        instant("deleted_at", "When it was found gone; null while it exists"),
    ],
    Index(None, "tenant", "charge_point_id"),
    Index(None, "tenant", "location_id"),
    entity="evse_id",
)

tariff = derived(
    "tariff",
    "How charging is priced, as it is",
    [id_column("tariff_id", "Tariff", nullable=False)],
    [
        text_column("name", "Name"),
        text_column("type", "How it computes the price, such as standard or flat rate"),
        text_column("currency", "Currency, ISO 4217"),
        number_column("price_per_kwh", "Price of a kWh, in currency, if there is only one", PRICE),
        number_column("price_per_session", "Price of a session, in currency", PRICE),
        number_column("connection_fee", "Fee for connecting, in currency", PRICE),
        number_column("idle_fee_per_minute", "Fee of a minute without charging, in currency", PRICE),
        number_column("min_price", "Minimum price of a session, in currency", PRICE),
        id_column("partner_id", "Partner whose tariff it is"),
        instant("deleted_at", "When it was found gone; null while it exists"),
    ],
    entity="tariff_id",
)

master_version = derived(
    "master_version",
    "An entity of master data as it was for a time; the versions of one entity have no gap and no overlap",
    [
        text_column("kind", f"Kind of entity: {', '.join(VERSIONED)}", nullable=False),
        id_column("entity_id", "Id of the entity", nullable=False),
        instant("valid_from", "From when it was so; -infinity: since before anything is known", nullable=False),
    ],
    [
        instant("valid_to", "Until when it was so; infinity: it still is", nullable=False),
        text_column("name", "Name; of an EVSE its label"),
        text_column("status", "System status"),
        id_column("location_id", "Location of a charge point"),
        id_column("charge_point_id", "Charge point of an EVSE"),
        text_column("timezone", "Time zone of a location"),
        text_column("access_type", "public, private or personal, of a charge point"),
        text_column("firmware_version", "Firmware of a charge point"),
        text_column("current_type", "ac or dc, of an EVSE"),
        number_column("max_power_w", "Maximum power of an EVSE, W", Integer()),
        id_column("tariff_group_id", "Tariff group of an EVSE"),
        text_column("currency", "Currency of a tariff, ISO 4217"),
        number_column("price_per_kwh", "Price of a kWh, of a tariff with only one, in currency", PRICE),
        number_column("price_per_session", "Price of a session, of a tariff, in currency", PRICE),
        flag_column("is_initial", "Whether it is what was known first; no revision began it"),
    ],
    CheckConstraint("valid_from < valid_to", name="master_version_order_check"),
    entity="entity_id",
    since="valid_from",
)
