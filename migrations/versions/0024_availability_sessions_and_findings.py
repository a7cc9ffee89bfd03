"""Sessions, energy, availability and findings, for analysts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "charge_attempt",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("source", sa.Text(), nullable=False, comment="authorization or session"),
        sa.Column("source_id", sa.BigInteger(), nullable=False, comment="Id of the authorization, or of the session"),
        sa.Column("attempted_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it was attempted"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location of the charge point at that time"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE; null: the driver had chosen none"),
        sa.Column(
            "session_id", sa.BigInteger(), nullable=True, comment="Session that came of it; of several the first one"
        ),
        sa.Column(
            "driver_key",
            sa.Text(),
            nullable=True,
            comment="Digest of the user with a secret of this database; null: anonymous or erased",
        ),
        sa.Column("method", sa.Text(), nullable=True, comment="How the driver was recognised"),
        sa.Column(
            "result",
            sa.Text(),
            nullable=True,
            comment="accepted, rejected or pending; null: there was no authorization",
        ),
        sa.Column("rejection_reason", sa.Text(), nullable=True, comment="Why it was rejected"),
        sa.Column("outcome", sa.Text(), nullable=True, comment="Outcome of the session; null: there was none"),
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the session stopped, or when it was attempted if there was none; null while it runs",
        ),
        sa.Column("energy_wh", sa.Numeric(precision=14, scale=3), nullable=True, comment="Energy of the session, Wh"),
        sa.Column(
            "is_success", sa.Boolean(), nullable=True, comment="Plain rule: energy was delivered; null: open or unknown"
        ),
        sa.Column(
            "is_csr_success",
            sa.Boolean(),
            nullable=True,
            comment="Charging success rate of Germany's national centre: energy was delivered, and the session ended without an error; null: open or unknown",
        ),
        sa.Column(
            "removed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the authorization, or the session, was found gone; null while it exists",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.CheckConstraint("source IN ('authorization', 'session')", name="charge_attempt_source_check"),
        sa.PrimaryKeyConstraint("tenant", "source", "source_id", name=op.f("charge_attempt_pkey")),
        schema="analytics",
        comment="An attempt to charge: an authorization, also a refused one, or a session that none allowed",
    )
    op.create_index(
        op.f("charge_attempt_tenant_attempted_at_idx"),
        "charge_attempt",
        ["tenant", "attempted_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("charge_attempt_tenant_charge_point_id_attempted_at_idx"),
        "charge_attempt",
        ["tenant", "charge_point_id", "attempted_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        "charge_attempt_visit_idx",
        "charge_attempt",
        ["tenant", "location_id", "driver_key", "attempted_at", "source", "source_id"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("charge_attempt_tenant_change_number_idx"),
        "charge_attempt",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("charge_attempt_tenant_evse_id_attempted_at_idx"),
        "charge_attempt",
        ["tenant", "evse_id", "attempted_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("charge_attempt_tenant_location_id_attempted_at_idx"),
        "charge_attempt",
        ["tenant", "location_id", "attempted_at"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "downtime_period",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("subject", sa.Text(), nullable=False, comment="evse or charge_point"),
        sa.Column(
            "downtime_period_id", sa.BigInteger(), nullable=False, comment="Id of the period at AMPECO, of this subject"
        ),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE; null: the whole charge point"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location"),
        sa.Column("type", sa.Text(), nullable=True, comment="downtime, or exempt: not to be counted as downtime"),
        sa.Column(
            "entry_mode", sa.Text(), nullable=True, comment="automatic: made by AMPECO; manual: made by a person"
        ),
        sa.Column("notice", sa.Text(), nullable=True, comment="Reason that a person gave"),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it began"),
        sa.Column(
            "ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it ended; null while it lasts"
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found deleted at AMPECO; null while it exists",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.PrimaryKeyConstraint("tenant", "subject", "downtime_period_id", name=op.f("downtime_period_pkey")),
        schema="analytics",
        comment="A time in which an EVSE or a charge point was down by AMPECO's own account, or is exempt from counting as down",
    )
    op.create_index(
        op.f("downtime_period_tenant_change_number_idx"),
        "downtime_period",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("downtime_period_tenant_charge_point_id_started_at_idx"),
        "downtime_period",
        ["tenant", "charge_point_id", "started_at"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "energy_interval",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session"),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Beginning of the quarter of an hour",
        ),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location at the session's start"),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Time zone of the location; null: AMPECO gives none that is known",
        ),
        sa.Column(
            "duration_s", sa.Integer(), nullable=False, comment="Time of the session within the quarter, seconds"
        ),
        sa.Column("energy_wh", sa.Numeric(precision=14, scale=3), nullable=False, comment="Energy, Wh"),
        sa.Column(
            "estimated_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=False,
            comment="Part of the energy that no sample places in this quarter, Wh",
        ),
        sa.Column("power_peak_w", sa.Integer(), nullable=True, comment="Highest sampled power, W; null: no sample"),
        sa.Column(
            "method",
            sa.Text(),
            nullable=False,
            comment="What the curve was made of: register, power, consumption_stats, linear",
        ),
        sa.Column(
            "anomalies",
            sa.SmallInteger(),
            nullable=False,
            comment="Samples that were left out, by their unit, number or time, and falls of the register",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.Column(
            "energy_kwh",
            sa.Numeric(precision=14, scale=6),
            sa.Computed("energy_wh / 1000", persisted=True),
            nullable=True,
            comment="Energy, kWh",
        ),
        sa.Column(
            "local_day",
            sa.Date(),
            sa.Computed("(timezone(timezone, began_at))::date", persisted=True),
            nullable=True,
            comment="Local day; null without a time zone",
        ),
        sa.Column(
            "local_hour_at",
            postgresql.TIMESTAMP(timezone=True),
            sa.Computed(
                "timezone('UTC'::text, timezone('UTC'::text, began_at) - (timezone(timezone, began_at) - date_trunc('hour'::text, timezone(timezone, began_at))))",
                persisted=True,
            ),
            nullable=True,
            comment="When the local hour began; null without a time zone",
        ),
        sa.CheckConstraint(
            "method IN ('register', 'power', 'consumption_stats', 'linear')", name="energy_interval_method_check"
        ),
        sa.CheckConstraint("estimated_wh BETWEEN 0 AND energy_wh", name="energy_interval_estimated_check"),
        sa.PrimaryKeyConstraint("tenant", "session_id", "began_at", name=op.f("energy_interval_pkey")),
        schema="analytics",
        comment="The energy of a session in a quarter of an hour (UTC); a session's rows add up to its energy to the last digit",
    )
    op.create_index(
        op.f("energy_interval_tenant_change_number_idx"),
        "energy_interval",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("energy_interval_tenant_evse_id_began_at_idx"),
        "energy_interval",
        ["tenant", "evse_id", "began_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("energy_interval_tenant_location_id_local_day_idx"),
        "energy_interval",
        ["tenant", "location_id", "local_day"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("energy_interval_tenant_location_id_local_hour_at_idx"),
        "energy_interval",
        ["tenant", "location_id", "local_hour_at"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "evse_day",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column("day", sa.Date(), nullable=False, comment="Local day"),
        sa.Column(
            "charge_point_id",
            sa.BigInteger(),
            nullable=True,
            comment="Charge point of the EVSE, by its latest master data",
        ),
        sa.Column(
            "location_id", sa.BigInteger(), nullable=True, comment="Location of the EVSE, by its latest master data"
        ),
        sa.Column(
            "timezone", sa.Text(), nullable=False, comment="Time zone of the location, by its latest master data"
        ),
        sa.Column("began_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="Beginning of the day"),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="End of the day"),
        sa.Column(
            "day_s",
            sa.Integer(),
            nullable=False,
            comment="Length of the day, seconds: 86,400, or else where clocks change",
        ),
        sa.Column("available_s", sa.Integer(), nullable=False, comment="Seconds in the state available"),
        sa.Column("preparing_s", sa.Integer(), nullable=False, comment="Seconds in the state preparing"),
        sa.Column("charging_s", sa.Integer(), nullable=False, comment="Seconds in the state charging"),
        sa.Column("suspended_s", sa.Integer(), nullable=False, comment="Seconds in the state suspended"),
        sa.Column("finishing_s", sa.Integer(), nullable=False, comment="Seconds in the state finishing"),
        sa.Column("reserved_s", sa.Integer(), nullable=False, comment="Seconds in the state reserved"),
        sa.Column("occupied_s", sa.Integer(), nullable=False, comment="Seconds in the state occupied"),
        sa.Column("faulted_s", sa.Integer(), nullable=False, comment="Seconds in the state faulted"),
        sa.Column("unavailable_s", sa.Integer(), nullable=False, comment="Seconds in the state unavailable"),
        sa.Column("offline_s", sa.Integer(), nullable=False, comment="Seconds in the state offline"),
        sa.Column("unknown_s", sa.Integer(), nullable=False, comment="Seconds in the state unknown"),
        sa.Column(
            "observed_s", sa.Integer(), nullable=False, comment="Seconds of stretches whose coverage is observed"
        ),
        sa.Column(
            "closed_s", sa.Integer(), nullable=False, comment="Seconds outside the opening hours of the location"
        ),
        sa.Column(
            "not_working_closed_s",
            sa.Integer(),
            nullable=False,
            comment="Seconds faulted or unavailable outside the opening hours",
        ),
        sa.Column(
            "unmeasured_closed_s",
            sa.Integer(),
            nullable=False,
            comment="Seconds offline, occupied or unknown outside the opening hours",
        ),
        sa.Column("excluded_s", sa.Integer(), nullable=False, comment="Seconds of outages that exclusions cover"),
        sa.Column("sessions", sa.Integer(), nullable=False, comment="Sessions that started"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="Attempts to charge"),
        sa.Column(
            "energy_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Energy delivered, Wh; null: more than the column holds",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.Column(
            "energy_kwh",
            sa.Numeric(precision=14, scale=6),
            sa.Computed("energy_wh / 1000", persisted=True),
            nullable=True,
            comment="Energy delivered, kWh",
        ),
        sa.Column(
            "outage_s",
            sa.Integer(),
            sa.Computed("faulted_s + unavailable_s + offline_s", persisted=True),
            nullable=True,
            comment="Seconds in outages: faulted, unavailable and offline",
        ),
        sa.CheckConstraint(
            "available_s + preparing_s + charging_s + suspended_s + finishing_s + reserved_s + occupied_s + faulted_s + unavailable_s + offline_s + unknown_s = day_s",
            name="evse_day_sum_check",
        ),
        sa.CheckConstraint("excluded_s <= faulted_s + unavailable_s + offline_s", name="evse_day_excluded_check"),
        sa.PrimaryKeyConstraint("tenant", "evse_id", "day", name=op.f("evse_day_pkey")),
        schema="analytics",
        comment="An EVSE on a local day that is over; seconds in which nothing is known are unknown",
    )
    op.create_index(
        op.f("evse_day_tenant_change_number_idx"),
        "evse_day",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(op.f("evse_day_tenant_day_idx"), "evse_day", ["tenant", "day"], unique=False, schema="analytics")
    op.create_index(
        op.f("evse_day_tenant_location_id_day_idx"),
        "evse_day",
        ["tenant", "location_id", "day"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "evse_uptime_month",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column("month", sa.Date(), nullable=False, comment="First day of the last of the twelve months"),
        sa.Column(
            "charge_point_id",
            sa.BigInteger(),
            nullable=True,
            comment="Charge point of the EVSE, by its latest master data",
        ),
        sa.Column(
            "location_id", sa.BigInteger(), nullable=True, comment="Location of the EVSE, by its latest master data"
        ),
        sa.Column(
            "days", sa.SmallInteger(), nullable=False, comment="Days of the twelve months of which anything is known"
        ),
        sa.Column("outage_s", sa.Integer(), nullable=False, comment="Seconds in outages"),
        sa.Column("excluded_s", sa.Integer(), nullable=False, comment="Seconds of outages that exclusions cover"),
        sa.Column(
            "nevi_uptime_percent",
            sa.Numeric(precision=6, scale=3),
            nullable=False,
            comment="100 × (525,600 - (outage - excluded)) / 525,600 in minutes, %; 23 CFR 680.116(b)",
        ),
        sa.Column("known_s", sa.Integer(), nullable=False, comment="Seconds in which the state was known"),
        sa.Column(
            "up_share_percent",
            sa.Numeric(precision=6, scale=3),
            nullable=True,
            comment="Share of the known time without an outage, %; null: none is known",
        ),
        sa.Column(
            "coverage_percent",
            sa.Numeric(precision=6, scale=3),
            nullable=False,
            comment="Share of the twelve months in which the state was known, %",
        ),
        sa.Column(
            "ampeco_downtime_s", sa.Integer(), nullable=False, comment="Seconds of AMPECO's own downtime periods"
        ),
        sa.Column("rule", sa.Text(), nullable=False, comment="Version of the rules by which it was computed"),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.Column(
            "meets_97",
            sa.Boolean(),
            sa.Computed("outage_s - excluded_s < 946080", persisted=True),
            nullable=True,
            comment="Whether the uptime is greater than 97 %, before it is rounded",
        ),
        sa.PrimaryKeyConstraint("tenant", "evse_id", "month", name=op.f("evse_uptime_month_pkey")),
        schema="analytics",
        comment="The uptime of an EVSE over the twelve months that end with a month, which is over at its location",
    )
    op.create_index(
        op.f("evse_uptime_month_tenant_change_number_idx"),
        "evse_uptime_month",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("evse_uptime_month_tenant_location_id_month_idx"),
        "evse_uptime_month",
        ["tenant", "location_id", "month"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("evse_uptime_month_tenant_month_idx"),
        "evse_uptime_month",
        ["tenant", "month"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "exclusion",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When it began, or when the outage did",
        ),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="Where it comes from: evse_exempt_period, charge_point_exempt_period, opening_hours, operator",
        ),
        sa.Column(
            "source_id",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the exempt period or of the operator's entry; 0: opening hours",
        ),
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When it ended, or when the outage did; infinity while both last",
        ),
        sa.Column(
            "outage_began_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="Beginning of the outage"
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="Why it is let out"),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="What proves it"),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.CheckConstraint(
            "source IN ('evse_exempt_period', 'charge_point_exempt_period', 'opening_hours', 'operator')",
            name="exclusion_source_check",
        ),
        sa.CheckConstraint("began_at < ended_at", name="exclusion_order_check"),
        sa.PrimaryKeyConstraint("tenant", "evse_id", "began_at", "source", "source_id", name=op.f("exclusion_pkey")),
        schema="analytics",
        comment="A time of an outage that regulation lets out; only what overlaps an outage of the EVSE is here",
    )
    op.create_index(
        op.f("exclusion_tenant_change_number_idx"),
        "exclusion",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "finding",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("rule", sa.Text(), nullable=False, comment="Rule that it broke, as in the list of rules"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of the entity, such as session or evse"),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id of the entity"),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="From when on it holds; -infinity: no time",
        ),
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Until when it held; infinity while it does",
        ),
        sa.Column("severity", sa.Text(), nullable=False, comment="high, medium or low"),
        sa.Column(
            "evidence",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The values that break the rule, an object",
        ),
        sa.Column(
            "first_seen_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="When it was found first"
        ),
        sa.Column(
            "resolved_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found resolved; null while it is open",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.PrimaryKeyConstraint("tenant", "rule", "kind", "entity_id", "began_at", name=op.f("finding_pkey")),
        schema="analytics",
        comment="Something that looks wrong in the data; it stays when it is resolved",
    )
    op.create_index(
        "finding_open_idx",
        "finding",
        ["tenant", "rule"],
        unique=False,
        schema="analytics",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index(
        op.f("finding_tenant_change_number_idx"),
        "finding",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("finding_tenant_kind_entity_id_idx"),
        "finding",
        ["tenant", "kind", "entity_id"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "outage",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column("began_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="When it began"),
        sa.Column(
            "ended_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When it ended; infinity while it lasts",
        ),
        sa.Column(
            "charge_point_id",
            sa.BigInteger(),
            nullable=True,
            comment="Charge point of the EVSE, by its latest master data",
        ),
        sa.Column(
            "location_id", sa.BigInteger(), nullable=True, comment="Location of the EVSE, by its latest master data"
        ),
        sa.Column(
            "cause", sa.Text(), nullable=False, comment="State in which it was longest: faulted, unavailable, offline"
        ),
        sa.Column(
            "error_code",
            sa.Text(),
            nullable=True,
            comment="First error code that the EVSE reported in it, other than NoError",
        ),
        sa.Column("outage_s", sa.Integer(), nullable=True, comment="Its length, seconds; null while it lasts"),
        sa.Column(
            "excluded_s",
            sa.Integer(),
            nullable=True,
            comment="Time of it that exclusions cover, seconds; null while it lasts",
        ),
        sa.Column(
            "session_before_id",
            sa.BigInteger(),
            nullable=True,
            comment="Last session that started on the EVSE before it",
        ),
        sa.Column(
            "session_after_id",
            sa.BigInteger(),
            nullable=True,
            comment="First session that started on the EVSE after it",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.CheckConstraint("cause IN ('faulted', 'unavailable', 'offline')", name="outage_cause_check"),
        sa.CheckConstraint("began_at < ended_at", name="outage_order_check"),
        sa.PrimaryKeyConstraint("tenant", "evse_id", "began_at", name=op.f("outage_pkey")),
        schema="analytics",
        comment="A time in which an EVSE was down throughout: faulted, unavailable or offline; it ends where the state is unknown",
    )
    op.create_index(
        op.f("outage_tenant_change_number_idx"), "outage", ["tenant", "change_number"], unique=False, schema="analytics"
    )
    op.create_index(
        op.f("outage_tenant_location_id_began_at_idx"),
        "outage",
        ["tenant", "location_id", "began_at"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "session",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location at its start"),
        sa.Column("location_name", sa.Text(), nullable=True, comment="Name of the location at its start"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("charge_point_name", sa.Text(), nullable=True, comment="Name of the charge point at its start"),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE"),
        sa.Column("evse_label", sa.Text(), nullable=True, comment="Label of the EVSE at its start"),
        sa.Column("connector_id", sa.BigInteger(), nullable=True, comment="Connector"),
        sa.Column("connector_type", sa.Text(), nullable=True, comment="Plug type of the connector"),
        sa.Column("current_type", sa.Text(), nullable=True, comment="ac or dc, of the EVSE at its start"),
        sa.Column("max_power_w", sa.Integer(), nullable=True, comment="Maximum power of the EVSE at its start, W"),
        sa.Column("tariff_group_id", sa.BigInteger(), nullable=True, comment="Tariff group of the EVSE at its start"),
        sa.Column(
            "tariff_id",
            sa.BigInteger(),
            nullable=True,
            comment="Tariff by which it was priced, if AMPECO shows a snapshot of it",
        ),
        sa.Column("tariff_name", sa.Text(), nullable=True, comment="Name of the tariff as it was then"),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="Time zone of the location; null: AMPECO gives none that is known",
        ),
        sa.Column(
            "local_day", sa.Date(), nullable=True, comment="Local day on which it started; null without a time zone"
        ),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it started"),
        sa.Column(
            "stopped_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it stopped; null while it runs",
        ),
        sa.Column("status", sa.Text(), nullable=True, comment="Status as AMPECO spells it"),
        sa.Column(
            "outcome",
            sa.Text(),
            nullable=False,
            comment="What came of it: pending, running, charged, empty, failed, expired, unknown",
        ),
        sa.Column("stop_reason", sa.Text(), nullable=True, comment="Why it stopped, as AMPECO spells it"),
        sa.Column(
            "connected_s", sa.Integer(), nullable=True, comment="From start to stop, seconds; null while it runs"
        ),
        sa.Column(
            "charging_s",
            sa.Integer(),
            nullable=True,
            comment="In charging periods, seconds; null while it runs or without periods",
        ),
        sa.Column(
            "idle_s",
            sa.Integer(),
            nullable=True,
            comment="In idle periods, seconds; null while it runs or without periods",
        ),
        sa.Column("energy_wh", sa.Numeric(precision=14, scale=3), nullable=True, comment="Energy delivered so far, Wh"),
        sa.Column(
            "energy_grid_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Part of the energy from the grid, Wh",
        ),
        sa.Column(
            "energy_local_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Part of the energy from local sources, Wh",
        ),
        sa.Column(
            "energy_non_billable_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Part of the energy that is not billed, Wh",
        ),
        sa.Column(
            "meter_start_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Register of the meter at the start, Wh",
        ),
        sa.Column(
            "meter_stop_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="Register of the meter at the stop, Wh",
        ),
        sa.Column(
            "meter_gap_wh",
            sa.Numeric(precision=14, scale=3),
            nullable=True,
            comment="What the register counted more than the session's energy, Wh",
        ),
        sa.Column(
            "power_average_w",
            sa.Integer(),
            nullable=True,
            comment="Average power, W, by AMPECO, else energy by connected time",
        ),
        sa.Column(
            "power_peak_w", sa.Integer(), nullable=True, comment="Highest power, W, by AMPECO, else by the samples"
        ),
        sa.Column(
            "soc_begin_percent",
            sa.Numeric(precision=6, scale=3),
            nullable=True,
            comment="First state of charge of the battery among the samples, %",
        ),
        sa.Column(
            "soc_end_percent",
            sa.Numeric(precision=6, scale=3),
            nullable=True,
            comment="Last state of charge, by the samples, else by AMPECO, %",
        ),
        sa.Column(
            "amount_with_tax", sa.Numeric(precision=18, scale=6), nullable=True, comment="Price with tax, in currency"
        ),
        sa.Column(
            "amount_without_tax",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Price without tax, in currency",
        ),
        sa.Column(
            "tax_amount",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Tax, in currency: the difference of both",
        ),
        sa.Column("tax_percent", sa.Numeric(precision=6, scale=3), nullable=True, comment="Tax rate, %"),
        sa.Column("currency", sa.Text(), nullable=True, comment="Currency of the amounts, ISO 4217"),
        sa.Column(
            "electricity_cost",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Cost of the electricity, in currency",
        ),
        sa.Column("payment_type", sa.Text(), nullable=True, comment="How it is paid"),
        sa.Column("payment_status", sa.Text(), nullable=True, comment="pending, paid, partially or failed"),
        sa.Column("billing_status", sa.Text(), nullable=True, comment="pending, suspended or completed"),
        sa.Column(
            "is_final", sa.Boolean(), nullable=False, comment="Whether billing is completed, so that the price stays"
        ),
        sa.Column("authorization_id", sa.BigInteger(), nullable=True, comment="Authorization that allowed it"),
        sa.Column(
            "driver_key",
            sa.Text(),
            nullable=True,
            comment="Digest of the user with a secret of this database; null: anonymous or erased",
        ),
        sa.Column(
            "is_roaming",
            sa.Boolean(),
            nullable=False,
            comment="Whether it has a CDR, or its EVSE belongs to a roaming operator",
        ),
        sa.Column(
            "cdr_ids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="CDRs of it, an array of ids; null: none is known",
        ),
        sa.Column(
            "provisional",
            sa.Boolean(),
            nullable=False,
            comment="Whether only parts of it arrived so far, so that a read is awaited",
        ),
        sa.Column(
            "conflicting",
            sa.Boolean(),
            nullable=False,
            comment="Whether facts of equal time contradict each other, so that a read is awaited",
        ),
        sa.Column(
            "removed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found gone at AMPECO; null while it exists",
        ),
        sa.Column(
            "change_number", sa.BigInteger(), nullable=False, comment="Number of the last change, in the tenant's feed"
        ),
        sa.Column(
            "changed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the last change was derived",
        ),
        sa.Column(
            "energy_kwh",
            sa.Numeric(precision=14, scale=6),
            sa.Computed("energy_wh / 1000", persisted=True),
            nullable=True,
            comment="Energy delivered so far, kWh",
        ),
        sa.CheckConstraint(
            "outcome IN ('pending', 'running', 'charged', 'empty', 'failed', 'expired', 'unknown')",
            name="session_outcome_check",
        ),
        sa.PrimaryKeyConstraint("tenant", "session_id", name=op.f("session_pkey")),
        schema="analytics",
        comment="A charging session, with names and tariff as they were when it started",
    )
    op.create_index(
        op.f("session_tenant_change_number_idx"),
        "session",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("session_tenant_charge_point_id_started_at_idx"),
        "session",
        ["tenant", "charge_point_id", "started_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("session_tenant_evse_id_started_at_idx"),
        "session",
        ["tenant", "evse_id", "started_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("session_tenant_location_id_started_at_idx"),
        "session",
        ["tenant", "location_id", "started_at"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("session_tenant_started_at_idx"), "session", ["tenant", "started_at"], unique=False, schema="analytics"
    )


def downgrade() -> None:
    op.drop_table("session", schema="analytics")
    op.drop_table("outage", schema="analytics")
    op.drop_table("finding", schema="analytics")
    op.drop_table("exclusion", schema="analytics")
    op.drop_table("evse_uptime_month", schema="analytics")
    op.drop_table("evse_day", schema="analytics")
    op.drop_table("energy_interval", schema="analytics")
    op.drop_table("downtime_period", schema="analytics")
    op.drop_table("charge_attempt", schema="analytics")
