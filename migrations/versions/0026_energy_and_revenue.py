"""Energy and revenue by location and local day, for analysts."""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

revision = "0026"
down_revision = "0025"

#: What each view shows, and what its columns do.
VIEWS = {
    "energy_hour": (
        "Energy of a location in a local hour, of the sessions that exist",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "location_id": "Location; null: not known",
            "timezone": "Time zone of the location; null: AMPECO gives none that is known",
            "hour_began_at": "Beginning of the local hour; null without a time zone",
            "energy_wh": "Energy, Wh",
            "energy_kwh": "Energy, kWh",
            "sessions": "Number of sessions that had time in this hour, with or without energy in it",
        },
    ),
    "energy_day": (
        "Energy of a location on a local day, of the sessions that exist",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "location_id": "Location; null: not known",
            "day": "Local day of the energy; null without a time zone",
            "timezone": "Time zone of the location; null: AMPECO gives none that is known",
            "energy_wh": "Energy, Wh",
            "energy_kwh": "Energy, kWh",
            "estimated_wh": "Part of the energy that no sample places in its quarter of an hour, Wh",
        },
    ),
    "revenue_day": (
        "Revenue of a location from the sessions that started on a local day, of those that exist, by currency",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "location_id": "Location; null: not known",
            "day": "Local day on which the sessions started; null without a time zone",
            "currency": "Currency of the amounts, ISO 4217; null: sessions without one",
            "sessions": "Number of sessions",
            "amount_with_tax": "Price with tax, in currency",
            "amount_without_tax": "Price without tax, in currency",
            "tax_amount": "Tax, in currency",
            "electricity_cost": "Cost of the electricity, in currency",
            "energy_wh": "Energy of the sessions, Wh, whatever the day of its delivery",
            "is_final": "Whether billing is completed for all of the sessions, so that the amounts stay",
        },
    ),
}

SESSION_INDEX = "session_tenant_location_id_local_day_idx"


def upgrade() -> None:
    op.create_index(SESSION_INDEX, "session", ["tenant", "location_id", "local_day"], schema="analytics")
    for view, (meaning, columns) in VIEWS.items():
        op.execute(read_sql(f"0026_{view}"))
        op.execute(f"COMMENT ON VIEW analytics.{view} IS '{meaning}'")
        for column, comment in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{view}.{column} IS '{comment}'")


def downgrade() -> None:
    for view in VIEWS:
        op.execute(f"DROP VIEW analytics.{view}")
    op.drop_index(SESSION_INDEX, "session", schema="analytics")
