"""What AMPECO's answers say about a tenant: its release, and the endpoints that will be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"


def _instant(name: str, comment: str, *, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.text("now()")
    return sa.Column(
        name, postgresql.TIMESTAMP(timezone=True), server_default=default, nullable=nullable, comment=comment
    )


_COMMENT = "COMMENT ON COLUMN ingest.notification.signature_encoding IS '{}'"


def upgrade() -> None:
    op.execute(_COMMENT.format("Form of the signature that matched: hex or base64, and its coverage"))
    op.create_table(
        "ampeco_release",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("app_version", sa.Text(), nullable=False, comment="X-App-Version of the last answer"),
        _instant("since_at", "When an answer first had this version"),
        sa.PrimaryKeyConstraint("tenant", name=op.f("ampeco_release_pkey")),
        schema="ingest",
        comment="The release of AMPECO that each tenant runs",
    )
    op.create_table(
        "deprecated_endpoint",
        sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml"),
        sa.Column("endpoint", sa.Text(), nullable=False, comment="Resource with its version, such as users/v1.0"),
        _instant("sunset_at", "When AMPECO will remove it; null: it does not say", nullable=True),
        _instant("first_seen_at", "When an answer first said that it is deprecated"),
        _instant("last_seen_at", "When an answer last said so"),
        sa.PrimaryKeyConstraint("tenant", "endpoint", name=op.f("deprecated_endpoint_pkey")),
        schema="ingest",
        comment="Endpoints that we call and that AMPECO will remove",
    )


def downgrade() -> None:
    op.execute(_COMMENT.format("Form of the signature that matched: hex or base64"))
    op.drop_table("deprecated_endpoint", schema="ingest")
    op.drop_table("ampeco_release", schema="ingest")
