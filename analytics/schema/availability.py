"""Tables of availability: downtime, exclusions and outages, and what days and months they make."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
)

from analytics.schema.derived import (
    ENERGY,
    PERCENT,
    day_column,
    derived,
    id_column,
    is_one_of,
    json_column,
    kwh_column,
    number_column,
    seconds_column,
    text_column,
)
from analytics.schema.evse_state import STATES
from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

#: The states in which an EVSE is down. ``unknown`` is neither up nor down.
DOWN = ("faulted", "unavailable", "offline")

downtime_period = derived(
    "downtime_period",
    "A time in which an EVSE or a charge point was down by AMPECO's own account, or is exempt from counting as down",
    [
        text_column("subject", "evse or charge_point", nullable=False),
        id_column("downtime_period_id", "Id of the period at AMPECO, of this subject", nullable=False),
    ],
    [
        id_column("evse_id", "EVSE; null: the whole charge point"),
        id_column("charge_point_id", "Charge point"),
        id_column("location_id", "Location"),
        text_column("type", "downtime, or exempt: not to be counted as downtime"),
        text_column("entry_mode", "automatic: made by AMPECO; manual: made by a person"),
        text_column("notice", "Reason that a person gave"),
        instant("started_at", "When it began"),
        instant("ended_at", "When it ended; null while it lasts"),
        instant("deleted_at", "When it was found deleted at AMPECO; null while it exists"),
    ],
    Index(None, "tenant", "charge_point_id", "started_at"),
    Index(None, "tenant", "evse_id", "started_at"),
    entity="downtime_period_id",
)

#: An EVSE's exempt period and one of its charge point may have the same id, so they are two sources.
EXCLUSION_SOURCES = ("evse_exempt_period", "charge_point_exempt_period", "opening_hours", "operator")

exclusion = derived(
    "exclusion",
    "A time of an outage that regulation lets out; only what overlaps an outage of the EVSE is here",
    [
        id_column("evse_id", "EVSE", nullable=False),
        instant("began_at", "When it began, or when the outage did", nullable=False),
        text_column("source", f"Where it comes from: {', '.join(EXCLUSION_SOURCES)}", nullable=False),
        id_column("source_id", "Id of the exempt period or of the operator's entry; 0: opening hours", nullable=False),
    ],
    [
        instant("ended_at", "When it ended, or when the outage did; infinity while both last", nullable=False),
        instant("outage_began_at", "Beginning of the outage", nullable=False),
        text_column("reason", "Why it is let out"),
        json_column("evidence", "What proves it"),
    ],
    CheckConstraint("began_at < ended_at", name="exclusion_order_check"),
    CheckConstraint(is_one_of("source", EXCLUSION_SOURCES), name="exclusion_source_check"),
    Index(None, "tenant", "evse_id", "ended_at"),
    entity="evse_id",
    since="began_at",
)

outage = derived(
    "outage",
    "A time in which an EVSE was down throughout: faulted, unavailable or offline; it ends where the state is unknown",
    [
        id_column("evse_id", "EVSE", nullable=False),
        instant("began_at", "When it began", nullable=False),
    ],
    [
        instant("ended_at", "When it ended; infinity while it lasts", nullable=False),
        id_column("charge_point_id", "Charge point of the EVSE, by its latest master data"),
        id_column("location_id", "Location of the EVSE, by its latest master data"),
        text_column("cause", f"State in which it was longest: {', '.join(DOWN)}", nullable=False),
        text_column(
            "error_code", "First error code that the EVSE reported in it, or else its charge point, other than NoError"
        ),
        seconds_column("outage_s", "Its length, seconds; null while it lasts"),
        seconds_column("excluded_s", "Time of it that exclusions cover, seconds; null while it lasts"),
        id_column("session_before_id", "Last session that started on the EVSE before it"),
        id_column("session_after_id", "First session that started on the EVSE after it"),
    ],
    CheckConstraint("began_at < ended_at", name="outage_order_check"),
    CheckConstraint(is_one_of("cause", DOWN), name="outage_cause_check"),
    Index(None, "tenant", "location_id", "began_at"),
    entity="evse_id",
    since="began_at",
)

evse_day = derived(
    "evse_day",
    "An EVSE on a local day that is over; seconds in which nothing is known are unknown",
    [
        id_column("evse_id", "EVSE", nullable=False),
        day_column("day", "Local day", nullable=False),
    ],
    [
        id_column("charge_point_id", "Charge point of the EVSE, by its latest master data"),
        id_column("location_id", "Location of the EVSE, by its latest master data"),
        text_column("timezone", "Time zone of the location, by its latest master data", nullable=False),
        instant("began_at", "Beginning of the day", nullable=False),
        instant("ended_at", "End of the day", nullable=False),
        seconds_column("day_s", "Length of the day, seconds: 86,400, or else where clocks change", nullable=False),
        *[seconds_column(f"{state}_s", f"Seconds in the state {state}", nullable=False) for state in STATES],
        seconds_column("observed_s", "Seconds of stretches whose coverage is observed", nullable=False),
        seconds_column("closed_s", "Seconds outside the opening hours of the location", nullable=False),
        seconds_column(
            "not_working_closed_s", "Seconds faulted or unavailable outside the opening hours", nullable=False
        ),
        seconds_column(
            "unmeasured_closed_s", "Seconds offline, occupied or unknown outside the opening hours", nullable=False
        ),
        seconds_column("excluded_s", "Seconds of outages that exclusions cover", nullable=False),
        number_column("sessions", "Sessions that started", Integer(), nullable=False),
        number_column("attempts", "Attempts to charge", Integer(), nullable=False),
        number_column("energy_wh", "Energy delivered, Wh; null: more than the column holds", ENERGY),
    ],
    kwh_column("energy_wh", "Energy delivered, kWh"),
    Column(
        "outage_s",
        Integer,
        Computed(" + ".join(f"{state}_s" for state in DOWN), persisted=True),
        comment="Seconds in outages: faulted, unavailable and offline",
    ),
    CheckConstraint(f"{' + '.join(f'{state}_s' for state in STATES)} = day_s", name="evse_day_sum_check"),
    CheckConstraint("excluded_s <= faulted_s + unavailable_s + offline_s", name="evse_day_excluded_check"),
    Index(None, "tenant", "location_id", "day"),
    Index(None, "tenant", "day"),
    entity="evse_id",
    since="began_at",
)

evse_uptime_month = derived(
    "evse_uptime_month",
    "The uptime of an EVSE over the twelve months that end with a month, which is over at its location",
    [
        id_column("evse_id", "EVSE", nullable=False),
        day_column("month", "First day of the last of the twelve months", nullable=False),
    ],
    [
        id_column("charge_point_id", "Charge point of the EVSE, by its latest master data"),
        id_column("location_id", "Location of the EVSE, by its latest master data"),
        number_column("days", "Days of the twelve months of which anything is known", SmallInteger(), nullable=False),
        seconds_column("outage_s", "Seconds in outages", nullable=False),
        seconds_column("excluded_s", "Seconds of outages that exclusions cover", nullable=False),
        number_column(
            "nevi_uptime_percent",
            "100 × (525,600 - (outage - excluded)) / 525,600 in minutes, %; 23 CFR 680.116(b)",
            PERCENT,
            nullable=False,
        ),
        seconds_column("known_s", "Seconds in which the state was known", nullable=False),
        number_column("up_share_percent", "Share of the known time without an outage, %; null: none is known", PERCENT),
        number_column(
            "coverage_percent", "Share of the twelve months in which the state was known, %", PERCENT, nullable=False
        ),
        seconds_column("ampeco_downtime_s", "Seconds of AMPECO's own downtime periods", nullable=False),
        text_column("rule", "Version of the rules by which it was computed", nullable=False),
    ],
    Column(
        "meets_97",
        Boolean,
        Computed("outage_s - excluded_s < 946080", persisted=True),
        comment="Whether the uptime is greater than 97 %, before it is rounded",
    ),
    Index(None, "tenant", "location_id", "month"),
    Index(None, "tenant", "month"),
    entity="evse_id",
)

availability_progress = Table(
    "availability_progress",
    metadata,
    tenant_column(),
    id_column("evse_id", "EVSE", nullable=False),
    id_column("charge_point_id", "Charge point for which its rows were derived"),
    id_column("location_id", "Location for which its rows were derived"),
    text_column("timezone", "Time zone in which its days were derived"),
    json_column("working_hours", "Opening hours with which its rows were derived"),
    instant("days_until_at", "End of the last day that was derived; null: none was"),
    instant("due_at", "When the next day or month is over that is to be derived; null: none will be"),
    PrimaryKeyConstraint("tenant", "evse_id"),
    Index(None, "tenant", "due_at"),
    schema=ANALYTICS,
    comment="For what each EVSE's days were last derived, and when the next one is over; no part of the contract",
)
