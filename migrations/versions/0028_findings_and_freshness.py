"""Findings by time, the views of freshness and completeness, and the publication of the contract."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.sql import read_sql

revision = "0028"
down_revision = "0027"

PUBLICATION = "ampeco_analytics"

#: Tables that are no part of the contract.
INTERNAL = ("dirty", "evse_progress", "authorization_session", "availability_progress")

#: The comments of the views, and of their columns.
VIEWS = {
    "freshness": (
        "How far each tenant has come, as of now",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "last_notification_at": "When its last notification was received; null: none was",
            "applied_until": "Every notification that was received before has been applied, ignored or has failed",
            "derived_until": "Every change that was committed before has been derived; null: none was",
            "oldest_pending_at": "When the oldest of what is not applied or not derived was written; null: all is",
            "oldest_pending_s": "Age of the oldest of what is not applied or not derived, seconds; null: all is",
            "last_change_number": "Number of the newest change in its feed",
            "is_receiver_alive": "Whether a receiver, of all tenants, sent a heartbeat in the last 30 seconds",
        },
    ),
    "completeness_day": (
        "What was received of a tenant on a UTC day of the last 400, what became of it, and what was missed; a"
        " notification counts on the day on which its batch began",
        {
            "tenant": "Tenant, as named in tenants.toml",
            "day": "Day, in UTC; today is as of now",
            "received": "Notifications received",
            "applied": "Those that were applied; null: the day was dropped from the log",
            "ignored": "Those that were ignored; null: the day was dropped from the log",
            "failed": "Those that failed, and were not applied since",
            "pending": "Those that are still to be applied",
            "found_by_reconcile": "Missing and stale entities that sync runs found which ended on the day, so changes"
            " that no notification told in time",
            "healed_by_reconcile": "Those of them that the sync runs brought up to date",
            "without_receiver_s": "Seconds of the day in which no receiver was alive, since the first one was",
        },
    ),
}


def upgrade() -> None:
    op.add_column(
        "feed",
        sa.Column(
            "findings_at",
            postgresql.TIMESTAMP(timezone=True),
            comment="When the findings that time alone makes were last looked for",
        ),
        schema="analytics",
    )
    _create_indexes()
    for name, (comment, columns) in VIEWS.items():
        op.execute(read_sql(f"0028_{name}"))
        op.execute(f"COMMENT ON VIEW analytics.{name} IS '{comment}'")
        for column, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN analytics.{name}.{column} IS '{meaning}'")
    _create_publication()


def _create_indexes() -> None:
    by_place = ["tenant", "evse_id", "started_at"]
    op.create_index(
        "session_open_idx",
        "session",
        by_place,
        schema="analytics",
        postgresql_where=sa.text("stopped_at IS NULL AND outcome IN ('pending', 'running')"),
    )
    op.create_index(
        "session_long_idx",
        "session",
        by_place,
        schema="analytics",
        postgresql_where=sa.text("stopped_at - started_at > interval '168 hours'"),
    )
    op.create_index(
        "session_provisional_idx",
        "session",
        ["tenant", "session_id"],
        schema="analytics",
        postgresql_where=sa.text("provisional"),
    )
    op.create_index(
        "session_cdr_idx",
        "session",
        ["cdr_ids"],
        schema="analytics",
        postgresql_using="gin",
        postgresql_ops={"cdr_ids": "jsonb_path_ops"},
        postgresql_where=sa.text("cdr_ids IS NOT NULL"),
    )
    op.create_index(
        "evse_state_interval_open_idx",
        "evse_state_interval",
        ["tenant", "state"],
        schema="analytics",
        postgresql_where=sa.text("ended_at = 'infinity'"),
    )
    op.create_index(
        "sync_run_finished_idx",
        "sync_run",
        ["tenant", "finished_at"],
        schema="ingest",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )


def _create_publication() -> None:
    """Publish each table of the contract by its name: all tables of a schema would need a superuser."""
    tables = op.get_bind().execute(
        sa.text("""
            SELECT CAST(oid AS regclass)::text
              FROM pg_class
             WHERE relnamespace = 'analytics'::regnamespace
               AND relkind IN ('r', 'p')
               AND NOT relispartition
               AND relname <> ALL(:internal)
             ORDER BY relname
        """),
        {"internal": list(INTERNAL)},
    )
    listed = ", ".join(tables.scalars())
    op.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {listed} WITH (publish_via_partition_root = true)")
    op.execute(f"COMMENT ON PUBLICATION {PUBLICATION} IS 'The tables of the contract, for logical replication'")


def downgrade() -> None:
    op.execute(f"DROP PUBLICATION {PUBLICATION}")
    for name in VIEWS:
        op.execute(f"DROP VIEW analytics.{name}")
    op.drop_index("sync_run_finished_idx", table_name="sync_run", schema="ingest")
    op.drop_index("evse_state_interval_open_idx", table_name="evse_state_interval", schema="analytics")
    for name in ("session_cdr_idx", "session_provisional_idx", "session_long_idx", "session_open_idx"):
        op.drop_index(name, table_name="session", schema="analytics")
    op.drop_column("feed", "findings_at", schema="analytics")
