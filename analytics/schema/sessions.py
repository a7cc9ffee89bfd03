"""Tables of sessions and of attempts to charge."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from analytics.schema.derived import (
    ENERGY,
    MONEY,
    PERCENT,
    day_column,
    derived,
    flag_column,
    id_column,
    is_one_of,
    json_column,
    kwh_column,
    number_column,
    seconds_column,
    text_column,
)
from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

#: How a session came out: it runs or is pending; energy was delivered; it ended without energy; it failed or expired.
OUTCOMES = ("pending", "running", "charged", "empty", "failed", "expired", "unknown")

#: Most sessions that overlap a time began at most LONG_DURATION before it. An open session and one that lasted longer
#: may have begun at any time, so each of these two conditions has a partial index, by which such sessions are found.
OPEN_SESSION = "stopped_at IS NULL AND outcome IN ('pending', 'running')"
LONG_DURATION = "interval '168 hours'"
LONG_SESSION = f"stopped_at - started_at > {LONG_DURATION}"

session = derived(
    "session",
    "A charging session, with names and tariff as they were when it started",
    [id_column("session_id", "Session", nullable=False)],
    [
        id_column("location_id", "Location at its start"),
        text_column("location_name", "Name of the location at its start"),
        id_column("charge_point_id", "Charge point"),
        text_column("charge_point_name", "Name of the charge point at its start"),
        id_column("evse_id", "EVSE"),
        text_column("evse_label", "Label of the EVSE at its start"),
        id_column("connector_id", "Connector"),
        text_column("connector_type", "Plug type of the connector"),
        text_column("current_type", "ac or dc, of the EVSE at its start"),
        number_column("max_power_w", "Maximum power of the EVSE at its start, W", Integer()),
        id_column("tariff_group_id", "Tariff group of the EVSE at its start"),
        id_column("tariff_id", "Tariff by which it was priced, if AMPECO shows a snapshot of it"),
        text_column("tariff_name", "Name of the tariff as it was then"),
        text_column("timezone", "Time zone of the location; null: AMPECO gives none that is known"),
        day_column("local_day", "Local day on which it started; null without a time zone"),
        instant("started_at", "When it started"),
        instant("stopped_at", "When it stopped; null while it runs"),
        text_column("status", "Status as AMPECO spells it"),
        text_column("outcome", f"What came of it: {', '.join(OUTCOMES)}", nullable=False),
        text_column("stop_reason", "Why it stopped, as AMPECO spells it"),
        seconds_column("connected_s", "From start to stop, seconds; null while it runs"),
        seconds_column("charging_s", "In charging periods, seconds; null while it runs or without periods"),
        seconds_column("idle_s", "In idle periods, seconds; null while it runs or without periods"),
        number_column("energy_wh", "Energy delivered so far, Wh", ENERGY),
        number_column("energy_grid_wh", "Part of the energy from the grid, Wh", ENERGY),
        number_column("energy_local_wh", "Part of the energy from local sources, Wh", ENERGY),
        number_column("energy_non_billable_wh", "Part of the energy that is not billed, Wh", ENERGY),
        number_column("meter_start_wh", "Register of the meter at the start, Wh", ENERGY),
        number_column("meter_stop_wh", "Register of the meter at the stop, Wh", ENERGY),
        number_column("meter_gap_wh", "What the register counted more than the session's energy, Wh", ENERGY),
        number_column("power_average_w", "Average power, W, by AMPECO, else energy by connected time", Integer()),
        number_column("power_peak_w", "Highest power, W, by AMPECO, else by the samples", Integer()),
        number_column("soc_begin_percent", "First state of charge of the battery among the samples, %", PERCENT),
        number_column("soc_end_percent", "Last state of charge, by the samples, else by AMPECO, %", PERCENT),
        number_column("amount_with_tax", "Price with tax, in currency", MONEY),
        number_column("amount_without_tax", "Price without tax, in currency", MONEY),
        number_column("tax_amount", "Tax, in currency: the difference of both", MONEY),
        number_column("tax_percent", "Tax rate, %", PERCENT),
        text_column("currency", "Currency of the amounts, ISO 4217"),
        number_column("electricity_cost", "Cost of the electricity, in currency", MONEY),
        text_column("payment_type", "How it is paid"),
        text_column("payment_status", "pending, paid, partially or failed"),
        text_column("billing_status", "pending, suspended or completed"),
        flag_column("is_final", "Whether billing is completed, so that the price stays"),
        id_column("authorization_id", "Authorization that allowed it"),
        text_column("driver_key", "Digest of the user with a secret of this database; null: anonymous or erased"),
        flag_column("is_roaming", "Whether it has a CDR, or its EVSE belongs to a roaming operator"),
        json_column("cdr_ids", "CDRs of it, an array of ids; null: none is known"),
        flag_column("provisional", "Whether only parts of it arrived so far, so that a read is awaited"),
        flag_column("conflicting", "Whether facts of equal time contradict each other, so that a read is awaited"),
        instant("removed_at", "When it was found gone at AMPECO; null while it exists"),
    ],
    kwh_column("energy_wh", "Energy delivered so far, kWh"),
    CheckConstraint(is_one_of("outcome", OUTCOMES), name="session_outcome_check"),
    Index(None, "tenant", "started_at"),
    Index(None, "tenant", "location_id", "started_at"),
    Index(None, "tenant", "location_id", "local_day"),
    Index(None, "tenant", "charge_point_id", "started_at"),
    Index(None, "tenant", "evse_id", "started_at"),
    Index("session_open_idx", "tenant", "evse_id", "started_at", postgresql_where=text(OPEN_SESSION)),
    Index("session_long_idx", "tenant", "evse_id", "started_at", postgresql_where=text(LONG_SESSION)),
    Index("session_provisional_idx", "tenant", "session_id", postgresql_where=text("provisional")),
    Index(
        "session_cdr_idx",
        "cdr_ids",
        postgresql_using="gin",
        postgresql_ops={"cdr_ids": "jsonb_path_ops"},
        postgresql_where=text("cdr_ids IS NOT NULL"),
    ),
    entity="session_id",
    placed=("evse_id", "started_at"),
)

ATTEMPT_SOURCES = ("authorization", "session")

charge_attempt = derived(
    "charge_attempt",
    "An attempt to charge: an authorization, also a refused one, or a session that none allowed",
    [
        text_column("source", "authorization or session", nullable=False),
        id_column("source_id", "Id of the authorization, or of the session", nullable=False),
    ],
    [
        instant("attempted_at", "When it was attempted"),
        id_column("location_id", "Location of the charge point at that time"),
        id_column("charge_point_id", "Charge point"),
        id_column("evse_id", "EVSE; null: the driver had chosen none"),
        id_column("session_id", "Session that came of it; of several the first one"),
        text_column("driver_key", "Digest of the user with a secret of this database; null: anonymous or erased"),
        text_column("method", "How the driver was recognised"),
        text_column("result", "accepted, rejected or pending; null: there was no authorization"),
        text_column("rejection_reason", "Why it was rejected"),
        text_column("outcome", "Outcome of the session; null: there was none"),
        instant("ended_at", "When the session stopped, or when it was attempted if there was none; null while it runs"),
        number_column("energy_wh", "Energy of the session, Wh", ENERGY),
        Column("is_success", Boolean, comment="Plain rule: energy was delivered; null: open or unknown"),
        Column(
            "is_csr_success",
            Boolean,
            comment="Charging success rate of Germany's national centre: energy was delivered, and the session ended"
            " without an error; null: open or unknown",
        ),
        instant("removed_at", "When the authorization, or the session, was found gone; null while it exists"),
    ],
    CheckConstraint(is_one_of("source", ATTEMPT_SOURCES), name="charge_attempt_source_check"),
    Index(None, "tenant", "attempted_at"),
    Index(None, "tenant", "location_id", "attempted_at"),
    Index(None, "tenant", "charge_point_id", "attempted_at"),
    Index(None, "tenant", "evse_id", "attempted_at"),
    # The attempts of a driver at a location in their order, for the view of visits.
    Index("charge_attempt_visit_idx", "tenant", "location_id", "driver_key", "attempted_at", "source", "source_id"),
    entity="source_id",
    placed=("evse_id", "attempted_at"),
)

authorization_session = Table(
    "authorization_session",
    metadata,
    tenant_column(),
    id_column("authorization_id", "Authorization", nullable=False),
    id_column("session_id", "Session", nullable=False),
    text_column("named_by", "Which of them names the other: authorization or session", nullable=False),
    PrimaryKeyConstraint("tenant", "authorization_id", "session_id", "named_by"),
    Index(None, "tenant", "session_id"),
    schema=ANALYTICS,
    comment="Which authorizations and sessions name each other; no part of the contract",
)

#: Minutes of local time are taken off in UTC, because an hour that the clocks repeat is two hours. What a generated
#: column contains must not depend on settings, as adding to an instant does.
LOCAL_HOUR = (
    "timezone('UTC'::text, timezone('UTC'::text, began_at)"
    " - (timezone(timezone, began_at) - date_trunc('hour'::text, timezone(timezone, began_at))))"
)

METHODS = ("register", "power", "consumption_stats", "linear")

energy_interval = derived(
    "energy_interval",
    "The energy of a session in a quarter of an hour (UTC); a session's rows add up to its energy to the last digit",
    [
        id_column("session_id", "Session", nullable=False),
        instant("began_at", "Beginning of the quarter of an hour", nullable=False),
    ],
    [
        id_column("evse_id", "EVSE"),
        id_column("location_id", "Location at the session's start"),
        text_column("timezone", "Time zone of the location; null: AMPECO gives none that is known"),
        seconds_column("duration_s", "Time of the session within the quarter, seconds", nullable=False),
        number_column("energy_wh", "Energy, Wh", ENERGY, nullable=False),
        number_column(
            "estimated_wh", "Part of the energy that no sample places in this quarter, Wh", ENERGY, nullable=False
        ),
        number_column("power_peak_w", "Highest sampled power, W; null: no sample", Integer()),
        text_column("method", f"What the curve was made of: {', '.join(METHODS)}", nullable=False),
        number_column(
            "anomalies",
            "Samples that were left out, by their unit, number or time, and falls of the register",
            SmallInteger(),
            nullable=False,
        ),
    ],
    kwh_column("energy_wh", "Energy, kWh"),
    Column(
        "local_day",
        Date,
        Computed("(timezone(timezone, began_at))::date", persisted=True),
        comment="Local day; null without a time zone",
    ),
    Column(
        "local_hour_at",
        TIMESTAMP(timezone=True),
        Computed(LOCAL_HOUR, persisted=True),
        comment="When the local hour began; null without a time zone",
    ),
    CheckConstraint(is_one_of("method", METHODS), name="energy_interval_method_check"),
    CheckConstraint("estimated_wh BETWEEN 0 AND energy_wh", name="energy_interval_estimated_check"),
    Index(None, "tenant", "location_id", "local_day"),
    Index(None, "tenant", "location_id", "local_hour_at"),
    Index(None, "tenant", "evse_id", "began_at"),
    entity="session_id",
    since="began_at",
    placed=("evse_id", "began_at", "energy_wh"),
)
