"""Analysts see CDRs, with the session that names each."""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

revision = "0036"
down_revision = "0035"

VIEW = "A CDR of roaming, sent or received, with the session that names it"
COLUMNS = {
    "tenant": "Tenant, as named in tenants.toml",
    "cdr_id": "CDR",
    "session_id": "Session that names it, of several the one with the lowest id; null: none that is known",
    "roaming_operator_id": "Roaming operator or provider with which it was exchanged",
    "roaming_operator_name": "Name of the roaming operator or provider; null: not known",
    "protocol_type": "OCPI or Hubject",
    "roaming_id": "Id that the charge point operator gave it",
    "session_reference": "Session, by the reference that the roaming partners use",
    "is_local": "Whether the tenant issued it, as charge point operator; otherwise a partner did",
    "is_credit": "Whether it cancels another CDR",
    "started_at": "When the session, or its reservation, started",
    "ended_at": "When the session ended",
    "energy_wh": "Energy, Wh",
    "energy_kwh": "Energy, kWh",
    "amount_without_tax": "Cost without tax, in currency; not available in OICP",
    "currency": "Currency, ISO 4217; not available in OICP",
    "sent_at": "When it was sent",
    "received_at": "When it was received",
    "delivery_response": "success or fail, if it was sent",
    "removed_at": "When it was found gone at AMPECO; null while it exists",
}


def upgrade() -> None:
    op.execute(read_sql("0036_cdr"))
    op.execute(f"COMMENT ON VIEW analytics.cdr IS '{VIEW}'")
    for column, meaning in COLUMNS.items():
        op.execute(f"COMMENT ON COLUMN analytics.cdr.{column} IS '{meaning}'")


def downgrade() -> None:
    op.execute("DROP VIEW analytics.cdr")
