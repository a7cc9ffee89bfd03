"""Forgetting a person: the list of those who are not to come back, and what was forgotten when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

#: Columns by table: what their comments said, and what they say now.
COMMENTS = {
    ("session", "user_id"): ("User; null for anonymous", "User; null for anonymous, 0 for somebody forgotten"),
    ("charge_point", "owner_user_id"): (
        "User that owns it, for a personal one",
        "User that owns it, for a personal one; 0 for somebody forgotten",
    ),
    ("authorization", "user_id"): ("User; 0 for anonymous", "User; 0 for anonymous or forgotten"),
    ("transaction", "user_id"): (
        "User who pays; null for anonymous",
        "User who pays; null for anonymous, 0 for somebody forgotten",
    ),
    ("reservation", "user_id"): ("User", "User; 0 for somebody forgotten"),
    ("notice", "user_id"): ("User, where one is named", "User, where one is named; 0 for somebody forgotten"),
}

_TENANT = "Tenant, as named in tenants.toml"


def upgrade() -> None:
    op.create_table(
        "forgetting_key",
        sa.Column("tenant", sa.Text(), nullable=False, comment=_TENANT),
        sa.Column("key", sa.LargeBinary(), nullable=False, comment="Random key of the tenant's digests, 32 bytes"),
        sa.PrimaryKeyConstraint("tenant", name="forgetting_key_pkey"),
        schema="ingest",
        comment="Tenants of which people were forgotten; whoever writes reads it first, and so waits for a forgetting",
    )
    op.create_table(
        "forgetting",
        sa.Column("tenant", sa.Text(), nullable=False, comment=_TENANT),
        sa.Column("forgetting_id", sa.Uuid(), nullable=False, comment="UUIDv7"),
        sa.Column("subject", sa.LargeBinary(), nullable=False, comment="Digest of the user's id"),
        sa.Column("asked_by", sa.Text(), nullable=False, comment="Database user and login of whoever ran the command"),
        sa.Column(
            "began_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When it was first begun",
        ),
        sa.Column(
            "reached_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="The log is done up to this received_at; null: from the beginning",
        ),
        sa.Column("reached_id", sa.Uuid(), nullable=True, comment="And up to this notification of that time"),
        sa.Column(
            "finished_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When the state was done, too; null while it is unfinished",
        ),
        sa.Column(
            "changed",
            postgresql.JSONB(),
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="Rows changed or removed, by table",
        ),
        sa.PrimaryKeyConstraint("tenant", "forgetting_id", name="forgetting_pkey"),
        schema="ingest",
        comment="Each forgetting of a person: who asked, when, and how many rows of which tables; never whom",
    )
    op.create_index(
        "forgetting_open_idx",
        "forgetting",
        ["tenant", "subject"],
        unique=True,
        schema="ingest",
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "forgotten",
        sa.Column("tenant", sa.Text(), nullable=False, comment=_TENANT),
        sa.Column(
            "digest",
            sa.LargeBinary(),
            nullable=False,
            comment="Keyed BLAKE2b of the identity: user, id tag or e-mail",
        ),
        sa.Column("forgetting_id", sa.Uuid(), nullable=False, comment="The forgetting that first named it"),
        sa.PrimaryKeyConstraint("tenant", "digest", name="forgotten_pkey"),
        schema="ingest",
        comment="Who is not to come back: what arrives or is read later goes on without them",
    )
    for (table, column), (_, comment) in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN charging.\"{table}\".{column} IS '{comment}'")


def downgrade() -> None:
    for (table, column), (comment, _) in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN charging.\"{table}\".{column} IS '{comment}'")
    op.drop_table("forgotten", schema="ingest")
    op.drop_table("forgetting", schema="ingest")
    op.drop_table("forgetting_key", schema="ingest")
