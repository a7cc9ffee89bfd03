"""Incidents of which people are alerted, and the progress of their messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"


def _instant(name: str, comment: str, *, nullable: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    kind = postgresql.TIMESTAMP(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=nullable, comment=comment)


def _text(name: str, comment: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, comment=comment)


def upgrade() -> None:
    op.create_table(
        "alert",
        _text("tenant", "Tenant, as named in tenants.toml; empty: the service as a whole"),
        sa.Column("incident_id", sa.Uuid(), nullable=False, comment="UUIDv7; each message of the incident contains it"),
        _text("kind", "Kind of incident, such as traffic_gap"),
        _text("subject", "What of the tenant it concerns; empty: the tenant as a whole"),
        _text("summary", "What is wrong, without personal data, as of last_seen_at"),
        _instant("opened_at", "When it was first seen", now=True),
        _instant("last_seen_at", "When it was last seen", now=True),
        _instant("resolved_at", "When it was no longer seen; null while it is open", nullable=True),
        _text("to_send", "Message that is still to be sent: open or resolved; null: none", nullable=True),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="How often it was tried to send that message, counted before each attempt",
        ),
        _instant("retry_at", "When to send the message at the earliest"),
        _text("last_error", "Why the last attempt failed; null: it did not", nullable=True),
        _instant("notified_open_at", "When the webhook accepted the message that it is open", nullable=True),
        _instant("notified_resolved_at", "When the webhook accepted the message that it is resolved", nullable=True),
        sa.PrimaryKeyConstraint("tenant", "incident_id", name=op.f("alert_pkey")),
        schema="ingest",
        comment="Incidents of which people are alerted, with the progress of their messages",
    )
    op.create_index(
        "alert_open_idx",
        "alert",
        ["tenant", "kind", "subject"],
        unique=True,
        schema="ingest",
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index(
        "alert_to_send_idx",
        "alert",
        ["retry_at"],
        schema="ingest",
        postgresql_where=sa.text("to_send IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("alert", schema="ingest")
