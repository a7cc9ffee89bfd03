"""The inbox, the mirrored state and its history, and the refresh queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


#: Each notification of the log with what became of it.
NOTIFICATION_STATE = """
CREATE VIEW ingest.notification_state AS
SELECT notification.tenant,
       notification.received_at,
       notification.notification_id,
       notification.notification_type,
       notification.session_id,
       notification.evse_id,
       notification.charge_point_id,
       notification.batch_id,
       coalesce(
           outcome.state,
           CASE WHEN batch.applied_at IS NULL THEN 'pending' ELSE 'applied' END
       ) AS state,
       outcome.reason,
       outcome.error,
       batch.applied_at
  FROM ingest.notification
  JOIN ingest.batch
    ON batch.tenant = notification.tenant
   AND batch.batch_id = notification.batch_id
  LEFT JOIN ingest.outcome
    ON outcome.tenant = notification.tenant
   AND outcome.notification_id = notification.notification_id
"""

NOTIFICATION_STATE_COMMENTS = {
    "tenant": "Tenant, as named in tenants.toml",
    "received_at": "When the receiver had read the whole body",
    "notification_id": "UUIDv7; its time part is received_at",
    "notification_type": "Name that AMPECO gives the notification",
    "session_id": "Session that the body names",
    "evse_id": "EVSE that the body names",
    "charge_point_id": "Charge point that the body names",
    "batch_id": "Its batch",
    "state": "pending, applied, ignored or failed",
    "reason": "Why it was ignored or failed",
    "error": "The error of a failed one",
    "applied_at": "When its batch was settled",
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS ingest")
    op.execute("CREATE SCHEMA charging")
    op.execute("COMMENT ON SCHEMA ingest IS 'What was accepted, and what became of it'")
    op.execute("COMMENT ON SCHEMA charging IS 'The charging state of the tenants, and its history'")
    op.create_table(
        "authorization",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("authorization_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("method", sa.Text(), nullable=True, comment="How the driver was recognised"),
        sa.Column("source", sa.Text(), nullable=True, comment="local, roaming or third_party"),
        sa.Column("status", sa.Text(), nullable=True, comment="accepted, rejected or pending"),
        sa.Column("rejection_reason", sa.Text(), nullable=True, comment="Why it was rejected"),
        sa.Column("user_id", sa.BigInteger(), nullable=True, comment="User; 0 for anonymous"),
        sa.Column("id_tag", sa.Text(), nullable=True, comment="RFID tag"),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it was asked for"),
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "authorization_id", name=op.f("authorization_pkey")),
        schema="charging",
        comment="Leave to charge, as a session names it",
    )
    op.create_table(
        "charge_point",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("name", sa.Text(), nullable=True, comment="Name"),
        sa.Column("access_type", sa.Text(), nullable=True, comment="public, private or personal"),
        sa.Column("status", sa.Text(), nullable=True, comment="System status: enabled, disabled, out_of_order or demo"),
        sa.Column("location_id", sa.BigInteger(), nullable=True, comment="Location"),
        sa.Column("charging_zone_id", sa.BigInteger(), nullable=True, comment="Charging zone within the location"),
        sa.Column("network_id", sa.Text(), nullable=True, comment="Identity in OCPP"),
        sa.Column("network_protocol", sa.Text(), nullable=True, comment="OCPP version that it speaks"),
        sa.Column(
            "communication_mode",
            sa.Text(),
            nullable=True,
            comment="none, direct_ocpp, via_ocpp_connected_charge_point or roaming",
        ),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column("model_id", sa.BigInteger(), nullable=True, comment="Model in AMPECO's catalogue"),
        sa.Column("partner_id", sa.BigInteger(), nullable=True, comment="Partner that owns it"),
        sa.Column("owner_user_id", sa.BigInteger(), nullable=True, comment="User that owns it, for a personal one"),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column("managed_by_operator", sa.Boolean(), nullable=True, comment="Whether the operator manages it"),
        sa.Column("tags", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="Tags, an array of text"),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it was created at AMPECO"
        ),
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "network_status",
            sa.Text(),
            nullable=True,
            comment="never_connected, available, temporarily_unavailable or long_term_unavailable",
        ),
        sa.Column(
            "network_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest network fact, by its source's clock",
        ),
        sa.Column(
            "network_version", sa.Text(collation="C"), nullable=True, comment="Orders network facts of equal time"
        ),
        sa.Column(
            "network_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different network facts carry network_at; a read will settle it",
        ),
        sa.Column(
            "hardware_status",
            sa.Text(),
            nullable=True,
            comment="Hardware status as AMPECO spells it; null: never reported",
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="OCPP error code; NoError when fine"),
        sa.Column("error_info", sa.Text(), nullable=True, comment="Free text of the charge point about the error"),
        sa.Column("vendor_id", sa.Text(), nullable=True, comment="Vendor whose error code it is"),
        sa.Column("vendor_error_code", sa.Text(), nullable=True, comment="Error code of the vendor"),
        sa.Column(
            "hardware_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest hardware fact, by its source's clock",
        ),
        sa.Column(
            "hardware_version", sa.Text(collation="C"), nullable=True, comment="Orders hardware facts of equal time"
        ),
        sa.Column(
            "hardware_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different hardware facts carry hardware_at; a read will settle it",
        ),
        sa.Column("boot_vendor", sa.Text(), nullable=True, comment="Vendor, by its last boot notification"),
        sa.Column("boot_model", sa.Text(), nullable=True, comment="Model, by its last boot notification"),
        sa.Column("firmware_version", sa.Text(), nullable=True, comment="Firmware, by its last boot notification"),
        sa.Column("charge_point_serial_number", sa.Text(), nullable=True, comment="Serial number of the charge point"),
        sa.Column("charge_box_serial_number", sa.Text(), nullable=True, comment="Serial number of the charge box"),
        sa.Column("meter_type", sa.Text(), nullable=True, comment="Type of its meter"),
        sa.Column("meter_serial_number", sa.Text(), nullable=True, comment="Serial number of its meter"),
        sa.Column("iccid", sa.Text(), nullable=True, comment="ICCID of its SIM card"),
        sa.Column("imsi", sa.Text(), nullable=True, comment="IMSI of its SIM card"),
        sa.Column(
            "boot_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest boot fact, by its source's clock",
        ),
        sa.Column("boot_version", sa.Text(collation="C"), nullable=True, comment="Orders boot facts of equal time"),
        sa.Column(
            "boot_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different boot facts carry boot_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "charge_point_id", name=op.f("charge_point_pkey")),
        schema="charging",
        comment="A charge point: the unit that holds EVSEs and speaks OCPP",
    )
    op.create_index(
        op.f("charge_point_tenant_location_id_idx"),
        "charge_point",
        ["tenant", "location_id"],
        unique=False,
        schema="charging",
    )
    op.create_table(
        "charge_point_hardware_observation",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=False, comment="Charge point"),
        sa.Column(
            "observed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the status by the charge point's clock",
        ),
        sa.Column(
            "hardware_status", sa.Text(), nullable=True, comment="available, unavailable, faulted; null: never reported"
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="OCPP error code; NoError when fine"),
        sa.Column("error_info", sa.Text(), nullable=True, comment="Free text of the charge point"),
        sa.Column("vendor_id", sa.Text(), nullable=True, comment="Vendor whose error code it is"),
        sa.Column("vendor_error_code", sa.Text(), nullable=True, comment="Error code of the vendor"),
        sa.Column("source", sa.Text(), nullable=False, comment="Who told: notification, status_log or read"),
        sa.Column(
            "notification_id", sa.Uuid(), nullable=True, comment="The first notification that told, where one did"
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first recorded here",
        ),
        sa.UniqueConstraint(
            "tenant",
            "charge_point_id",
            "observed_at",
            "hardware_status",
            "error_code",
            name=op.f(
                "charge_point_hardware_observation_tenant_charge_point_id_observed_at_hardware_status_error_code_key"
            ),
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="Each hardware status that a charge point reported for itself; append-only",
    )
    op.create_table(
        "charge_point_network_observation",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=False, comment="Charge point"),
        sa.Column("observed_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="Time of the status"),
        sa.Column(
            "network_status",
            sa.Text(),
            nullable=True,
            comment="never_connected, available, temporarily_unavailable or long_term_unavailable",
        ),
        sa.Column("source", sa.Text(), nullable=False, comment="Who told: notification, status_log or read"),
        sa.Column(
            "notification_id", sa.Uuid(), nullable=True, comment="The first notification that told, where one did"
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first recorded here",
        ),
        sa.UniqueConstraint(
            "tenant",
            "charge_point_id",
            "observed_at",
            "network_status",
            name=op.f("charge_point_network_observation_tenant_charge_point_id_observed_at_network_status_key"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="Each network status of a charge point; append-only",
    )
    op.create_table(
        "charging_period",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("charging_period_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("session_id", sa.BigInteger(), nullable=True, comment="Session"),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it started"),
        sa.Column(
            "stopped_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it stopped; null while it runs",
        ),
        sa.Column("charging_state", sa.Text(), nullable=True, comment="charging or idle"),
        sa.Column("energy_wh", sa.Numeric(), nullable=True, comment="Energy of the period, Wh"),
        sa.Column("amount", sa.Numeric(), nullable=True, comment="Price of the period, in the session's currency"),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "charging_period_id", name=op.f("charging_period_pkey")),
        schema="charging",
        comment="A part of a session, charging or idle; it follows the clock of its session",
    )
    op.create_index(
        op.f("charging_period_tenant_session_id_idx"),
        "charging_period",
        ["tenant", "session_id"],
        unique=False,
        schema="charging",
    )
    op.create_table(
        "connector",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("connector_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE"),
        sa.Column("type", sa.Text(), nullable=True, comment="Plug type, such as ccs2 or type2"),
        sa.Column("format", sa.Text(), nullable=True, comment="socket or cable"),
        sa.Column("status", sa.Text(), nullable=True, comment="enabled or disabled"),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "connector_id", name=op.f("connector_pkey")),
        schema="charging",
        comment="A plug or socket of an EVSE; it follows the clock of its EVSE",
    )
    op.create_index(
        op.f("connector_tenant_evse_id_idx"), "connector", ["tenant", "evse_id"], unique=False, schema="charging"
    )
    op.create_table(
        "evse",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("physical_reference", sa.Text(), nullable=True, comment="Label printed on the unit"),
        sa.Column("label", sa.Text(), nullable=True, comment="Label shown to drivers"),
        sa.Column("current_type", sa.Text(), nullable=True, comment="ac or dc"),
        sa.Column("network_id", sa.Text(), nullable=True, comment="Number of the EVSE in OCPP"),
        sa.Column("status", sa.Text(), nullable=True, comment="System status: enabled, disabled or out_of_order"),
        sa.Column("max_power_w", sa.Numeric(), nullable=True, comment="Most power, W"),
        sa.Column(
            "max_voltage_v", sa.Text(), nullable=True, comment="Voltage, V; a range such as 220-240 is kept as sent"
        ),
        sa.Column("max_amperage_a", sa.Numeric(), nullable=True, comment="Most current, A"),
        sa.Column("phases", sa.Text(), nullable=True, comment="single_phase, three_phase or split_phase"),
        sa.Column("tariff_group_id", sa.BigInteger(), nullable=True, comment="Tariff group"),
        sa.Column("allows_reservation", sa.Boolean(), nullable=True, comment="Whether it can be reserved"),
        sa.Column("booking_enabled", sa.Boolean(), nullable=True, comment="Whether it can be booked"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column("roaming_evse_id", sa.Text(), nullable=True, comment="EVSE id in roaming"),
        sa.Column(
            "created_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it was created at AMPECO"
        ),
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "hardware_status",
            sa.Text(),
            nullable=True,
            comment="Hardware status as AMPECO spells it; null: never reported",
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="OCPP error code; NoError when fine"),
        sa.Column("error_info", sa.Text(), nullable=True, comment="Free text of the charge point about the error"),
        sa.Column("vendor_id", sa.Text(), nullable=True, comment="Vendor whose error code it is"),
        sa.Column("vendor_error_code", sa.Text(), nullable=True, comment="Error code of the vendor"),
        sa.Column(
            "hardware_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest hardware fact, by its source's clock",
        ),
        sa.Column(
            "hardware_version", sa.Text(collation="C"), nullable=True, comment="Orders hardware facts of equal time"
        ),
        sa.Column(
            "hardware_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different hardware facts carry hardware_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "evse_id", name=op.f("evse_pkey")),
        schema="charging",
        comment="An EVSE: one place of a charge point that charges one vehicle at a time",
    )
    op.create_index(
        op.f("evse_tenant_charge_point_id_idx"), "evse", ["tenant", "charge_point_id"], unique=False, schema="charging"
    )
    op.create_table(
        "evse_status_observation",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("evse_id", sa.BigInteger(), nullable=False, comment="EVSE"),
        sa.Column(
            "observed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the status by the charge point's clock",
        ),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point, where the source names it"),
        sa.Column(
            "hardware_status", sa.Text(), nullable=True, comment="Status as AMPECO spells it; null: never reported"
        ),
        sa.Column("error_code", sa.Text(), nullable=True, comment="OCPP error code; NoError when fine"),
        sa.Column("error_info", sa.Text(), nullable=True, comment="Free text of the charge point"),
        sa.Column("vendor_id", sa.Text(), nullable=True, comment="Vendor whose error code it is"),
        sa.Column("vendor_error_code", sa.Text(), nullable=True, comment="Error code of the vendor"),
        sa.Column("source", sa.Text(), nullable=False, comment="Who told: notification, status_log or read"),
        sa.Column(
            "notification_id", sa.Uuid(), nullable=True, comment="The first notification that told, where one did"
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was first recorded here",
        ),
        sa.UniqueConstraint(
            "tenant",
            "evse_id",
            "observed_at",
            "hardware_status",
            "error_code",
            name=op.f("evse_status_observation_tenant_evse_id_observed_at_hardware_status_error_code_key"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="Each hardware status that an EVSE reported; append-only",
    )
    op.create_table(
        "location",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("location_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("name", sa.Text(), nullable=True, comment="Name, in English where there is one"),
        sa.Column("status", sa.Text(), nullable=True, comment="enabled or disabled"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="Id that the operator gave it"),
        sa.Column("street_address", sa.Text(), nullable=True, comment="Address, in English where there is one"),
        sa.Column("city", sa.Text(), nullable=True, comment="City"),
        sa.Column("region", sa.Text(), nullable=True, comment="Region"),
        sa.Column("post_code", sa.Text(), nullable=True, comment="Post code"),
        sa.Column("country", sa.Text(), nullable=True, comment="Country, ISO 3166-1 alpha-2"),
        sa.Column("latitude", sa.Numeric(), nullable=True, comment="Latitude, degrees, WGS 84"),
        sa.Column("longitude", sa.Numeric(), nullable=True, comment="Longitude, degrees, WGS 84"),
        sa.Column("timezone", sa.Text(), nullable=True, comment="IANA time zone"),
        sa.Column(
            "roaming_operator_id", sa.BigInteger(), nullable=True, comment="Roaming operator; null for the tenant's own"
        ),
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        sa.Column(
            "master_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest master fact, by its source's clock",
        ),
        sa.Column("master_version", sa.Text(collation="C"), nullable=True, comment="Orders master facts of equal time"),
        sa.Column(
            "master_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different master facts carry master_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "location_id", name=op.f("location_pkey")),
        schema="charging",
        comment="A place with charge points",
    )
    op.create_table(
        "meter_value",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Session"),
        sa.Column(
            "measured_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Time of the sample by the charge point's clock",
        ),
        sa.Column("measurand", sa.Text(), nullable=False, comment="What was measured, as AMPECO spells it"),
        sa.Column(
            "ordinal",
            sa.SmallInteger(),
            nullable=False,
            comment="Counts the samples of one measurand and time in one notification: phases come without a name",
        ),
        sa.Column("value", sa.Numeric(), nullable=False, comment="The reading, in unit"),
        sa.Column(
            "unit", sa.Text(), nullable=True, comment="Wh, A, V, Percent, Celsius, or what the charge point sends"
        ),
        sa.Column("location", sa.Text(), nullable=True, comment="Where it was measured, where the sample tells"),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("notification_id", sa.Uuid(), nullable=True, comment="The first notification that told"),
        sa.UniqueConstraint(
            "tenant",
            "session_id",
            "measured_at",
            "measurand",
            "ordinal",
            "unit",
            "value",
            name="meter_value_sample_key",
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="Each meter sample of a session; append-only. A sample is known by its whole content",
    )
    op.create_table(
        "session",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("session_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
        sa.Column("status", sa.Text(), nullable=True, comment="pending, active, finished, failed, expired or unknown"),
        sa.Column("charge_point_id", sa.BigInteger(), nullable=True, comment="Charge point"),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE"),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="When it started"),
        sa.Column(
            "stopped_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it stopped; null while it runs",
        ),
        sa.Column("stop_reason", sa.Text(), nullable=True, comment="Why it stopped"),
        sa.Column("energy_wh", sa.Numeric(), nullable=True, comment="Energy delivered so far, Wh"),
        sa.Column(
            "state_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest state fact, by its source's clock",
        ),
        sa.Column("state_version", sa.Text(collation="C"), nullable=True, comment="Orders state facts of equal time"),
        sa.Column(
            "state_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different state facts carry state_at; a read will settle it",
        ),
        sa.Column("connector_id", sa.BigInteger(), nullable=True, comment="Connector"),
        sa.Column("user_id", sa.BigInteger(), nullable=True, comment="User; null for anonymous"),
        sa.Column("id_tag", sa.Text(), nullable=True, comment="RFID tag, or * and the session id for a remote start"),
        sa.Column("external_session_id", sa.Text(), nullable=True, comment="Id that another system gave it"),
        sa.Column("authorization_id", sa.BigInteger(), nullable=True, comment="Authorization"),
        sa.Column("booking_id", sa.BigInteger(), nullable=True, comment="Booking"),
        sa.Column(
            "original_session_id",
            sa.BigInteger(),
            nullable=True,
            comment="First session of the chain that this one continues",
        ),
        sa.Column("extended_by_session_id", sa.BigInteger(), nullable=True, comment="Session that continues this one"),
        sa.Column("energy_grid_wh", sa.Numeric(), nullable=True, comment="Part of the energy from the grid, Wh"),
        sa.Column("energy_local_wh", sa.Numeric(), nullable=True, comment="Part of the energy from local sources, Wh"),
        sa.Column(
            "non_billable_energy_wh", sa.Numeric(), nullable=True, comment="Part of the energy that is not billed, Wh"
        ),
        sa.Column("power_w", sa.Numeric(), nullable=True, comment="Latest power, W"),
        sa.Column("power_peak_w", sa.Numeric(), nullable=True, comment="Highest power, W"),
        sa.Column("power_average_w", sa.Numeric(), nullable=True, comment="Average power, W"),
        sa.Column("soc_percent", sa.Numeric(), nullable=True, comment="State of charge of the battery, %"),
        sa.Column("amount_with_tax", sa.Numeric(), nullable=True, comment="Price with tax, in currency"),
        sa.Column("amount_without_tax", sa.Numeric(), nullable=True, comment="Price without tax, in currency"),
        sa.Column("currency", sa.Text(), nullable=True, comment="Currency, ISO 4217"),
        sa.Column("tax_percent", sa.Numeric(), nullable=True, comment="Tax rate, %"),
        sa.Column("electricity_cost", sa.Numeric(), nullable=True, comment="Cost of the electricity, in currency"),
        sa.Column("payment_type", sa.Text(), nullable=True, comment="How it is paid"),
        sa.Column("payment_method_id", sa.Text(), nullable=True, comment="Payment method"),
        sa.Column("payment_status", sa.Text(), nullable=True, comment="pending, paid, partially or failed"),
        sa.Column(
            "payment_status_updated_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When payment_status changed",
        ),
        sa.Column(
            "billing_status",
            sa.Text(),
            nullable=True,
            comment="pending, suspended or completed; the price is final once completed",
        ),
        sa.Column("tariff_snapshot_id", sa.BigInteger(), nullable=True, comment="Tariff as it stood"),
        sa.Column("receipt_id", sa.BigInteger(), nullable=True, comment="Receipt"),
        sa.Column("terminal_id", sa.BigInteger(), nullable=True, comment="Payment terminal"),
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        sa.Column(
            "detail_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest detail fact, by its source's clock",
        ),
        sa.Column("detail_version", sa.Text(collation="C"), nullable=True, comment="Orders detail facts of equal time"),
        sa.Column(
            "detail_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different detail facts carry detail_at; a read will settle it",
        ),
        sa.Column("meter_start_wh", sa.Numeric(), nullable=True, comment="Register of the meter at the start, Wh"),
        sa.Column("meter_stop_wh", sa.Numeric(), nullable=True, comment="Register of the meter at the stop, Wh"),
        sa.Column(
            "meter_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest meter fact, by its source's clock",
        ),
        sa.Column("meter_version", sa.Text(collation="C"), nullable=True, comment="Orders meter facts of equal time"),
        sa.Column(
            "meter_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different meter facts carry meter_at; a read will settle it",
        ),
        sa.Column(
            "deleted_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When a read found it gone, by the tenant's clock",
        ),
        sa.Column(
            "presence_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Time of the newest presence fact, by its source's clock",
        ),
        sa.Column(
            "presence_version", sa.Text(collation="C"), nullable=True, comment="Orders presence facts of equal time"
        ),
        sa.Column(
            "presence_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Different presence facts carry presence_at; a read will settle it",
        ),
        sa.Column(
            "first_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row was first written",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When this row last changed",
        ),
        sa.PrimaryKeyConstraint("tenant", "session_id", name=op.f("session_pkey")),
        schema="charging",
        comment="A charging session",
    )
    op.create_index(
        op.f("session_tenant_evse_id_idx"), "session", ["tenant", "evse_id"], unique=False, schema="charging"
    )
    op.create_index(
        op.f("session_tenant_started_at_idx"), "session", ["tenant", "started_at"], unique=False, schema="charging"
    )
    op.create_table(
        "batch",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("batch_id", sa.Uuid(), nullable=False, comment="UUIDv7"),
        sa.Column(
            "notifications", sa.Integer(), nullable=False, comment="How many notifications were committed together"
        ),
        sa.Column("body_bytes", sa.BigInteger(), nullable=False, comment="Length of their bodies together, bytes"),
        sa.Column(
            "first_received_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Earliest received_at in the batch",
        ),
        sa.Column(
            "last_received_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="Latest received_at in the batch",
        ),
        sa.Column(
            "committed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the batch was committed",
        ),
        sa.Column(
            "sent_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the sweep last sent a message for it again",
        ),
        sa.Column(
            "lease_expires_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Until then a worker has it in hand",
        ),
        sa.Column(
            "applied_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When every notification in it was settled; null while the batch is open",
        ),
        sa.Column(
            "attempts",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often a worker took it in hand, counted before the work",
        ),
        sa.Column(
            "trying",
            sa.Uuid(),
            nullable=True,
            comment="The notification being tried alone, noted before the try: still set, it ended its worker",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why the last attempt did not finish"),
        sa.PrimaryKeyConstraint("tenant", "batch_id", name=op.f("batch_pkey")),
        schema="ingest",
        comment="Progress of the notifications that were committed together",
    )
    op.create_index(
        "batch_open_idx",
        "batch",
        ["batch_id"],
        unique=False,
        schema="ingest",
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "notification",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="When the receiver had read the whole body; the partition key",
        ),
        sa.Column("notification_id", sa.Uuid(), nullable=False, comment="UUIDv7; its time part is received_at"),
        sa.Column("batch_id", sa.Uuid(), nullable=False, comment="The batch whose progress covers this notification"),
        sa.Column(
            "notification_type",
            sa.Text(),
            nullable=True,
            comment="Name that AMPECO gives the notification, where the body tells one",
        ),
        sa.Column(
            "session_id", sa.BigInteger(), nullable=True, comment="Session that the body names, where it names one"
        ),
        sa.Column("evse_id", sa.BigInteger(), nullable=True, comment="EVSE that the body names, where it names one"),
        sa.Column(
            "charge_point_id",
            sa.BigInteger(),
            nullable=True,
            comment="Charge point that the body names, where it names one",
        ),
        sa.Column(
            "token_id", sa.Text(), nullable=False, comment="Which token verified the signature; not the token itself"
        ),
        sa.Column(
            "signature_encoding", sa.Text(), nullable=False, comment="Form of the signature that matched: hex or base64"
        ),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Delivery headers as sent: X-Timestamp, X-Tenant, X-Webhook-*",
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="The request body, byte for byte"),
        sa.PrimaryKeyConstraint("tenant", "received_at", "notification_id", name=op.f("notification_pkey")),
        schema="ingest",
        comment="Every notification accepted, exactly as it came; append-only, partitioned by day",
        postgresql_partition_by="RANGE (received_at)",
    )
    op.create_index(
        op.f("notification_tenant_batch_id_idx"), "notification", ["tenant", "batch_id"], unique=False, schema="ingest"
    )
    op.create_table(
        "outcome",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("notification_id", sa.Uuid(), nullable=False, comment="The notification that was not applied"),
        sa.Column("batch_id", sa.Uuid(), nullable=False, comment="Its batch"),
        sa.Column(
            "received_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="Its partition in the log"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="ignored or failed"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, in one line"),
        sa.Column("error", sa.Text(), nullable=True, comment="The error, for a failed one"),
        sa.Column(
            "traceback", sa.Text(), nullable=True, comment="Where it failed: the innermost frames, without values"
        ),
        sa.Column(
            "recorded_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was set aside",
        ),
        sa.PrimaryKeyConstraint("tenant", "notification_id", name=op.f("outcome_pkey")),
        schema="ingest",
        comment="The notifications that were ignored or failed; every other one of an applied batch was applied",
    )
    op.create_index(
        op.f("outcome_state_recorded_at_idx"), "outcome", ["state", "recorded_at"], unique=False, schema="ingest"
    )
    op.create_table(
        "refresh_request",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column(
            "entity", sa.Text(), nullable=False, comment="Mirrored table: session, evse, charge_point or location"
        ),
        sa.Column("entity_id", sa.BigInteger(), nullable=False, comment="Id of the entity at AMPECO"),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="Why a read is wanted: changed, contested, gone, provisional or unknown",
        ),
        sa.Column(
            "generation",
            sa.BigInteger(),
            server_default=sa.text("1"),
            nullable=False,
            comment="Grows with each mark; a finished read removes only the generation it claimed",
        ),
        sa.Column("marked_by", sa.Uuid(), nullable=True, comment="The notification that last asked for the read"),
        sa.Column(
            "marked_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When it was last asked for",
        ),
        sa.Column(
            "due_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="Not to be read before",
        ),
        sa.Column(
            "lease_expires_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Until then a worker has it in hand",
        ),
        sa.Column(
            "attempts",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Reads begun since the first mark",
        ),
        sa.Column("last_error", sa.Text(), nullable=True, comment="Why the last read did not settle it"),
        sa.PrimaryKeyConstraint("tenant", "entity", "entity_id", name=op.f("refresh_request_pkey")),
        schema="ingest",
        comment="Entities that want a read of the API: one row each, however often they are marked",
    )
    op.create_index(
        op.f("refresh_request_tenant_due_at_idx"),
        "refresh_request",
        ["tenant", "due_at"],
        unique=False,
        schema="ingest",
    )
    op.create_table(
        "sync_cursor",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("listing", sa.Text(), nullable=False, comment="Listing of the API that is walked"),
        sa.Column("cursor", sa.Text(), nullable=True, comment="AMPECO's cursor of the next page of an unfinished walk"),
        sa.Column(
            "changed_until",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="Every change up to this time of the tenant's clock has been seen",
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="When the walk last moved",
        ),
        sa.PrimaryKeyConstraint("tenant", "listing", name=op.f("sync_cursor_pkey")),
        schema="ingest",
        comment="How far each walk through a listing has come",
    )
    op.execute(NOTIFICATION_STATE)
    op.execute("COMMENT ON VIEW ingest.notification_state IS 'Each notification with what became of it'")
    for column, comment in NOTIFICATION_STATE_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN ingest.notification_state.{column} IS '{comment}'")


def downgrade() -> None:
    op.execute("DROP VIEW ingest.notification_state")
    op.drop_table("sync_cursor", schema="ingest")
    op.drop_index(op.f("refresh_request_tenant_due_at_idx"), table_name="refresh_request", schema="ingest")
    op.drop_table("refresh_request", schema="ingest")
    op.drop_index(op.f("outcome_state_recorded_at_idx"), table_name="outcome", schema="ingest")
    op.drop_table("outcome", schema="ingest")
    op.drop_index(op.f("notification_tenant_batch_id_idx"), table_name="notification", schema="ingest")
    op.drop_table("notification", schema="ingest")
    op.drop_index("batch_open_idx", table_name="batch", schema="ingest", postgresql_where=sa.text("applied_at IS NULL"))
    op.drop_table("batch", schema="ingest")
    op.drop_index(op.f("session_tenant_started_at_idx"), table_name="session", schema="charging")
    op.drop_index(op.f("session_tenant_evse_id_idx"), table_name="session", schema="charging")
    op.drop_table("session", schema="charging")
    op.drop_table("meter_value", schema="charging")
    op.drop_table("location", schema="charging")
    op.drop_table("evse_status_observation", schema="charging")
    op.drop_index(op.f("evse_tenant_charge_point_id_idx"), table_name="evse", schema="charging")
    op.drop_table("evse", schema="charging")
    op.drop_index(op.f("connector_tenant_evse_id_idx"), table_name="connector", schema="charging")
    op.drop_table("connector", schema="charging")
    op.drop_index(op.f("charging_period_tenant_session_id_idx"), table_name="charging_period", schema="charging")
    op.drop_table("charging_period", schema="charging")
    op.drop_table("charge_point_network_observation", schema="charging")
    op.drop_table("charge_point_hardware_observation", schema="charging")
    op.drop_index(op.f("charge_point_tenant_location_id_idx"), table_name="charge_point", schema="charging")
    op.drop_table("charge_point", schema="charging")
    op.drop_table("authorization", schema="charging")
    op.execute("DROP SCHEMA charging")
    op.execute("COMMENT ON SCHEMA ingest IS NULL")
