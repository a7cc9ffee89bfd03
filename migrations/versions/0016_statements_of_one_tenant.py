"""Statements of one tenant: the service counts outcomes itself, and functions run in a distributed database.

A database that is distributed by tenant has no triggers of statements, and refuses functions in SQL with parameters.
"""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

revision = "0016"
down_revision = "0015"

#: The triggers of revision 0008.
TRIGGERS = (
    ("insert", "INSERT", "NEW TABLE AS added"),
    ("update", "UPDATE", "OLD TABLE AS removed NEW TABLE AS added"),
    ("delete", "DELETE", "OLD TABLE AS removed"),
)


def upgrade() -> None:
    for name, _event, _transition in TRIGGERS:
        op.execute(f"DROP TRIGGER count_{name} ON ingest.outcome")
    op.execute("DROP FUNCTION ingest.count_outcomes()")
    op.execute(read_sql("0016_drop_log_day"))
    op.execute(read_sql("0016_session_as_known_at"))


def downgrade() -> None:
    op.execute(read_sql("0015_session_as_known_at"))
    op.execute(read_sql("0008_drop_log_day"))
    op.execute(read_sql("0008_count_outcomes"))
    for name, event, transition in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER count_{name} AFTER {event} ON ingest.outcome REFERENCING {transition}"
            " FOR EACH STATEMENT EXECUTE FUNCTION ingest.count_outcomes()"
        )
    op.execute("COMMENT ON FUNCTION ingest.count_outcomes() IS 'Keeps ingest.total with ingest.outcome'")
