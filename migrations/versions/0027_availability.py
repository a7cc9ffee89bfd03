"""Exclusions that operators enter, what days and months are derived from, and views of reliability and utilisation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0027"
down_revision = "0026"

VIEWS = {
    "network_reliability_year": (
        "Reliability of a tenant's own public rapid charging network in a calendar year, by regulation 7 of the Public"
        " Charge Point Regulations 2023 (S.I. 2023/1168)",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "year": "Calendar year of the local days, up to the last day that is over",
            "evses": "EVSEs of at least 50 kW, of own charge points whose access type is public",
            "open_s": "Seconds within the opening hours, of all of them together",
            "reliable_percent_as_written": "Share of this time neither faulted nor unavailable, %: unknown, offline and"
            " occupied count as reliable, as the regulation has it",
            "reliable_percent_measured": "The same without the time that is unknown, offline or occupied, %",
            "meets_99_as_written": "Whether the first share is at least 99 %, before it is rounded",
        },
    ),
    "utilisation_day": (
        "How much the EVSEs of a location were used on a local day",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "location_id": "Location, by the EVSEs' latest master data",
            "day": "Local day",
            "evses": "EVSEs of which the day is known or partly known",
            "day_s": "Length of the day, seconds, times the number of EVSEs",
            "known_s": "Seconds in which the state was known",
            "charging_s": "Seconds charging",
            "occupied_s": "Seconds in use: charging, suspended, finishing, preparing or occupied",
            "utilisation_percent": "Share of the known time in which they charged, %; null: none is known",
            "outage_s": "Seconds in outages",
            "sessions": "Sessions that started",
            "attempts": "Attempts to charge at an EVSE",
            "energy_wh": "Energy delivered, Wh",
            "energy_kwh": "Energy delivered, kWh",
        },
    ),
}


def upgrade() -> None:
    _create_operator_exclusion()
    op.create_table(
        "availability_progress",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column("charge_point_id", sa.BigInteger(), comment="Charge point for which its rows were derived"),
        sa.Column("location_id", sa.BigInteger(), comment="Location for which its rows were derived"),
        sa.Column("timezone", sa.Text(), comment="Time zone in which its days were derived"),
        sa.Column("working_hours", postgresql.JSONB(), comment="Opening hours with which its rows were derived"),
        sa.Column(
            "days_until_at",
            postgresql.TIMESTAMP(timezone=True),
            comment="End of the last day that was derived; null: none was",
        ),
        sa.Column(
            "due_at",
            postgresql.TIMESTAMP(timezone=True),
            comment="When the next day or month is over that is to be derived; null: none will be",
        ),
        sa.PrimaryKeyConstraint("tenant", "evse_id", name=op.f("availability_progress_pkey")),
        schema="analytics",
        comment="For what each EVSE's days were last derived, and when the next one is over; no part of the contract",
    )
    for table, columns in (
        ("availability_progress", ["tenant", "due_at"]),
        ("downtime_period", ["tenant", "evse_id", "started_at"]),
        ("exclusion", ["tenant", "evse_id", "ended_at"]),
    ):
        op.create_index(op.f(f"{table}_{'_'.join(columns)}_idx"), table, columns, unique=False, schema="analytics")
    op.execute(read_sql("0027_first_instant"))
    op.execute(
        "COMMENT ON FUNCTION analytics.first_instant(timestamp, text) IS"
        " 'When a local time is there first; one that clocks skip counts as if they had not yet been changed'"
    )
    for view, (comment, meanings) in VIEWS.items():
        op.execute(read_sql(f"0027_{view}"))
        op.execute(f"COMMENT ON VIEW analytics.{view} IS {_quoted(comment)}")
        for column, meaning in meanings.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS {_quoted(meaning)}")


def _quoted(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def _create_operator_exclusion() -> None:
    op.create_table(
        "operator_exclusion",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "exclusion_id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="Number of the entry",
        ),
        sa.Column(
            "evse_id", sa.BigInteger(), comment="EVSE that it covers; null: it covers a charge point or a location"
        ),
        sa.Column("charge_point_id", sa.BigInteger(), comment="Charge point whose EVSEs it covers"),
        sa.Column("location_id", sa.BigInteger(), comment="Location whose EVSEs it covers"),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Beginning of the time that does not count",
        ),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), comment="End of it; null: it lasts"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it does not count, such as vandalism"),
        sa.Column("evidence", sa.Text(), comment="What proves it, such as the number of a police report"),
        sa.Column("entered_by", sa.Text(), nullable=False, comment="Who entered it"),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was entered",
        ),
        sa.Column("withdrawn_at", postgresql.TIMESTAMP(timezone=True), comment="When it was withdrawn; null: it holds"),
        sa.CheckConstraint(
            "num_nonnulls(evse_id, charge_point_id, location_id) = 1", name="operator_exclusion_subject_check"
        ),
        sa.CheckConstraint("began_at < ended_at", name="operator_exclusion_order_check"),
        sa.PrimaryKeyConstraint("tenant", "exclusion_id", name=op.f("operator_exclusion_pkey")),
        schema="charging",
        comment="What an operator lets out of outages, with reason and evidence; rows are withdrawn and never deleted",
    )
    for column in ("evse_id", "charge_point_id", "location_id"):
        op.create_index(
            op.f(f"operator_exclusion_tenant_{column}_idx"),
            "operator_exclusion",
            ["tenant", column],
            unique=False,
            schema="charging",
        )


def downgrade() -> None:
    for view in VIEWS:
        op.execute(f"DROP VIEW analytics.{view}")
    op.execute("DROP FUNCTION analytics.first_instant(timestamp, text)")
    op.drop_index("exclusion_tenant_evse_id_ended_at_idx", "exclusion", schema="analytics")
    op.drop_index("downtime_period_tenant_evse_id_started_at_idx", "downtime_period", schema="analytics")
    op.drop_table("availability_progress", schema="analytics")
    op.drop_table("operator_exclusion", schema="charging")
