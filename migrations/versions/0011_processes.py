"""Processes that register and beat, and the leases that end with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


_HOLDER = "Process that holds the lease, which ends with it"


def upgrade() -> None:
    op.create_table(
        "process",
        sa.Column("process_id", sa.Uuid(), nullable=False, comment="UUIDv7, made when the process started"),
        sa.Column("name", sa.Text(), nullable=False, comment="What it runs, such as serve or work refresh"),
        sa.Column("host", sa.Text(), nullable=False, comment="Name of its host, or of its container"),
        sa.Column("pid", sa.Integer(), nullable=False, comment="Its process id on that host"),
        sa.Column(
            "pid_space", sa.Text(), nullable=True, comment="Boot and namespace in which pid counts; null: not known"
        ),
        sa.Column("version", sa.Text(), nullable=False, comment="Release that it runs"),
        sa.Column(
            "started_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="When it registered",
        ),
        sa.Column(
            "seen_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
            comment="Its last heartbeat, by the clock of Postgres; set back once another process found it dead",
        ),
        sa.Column(
            "stopped_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="When it stopped in order; null while it runs, and where it was killed",
        ),
        sa.Column("problem", sa.Text(), nullable=True, comment="What keeps it from its work, as of its last heartbeat"),
        sa.PrimaryKeyConstraint("process_id", name="process_pkey"),
        schema="ingest",
        comment="Processes of the service: each registers when it starts, and beats every few seconds",
    )
    for table in ("batch", "refresh_request"):
        op.add_column(
            table,
            sa.Column("leased_by", sa.Uuid(), nullable=True, comment=_HOLDER),
            schema="ingest",
        )


def downgrade() -> None:
    for table in ("batch", "refresh_request"):
        op.drop_column(table, "leased_by", schema="ingest")
    op.drop_table("process", schema="ingest")
