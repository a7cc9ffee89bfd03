"""Kinds that a tenant does not offer are recorded beside those that its token may not read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

COMMENTS = {
    "TABLE ingest.inaccessible_kind": "Kinds that cannot be read for a tenant; a successful read removes the row",
    "COLUMN ingest.inaccessible_kind.kind": "Kind of entity that cannot be read",
    "COLUMN ingest.inaccessible_kind.first_refused_at": "When AMPECO first refused it",
    "COLUMN ingest.inaccessible_kind.last_refused_at": "When AMPECO last refused it",
    "COLUMN ingest.inaccessible_kind.ask_again_at": "When to read the kind again, to find out whether it is still refused",
}


def upgrade() -> None:
    op.rename_table("forbidden_kind", "inaccessible_kind", schema="ingest")
    op.execute("ALTER INDEX ingest.forbidden_kind_pkey RENAME TO inaccessible_kind_pkey")
    op.add_column(
        "inaccessible_kind",
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            server_default="forbidden",
            comment="forbidden: the token may not read it (403); not_offered: no such feature or path (404)",
        ),
        schema="ingest",
    )
    op.alter_column("inaccessible_kind", "reason", server_default=None, schema="ingest")
    for name, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {name} IS '{comment}'")


def downgrade() -> None:
    op.execute("DELETE FROM ingest.inaccessible_kind WHERE reason <> 'forbidden'")
    op.drop_column("inaccessible_kind", "reason", schema="ingest")
    op.execute("ALTER INDEX ingest.inaccessible_kind_pkey RENAME TO forbidden_kind_pkey")
    op.rename_table("inaccessible_kind", "forbidden_kind", schema="ingest")
