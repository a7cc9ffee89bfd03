"""Describe the views of the contract; their migrations define them, and a test compares both."""

from __future__ import annotations

from typing import NamedTuple


class Shown(NamedTuple):
    """A column of a view: its name, its type as Postgres spells it, and its meaning."""

    name: str
    kind: str
    meaning: str


class View(NamedTuple):
    """A view: its name in the schema ``analytics``, what one row is, and its columns."""

    name: str
    comment: str
    columns: tuple[Shown, ...]


VIEWS = (
    View(
        "cdr",
        "A CDR of roaming, sent or received, with the session that names it",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("cdr_id", "bigint", "CDR"),
            Shown(
                "session_id",
                "bigint",
                "Session that names it, of several the one with the lowest id; null: none that is known",
            ),
            Shown("roaming_operator_id", "bigint", "Roaming operator or provider with which it was exchanged"),
            Shown("roaming_operator_name", "text", "Name of the roaming operator or provider; null: not known"),
            Shown("protocol_type", "text", "OCPI or Hubject"),
            Shown("roaming_id", "text", "Id that the charge point operator gave it"),
            Shown("session_reference", "text", "Session, by the reference that the roaming partners use"),
            Shown(
                "is_local", "boolean", "Whether the tenant issued it, as charge point operator; otherwise a partner did"
            ),
            Shown("is_credit", "boolean", "Whether it cancels another CDR"),
            Shown("started_at", "timestamp with time zone", "When the session, or its reservation, started"),
            Shown("ended_at", "timestamp with time zone", "When the session ended"),
            Shown("energy_wh", "numeric", "Energy, Wh"),
            Shown("energy_kwh", "numeric", "Energy, kWh"),
            Shown("amount_without_tax", "numeric", "Cost without tax, in currency; not available in OICP"),
            Shown("currency", "text", "Currency, ISO 4217; not available in OICP"),
            Shown("sent_at", "timestamp with time zone", "When it was sent"),
            Shown("received_at", "timestamp with time zone", "When it was received"),
            Shown("delivery_response", "text", "success or fail, if it was sent"),
            Shown("removed_at", "timestamp with time zone", "When it was found gone at AMPECO; null while it exists"),
        ),
    ),
    View(
        "completeness_day",
        "What was received of a tenant on a UTC day of the last 400, what became of it, and what was missed; a "
        "notification counts on the day on which its batch began",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("day", "date", "Day, in UTC; today is as of now"),
            Shown("received", "bigint", "Notifications received"),
            Shown("applied", "bigint", "Those that were applied; null: the day was dropped from the log"),
            Shown("ignored", "bigint", "Those that were ignored; null: the day was dropped from the log"),
            Shown("failed", "bigint", "Those that failed, and were not applied since"),
            Shown("pending", "bigint", "Those that are still to be applied"),
            Shown(
                "found_by_reconcile",
                "bigint",
                "Missing and stale entities that sync runs found which ended on the day, so changes for which no "
                "notification arrived in time",
            ),
            Shown("healed_by_reconcile", "bigint", "Those of them that the sync runs brought up to date"),
            Shown(
                "without_receiver_s",
                "integer",
                "Seconds of the day in which no receiver was alive, since the first one was",
            ),
        ),
    ),
    View(
        "energy_day",
        "Energy of a location on a local day, of the sessions that exist",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("location_id", "bigint", "Location; null: not known"),
            Shown("day", "date", "Local day of the energy; null without a time zone"),
            Shown("timezone", "text", "Time zone of the location; null: AMPECO gives none that is known"),
            Shown("energy_wh", "numeric", "Energy, Wh"),
            Shown("energy_kwh", "numeric", "Energy, kWh"),
            Shown("estimated_wh", "numeric", "Part of the energy that no sample places in its quarter of an hour, Wh"),
        ),
    ),
    View(
        "energy_hour",
        "Energy of a location in a local hour, of the sessions that exist",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("location_id", "bigint", "Location; null: not known"),
            Shown("timezone", "text", "Time zone of the location; null: AMPECO gives none that is known"),
            Shown("hour_began_at", "timestamp with time zone", "Beginning of the local hour; null without a time zone"),
            Shown("energy_wh", "numeric", "Energy, Wh"),
            Shown("energy_kwh", "numeric", "Energy, kWh"),
            Shown("sessions", "bigint", "Number of sessions that had time in this hour, with or without energy in it"),
        ),
    ),
    View(
        "freshness",
        "How far each tenant has come, as of now",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown(
                "last_notification_at",
                "timestamp with time zone",
                "When its last notification was received; null: none was",
            ),
            Shown(
                "applied_until",
                "timestamp with time zone",
                "Every notification that was received before has been applied, ignored or has failed",
            ),
            Shown(
                "derived_until",
                "timestamp with time zone",
                "Every change that was committed before has been derived; null: none was",
            ),
            Shown(
                "oldest_pending_at",
                "timestamp with time zone",
                "When the oldest of what is not applied or not derived was written; null: all is",
            ),
            Shown(
                "oldest_pending_s",
                "integer",
                "Age of the oldest of what is not applied or not derived, seconds; null: all is",
            ),
            Shown("last_change_number", "bigint", "Number of the newest change in its feed"),
            Shown(
                "is_receiver_alive",
                "boolean",
                "Whether a receiver, of all tenants, sent a heartbeat in the last 30 seconds",
            ),
            Shown(
                "findings_until",
                "timestamp with time zone",
                "The findings of everything that was derived before have been evaluated",
            ),
        ),
    ),
    View(
        "network_reliability_year",
        "Reliability of a tenant's own public rapid charging network in a calendar year, by regulation 7 of the "
        "Public Charge Point Regulations 2023 (S.I. 2023/1168)",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("year", "integer", "Calendar year of the local days, up to the last day that is over"),
            Shown("evses", "bigint", "EVSEs of at least 50 kW, of own charge points whose access type is public"),
            Shown("open_s", "numeric", "Seconds within the opening hours, of all of them together"),
            Shown(
                "reliable_percent_as_written",
                "numeric",
                "Share of this time neither faulted nor unavailable, %: unknown, offline and occupied count as "
                "reliable, as the regulation has it",
            ),
            Shown(
                "reliable_percent_measured",
                "numeric",
                "The same without the time that is unknown, offline or occupied, %",
            ),
            Shown("meets_99_as_written", "boolean", "Whether the first share is at least 99 %, before it is rounded"),
        ),
    ),
    View(
        "revenue_day",
        "Revenue of a location from the sessions that started on a local day, of those that exist, by currency",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("location_id", "bigint", "Location; null: not known"),
            Shown("day", "date", "Local day on which the sessions started; null without a time zone"),
            Shown("currency", "text", "Currency of the amounts, ISO 4217; null: sessions without one"),
            Shown("sessions", "bigint", "Number of sessions"),
            Shown("amount_with_tax", "numeric", "Price with tax, in currency"),
            Shown("amount_without_tax", "numeric", "Price without tax, in currency"),
            Shown("tax_amount", "numeric", "Tax, in currency"),
            Shown("electricity_cost", "numeric", "Cost of the electricity, in currency"),
            Shown("energy_wh", "numeric", "Energy of the sessions, Wh, whatever the day of its delivery"),
            Shown(
                "is_final", "boolean", "Whether billing is completed for all of the sessions, so that the amounts stay"
            ),
        ),
    ),
    View(
        "utilisation_day",
        "How much the EVSEs of a location were used on a local day",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("location_id", "bigint", "Location, by the EVSEs' latest master data"),
            Shown("day", "date", "Local day"),
            Shown("evses", "bigint", "EVSEs of which the day is known or partly known"),
            Shown("day_s", "bigint", "Length of the day, seconds, times the number of EVSEs"),
            Shown("known_s", "bigint", "Seconds in which the state was known"),
            Shown("charging_s", "bigint", "Seconds charging"),
            Shown("occupied_s", "bigint", "Seconds in use: charging, suspended, finishing, preparing or occupied"),
            Shown(
                "utilisation_percent",
                "numeric",
                "Share of the known time in which they charged, %; null: none is known",
            ),
            Shown("outage_s", "bigint", "Seconds in outages"),
            Shown("sessions", "bigint", "Sessions that started"),
            Shown("attempts", "bigint", "Attempts to charge at an EVSE"),
            Shown("energy_wh", "numeric", "Energy delivered, Wh"),
            Shown("energy_kwh", "numeric", "Energy delivered, kWh"),
        ),
    ),
    View(
        "visit",
        "Attempts of one driver at one location, each of which began at most 15 minutes after the one before had ended",
        (
            Shown("tenant", "text", "Tenant, as named in tenants.toml"),
            Shown("location_id", "bigint", "Location"),
            Shown("driver_key", "text", "Digest of the user with a secret of this database"),
            Shown("began_at", "timestamp with time zone", "When the first attempt was made"),
            Shown(
                "ended_at",
                "timestamp with time zone",
                "When the last of its attempts ended; null while one of them is open",
            ),
            Shown("attempts", "bigint", "Number of attempts"),
            Shown("succeeded", "bigint", "Number of attempts in which energy was delivered"),
            Shown(
                "first_attempt_succeeded",
                "boolean",
                "Whether energy was delivered in the first attempt; null while it is open, or unknown",
            ),
            Shown("energy_wh", "numeric", "Energy of all attempts, Wh"),
        ),
    ),
)
