"""What each fact said of master data, instead of what each change replaced; revisions are a view of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0033"
down_revision = "0032"

#: The tracked columns of each kind and column group at this revision.
GROUPS = {
    ("location", "master"): (
        *("name", "status", "external_id", "street_address", "city", "region", "post_code", "country", "latitude"),
        *("longitude", "timezone", "working_hours", "roaming_operator_id"),
    ),
    ("charge_point", "master"): (
        *("name", "access_type", "status", "location_id", "charging_zone_id", "network_id", "network_protocol"),
        *("communication_mode", "external_id", "model_id", "partner_id", "roaming_operator_id", "managed_by_operator"),
        *("tags", "uptime_tracking_enabled", "uptime_tracking_activated_at", "created_at"),
    ),
    ("charge_point", "boot"): (
        *("boot_vendor", "boot_model", "firmware_version", "charge_point_serial_number", "charge_box_serial_number"),
        *("meter_type", "meter_serial_number", "iccid", "imsi"),
    ),
    ("evse", "master"): (
        *("charge_point_id", "physical_reference", "label", "current_type", "network_id", "status", "max_power_w"),
        *("max_voltage_v", "max_amperage_a", "phases", "tariff_group_id", "allows_reservation", "booking_enabled"),
        *("external_id", "roaming_operator_id", "roaming_evse_id", "created_at"),
    ),
    ("connector", "master"): ("type", "format", "status"),
    ("connector", "presence"): ("evse_id",),
    ("tariff", "master"): (
        *("name", "type", "currency", "price_per_kwh", "price_per_session", "connection_fee", "idle_fee_per_minute"),
        *("min_price", "partner_id", "external_id"),
    ),
    ("parking_space", "master"): (),
}

#: Tracked keys of the column ``raw``.
RAW_KEYS = {"tariff": ("pricing",), "parking_space": ("occupancyStatus", "status")}

#: Kinds without a table of their own.
SHARED = {"parking_space": ("resource", "resource_id")}


def upgrade() -> None:
    op.create_table(
        "master_observation",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity, such as evse"),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("column_group", sa.Text(), nullable=False, comment="Column group: master, boot or presence"),
        sa.Column(
            "fact_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the fact, by its source's clock",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Source of the fact: notification or read"),
        sa.Column(
            "digest",
            sa.Text(collation="C"),
            nullable=True,
            comment=(
                "Digest of tracked, for a notification; null for a read, which replaces an earlier one of its time"
            ),
        ),
        sa.Column(
            "fact_version",
            sa.Text(collation="C"),
            nullable=False,
            comment="Version of the fact; orders those of one time",
        ),
        sa.Column(
            "tracked",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The tracked columns of the group, with their values",
        ),
        sa.Column(
            "notification_id",
            sa.Uuid(),
            nullable=True,
            comment="The first notification that contained the fact, if one did",
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first recorded here",
        ),
        sa.UniqueConstraint(
            *("tenant", "kind", "entity_id", "column_group", "fact_at", "source", "digest"),
            name="master_observation_fact_key",
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="What each fact said of tracked columns of master data; of reads that show the same, the first and last",
    )
    for (kind, group), columns in GROUPS.items():
        table, key = SHARED.get(kind, (kind, f"{kind}_id"))
        members = [f"'{column}', present.{column}" for column in columns]
        members += [f"'{name}', present.raw -> '{name}'" for name in RAW_KEYS.get(kind, ())]
        names = {
            "KIND": kind,
            "GROUP": group,
            "TABLE": f"charging.{table}",
            "KEY": key,
            "IS_OF_KIND": f"present.kind = '{kind}'" if kind in SHARED else "true",
            "VALUES": f"jsonb_build_object({', '.join(members)})",
        }
        statement = read_sql("0033_observe_revisions")
        for name, value in names.items():
            statement = statement.replace(f"{{{name}}}", value)
        op.execute(sa.text(statement.replace(":", r"\:")))
    op.drop_table("master_revision", schema="charging")
    op.execute(read_sql("0033_master_revision"))


def downgrade() -> None:
    op.execute("ALTER VIEW charging.master_revision RENAME TO master_change")
    op.execute(read_sql("0033_keep_revisions"))
    op.execute("DROP VIEW charging.master_change")
    op.drop_table("master_observation", schema="charging")
