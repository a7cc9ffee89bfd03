"""Visits leave out attempts whose authorization or session AMPECO no longer shows; three comments are clearer."""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

revision = "0035"
down_revision = "0034"

_RENEWED = "charging.partner_contract.is_renewed_automatically"
_FOUND = "analytics.completeness_day.found_by_reconcile"
_ERROR = "analytics.outage.error_code"


def upgrade() -> None:
    op.execute(read_sql("0035_visit"))
    op.execute(f"COMMENT ON COLUMN {_RENEWED} IS 'Whether it is renewed at its end'")
    op.execute(
        f"COMMENT ON COLUMN {_FOUND} IS 'Missing and stale entities that sync runs found which ended on the day, so"
        " changes for which no notification arrived in time'"
    )
    op.execute(
        f"COMMENT ON COLUMN {_ERROR} IS 'First error code that the EVSE reported in it, or else its charge point, other"
        " than NoError'"
    )


def downgrade() -> None:
    op.execute("DROP VIEW analytics.visit")
    op.execute(read_sql("0025_visit"))
    op.execute(f"COMMENT ON COLUMN {_RENEWED} IS 'Whether it goes on after its end'")
    op.execute(
        f"COMMENT ON COLUMN {_FOUND} IS 'Missing and stale entities that sync runs found which ended on the day, so"
        " changes that no notification told in time'"
    )
    op.execute(f"COMMENT ON COLUMN {_ERROR} IS 'First error code that the EVSE reported in it, other than NoError'")
