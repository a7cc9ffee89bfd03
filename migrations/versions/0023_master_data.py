"""Master data as it is and as it was, for analysts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"


#: Names that did not follow the convention, and what they are now.
RENAMED = {
    "evse_state_interval_tenant_key": "evse_state_interval_tenant_evse_id_ended_at_key",
    "evse_state_interval_tenant_idx": "evse_state_interval_tenant_change_number_idx",
}


def upgrade() -> None:
    for former, present in RENAMED.items():
        op.execute(f"ALTER INDEX analytics.{former} RENAME TO {present}")
    op.create_table(
        "charge_point",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=False, comment="Charge point"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location"),
        sa.Column("name", sa.Text(), nullable=True, comment="Name"),
        sa.Column("status", sa.Text(), nullable=True, comment="System status: enabled, disabled, out_of_order or demo"),
        sa.Column("access_type", sa.Text(), nullable=True, comment="public, private or personal"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column("ocpp_id", sa.Text(), nullable=True, comment="Identity in OCPP"),
        sa.Column("ocpp_version", sa.Text(), nullable=True, comment="OCPP version that it speaks"),
        sa.Column(
            "vendor",
            sa.Text(),
            nullable=True,
            comment="Vendor, by its last boot notification, else by AMPECO's catalogue",
        ),
        sa.Column(
            "model",
            sa.Text(),
            nullable=True,
            comment="Model, by its last boot notification, else by AMPECO's catalogue",
        ),
        sa.Column("firmware_version", sa.Text(), nullable=True, comment="Firmware, by its last boot notification"),
        sa.Column("partner_id", sa.BigInteger(), nullable=True, comment="Partner that owns it"),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column("evse_count", sa.SmallInteger(), nullable=False, comment="Number of its EVSEs that exist"),
        sa.Column("max_power_w", sa.Integer(), nullable=True, comment="Largest power of its EVSEs that exist, W"),
        sa.Column(
            "uptime_tracked_since",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Since when AMPECO tracks its uptime; null: AMPECO shows none",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found gone; null while it exists",
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
        sa.PrimaryKeyConstraint("tenant", "charge_point_id", name=op.f("charge_point_pkey")),
        schema="analytics",
        comment="A charge point, the unit that holds EVSEs, as it is",
    )
    op.create_index(
        op.f("charge_point_tenant_change_number_idx"),
        "charge_point",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_index(
        op.f("charge_point_tenant_location_id_idx"),
        "charge_point",
        ["tenant", "location_id"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "evse",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location of its charge point"),
        sa.Column(
            "label", sa.Text(), nullable=True, comment="Label that drivers see, else the one printed on the unit"
        ),
        sa.Column("status", sa.Text(), nullable=True, comment="System status: enabled, disabled or out_of_order"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column("ocpp_number", sa.Text(), nullable=True, comment="Number of the EVSE in OCPP"),
        sa.Column("roaming_evse_id", sa.Text(), nullable=True, comment="EVSE id in roaming"),
        sa.Column("current_type", sa.Text(), nullable=True, comment="ac or dc"),
        sa.Column("max_power_w", sa.Integer(), nullable=True, comment="Maximum power, W"),
        sa.Column("phases", sa.Text(), nullable=True, comment="single_phase, three_phase or split_phase"),
        sa.Column(
            "connector_types",
            sa.Text(),
            nullable=True,
            comment="Types of its plugs, in alphabetical order, with commas",
        ),
        sa.Column("tariff_group_id", sa.BigInteger(), nullable=True, comment="Tariff group"),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column(
            "uptime_tracked_since",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Since when AMPECO tracks its charge point's uptime; null: AMPECO shows none",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found gone; null while it exists",
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
        sa.PrimaryKeyConstraint("tenant", "evse_id", name=op.f("evse_pkey")),
        schema="analytics",
        comment="An EVSE, one place that charges one vehicle at a time, as it is",
    )
    op.create_index(
        op.f("evse_tenant_change_number_idx"), "evse", ["tenant", "change_number"], unique=False, schema="analytics"
    )
    op.create_index(
        op.f("evse_tenant_charge_point_id_idx"), "evse", ["tenant", "charge_point_id"], unique=False, schema="analytics"
    )
    op.create_index(
        op.f("evse_tenant_location_id_idx"), "evse", ["tenant", "location_id"], unique=False, schema="analytics"
    )
    op.create_table(
        "location",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("location_id", sa.BigInteger(), nullable=False, comment="Location"),
        sa.Column("name", sa.Text(), nullable=True, comment="Name, in English where there is one"),
        sa.Column("status", sa.Text(), nullable=True, comment="enabled or disabled"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column("street_address", sa.Text(), nullable=True, comment="Address, in English where there is one"),
        sa.Column("city", sa.Text(), nullable=True, comment="City"),
        sa.Column("region", sa.Text(), nullable=True, comment="Region"),
        sa.Column("post_code", sa.Text(), nullable=True, comment="Post code"),
        sa.Column("country", sa.Text(), nullable=True, comment="Country, ISO 3166-1 alpha-2"),
        sa.Column(
            "latitude",
            sa.Numeric(precision=9, scale=6),
            nullable=True,
            comment="Latitude, degrees, WGS 84; null: AMPECO gives none",
        ),
        sa.Column(
            "longitude",
            sa.Numeric(precision=9, scale=6),
            nullable=True,
            comment="Longitude, degrees, WGS 84; null: AMPECO gives none",
        ),
        sa.Column(
            "timezone",
            sa.Text(),
            nullable=True,
            comment="IANA time zone of its local days; null: AMPECO gives none that is known, see finding",
        ),
        sa.Column(
            "working_hours",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="When it is open, in its own time zone, as AMPECO shows it; null: always",
        ),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found gone; null while it exists",
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
        sa.PrimaryKeyConstraint("tenant", "location_id", name=op.f("location_pkey")),
        schema="analytics",
        comment="A place with charge points, as it is",
    )
    op.create_index(
        op.f("location_tenant_change_number_idx"),
        "location",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "master_version",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity: location, charge_point, evse, tariff"),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id of the entity"),
        sa.Column(
            "valid_from",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="From when it was so; -infinity: since before anything is known",
        ),
        sa.Column(
            "valid_to",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Until when it was so; infinity: it still is",
        ),
        sa.Column("name", sa.Text(), nullable=True, comment="Name; of an EVSE its label"),
        sa.Column("status", sa.Text(), nullable=True, comment="System status"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location of a charge point"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point of an EVSE"),
        sa.Column("timezone", sa.Text(), nullable=True, comment="Time zone of a location"),
        sa.Column("access_type", sa.Text(), nullable=True, comment="public, private or personal, of a charge point"),
        sa.Column("firmware_version", sa.Text(), nullable=True, comment="Firmware of a charge point"),
        sa.Column("current_type", sa.Text(), nullable=True, comment="ac or dc, of an EVSE"),
        sa.Column("max_power_w", sa.Integer(), nullable=True, comment="Maximum power of an EVSE, W"),
        sa.Column("tariff_group_id", sa.BigInteger(), nullable=True, comment="Tariff group of an EVSE"),
        sa.Column("currency", sa.Text(), nullable=True, comment="Currency of a tariff, ISO 4217"),
        sa.Column(
            "price_per_kwh",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Price of a kWh, of a tariff with only one, in currency",
        ),
        sa.Column(
            "price_per_session",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Price of a session, of a tariff, in currency",
        ),
        sa.Column(
            "is_initial",
            sa.Boolean(),
            nullable=False,
            comment="Whether it is what was known first; no revision began it",
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
        sa.CheckConstraint("valid_from < valid_to", name="master_version_order_check"),
        sa.PrimaryKeyConstraint("tenant", "kind", "entity_id", "valid_from", name=op.f("master_version_pkey")),
        schema="analytics",
        comment="An entity of master data as it was for a time; the versions of one entity have no gap and no overlap",
    )
    op.create_index(
        op.f("master_version_tenant_change_number_idx"),
        "master_version",
        ["tenant", "change_number"],
        unique=False,
        schema="analytics",
    )
    op.create_table(
        "tariff",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("tariff_id", sa.BigInteger(), nullable=False, comment="Tariff"),
        sa.Column("name", sa.Text(), nullable=True, comment="Name"),
        sa.Column("type", sa.Text(), nullable=True, comment="How it computes the price, such as standard or flat rate"),
        sa.Column("currency", sa.Text(), nullable=True, comment="Currency, ISO 4217"),
        sa.Column(
            "price_per_kwh",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Price of a kWh, in currency, if there is only one",
        ),
        sa.Column(
            "price_per_session",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Price of a session, in currency",
        ),
        sa.Column(
            "connection_fee",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Fee for connecting, in currency",
        ),
        sa.Column(
            "idle_fee_per_minute",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Fee of a minute without charging, in currency",
        ),
        sa.Column(
            "min_price",
            sa.Numeric(precision=18, scale=6),
            nullable=True,
            comment="Minimum price of a session, in currency",
        ),
        sa.Column("partner_id", sa.BigInteger(), nullable=True, comment="Partner whose tariff it is"),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it was found gone; null while it exists",
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
        sa.PrimaryKeyConstraint("tenant", "tariff_id", name=op.f("tariff_pkey")),
        schema="analytics",
        comment="How charging is priced, as it is",
    )
    op.create_index(
        op.f("tariff_tenant_change_number_idx"), "tariff", ["tenant", "change_number"], unique=False, schema="analytics"
    )
    op.alter_column(
        "dirty",
        "kind",
        existing_type=sa.TEXT(),
        comment="Kind of entity that changed, or evse_status",
        existing_comment="Kind of entity that changed: evse or charge_point",
        existing_nullable=False,
        schema="analytics",
    )


def downgrade() -> None:
    for former, present in RENAMED.items():
        op.execute(f"ALTER INDEX analytics.{present} RENAME TO {former}")
    op.drop_table("tariff", schema="analytics")
    op.drop_table("master_version", schema="analytics")
    op.drop_table("location", schema="analytics")
    op.drop_table("evse", schema="analytics")
    op.drop_table("charge_point", schema="analytics")
