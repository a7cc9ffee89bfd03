"""The schema analytics: marks, the change feed, and the states of EVSEs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"

SCHEMA = "analytics"
STATES = (
    *("available", "preparing", "charging", "suspended", "finishing", "reserved", "occupied", "faulted"),
    *("unavailable", "offline", "unknown"),
)
COVERAGES = ("observed", "assumed", "none")


def _instant(name: str, comment: str, *, nullable: bool = True, now: bool = False) -> sa.Column[Any]:
    default = sa.text("now()") if now else None
    return sa.Column(
        name, postgresql.TIMESTAMP(timezone=True), server_default=default, nullable=nullable, comment=comment
    )


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml")


def _text(name: str, comment: str, *, nullable: bool = True) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable, comment=comment)


def _id(name: str, comment: str, *, nullable: bool = True) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, comment=comment)


def _json(name: str, comment: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB(), nullable=nullable, comment=comment)


def _changes() -> list[sa.Column[Any]]:
    return [
        _id("change_number", "Number of the last change, in the tenant's feed", nullable=False),
        _instant("changed_at", "When the last change was derived", nullable=False),
    ]


def _is_one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(map(repr, words))})"


def upgrade() -> None:
    op.execute(f"CREATE SCHEMA {SCHEMA}")
    op.create_table(
        "dirty",
        _tenant(),
        sa.Column("dirty_id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Order of the marks"),
        _text("kind", "Kind of entity that changed: evse or charge_point", nullable=False),
        _id("entity_id", "Id of the entity at AMPECO", nullable=False),
        _instant("changed_since", "What happened to it from then on is to be derived again; null: everything"),
        _instant("marked_at", "When the change was written", nullable=False, now=True),
        sa.PrimaryKeyConstraint("tenant", "dirty_id", name=op.f("dirty_pkey")),
        schema=SCHEMA,
        comment="Entities whose derived rows are out of date; a row goes when they are derived again",
    )
    # Rows come and go all the time: without this, dead rows would make each round slower.
    op.execute(
        f"ALTER TABLE {SCHEMA}.dirty SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"
    )
    op.create_table(
        "contract",
        sa.Column("major", sa.SmallInteger(), nullable=False, comment="Changes if a name or a meaning does"),
        sa.Column("minor", sa.SmallInteger(), nullable=False, comment="Changes if tables or columns are added"),
        sa.PrimaryKeyConstraint("major", name=op.f("contract_pkey")),
        schema=SCHEMA,
        comment="Version of the contract that the tables of this schema keep; one row",
    )
    op.execute("INSERT INTO analytics.contract VALUES (1, 0)")
    op.create_table(
        "feed",
        _tenant(),
        sa.Column(
            "epoch",
            sa.Uuid(),
            nullable=False,
            comment="If it changes, numbers may be given twice: read everything again",
        ),
        _text("origin", "Database that gave the numbers; a restored one is another", nullable=False),
        sa.Column(
            "last_change_number",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Number of the newest change; numbers have no gaps and are in the order of commits",
        ),
        _instant("derived_until", "Every change that was committed before has been derived", nullable=False),
        _instant("gaps_until", "End of the last period without a receiver that has been derived"),
        sa.Column(
            "is_in_gap",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether no receiver was alive at the last derivation",
        ),
        sa.PrimaryKeyConstraint("tenant", name=op.f("feed_pkey")),
        schema=SCHEMA,
        comment="The change feed of each tenant, and how far it has come",
    )
    op.create_table(
        "removal",
        _tenant(),
        _id("change_number", "Number of the removal, in the tenant's feed", nullable=False),
        _text("table_name", "Table in this schema from which a row went", nullable=False),
        _json("key", "Primary key of the row without the tenant, an object", nullable=False),
        _instant("changed_at", "When the removal was derived", nullable=False),
        sa.PrimaryKeyConstraint("tenant", "change_number", name=op.f("removal_pkey")),
        schema=SCHEMA,
        comment="Rows that went from tables of this schema; a row that returned has a higher change number there",
    )
    _create_evse_states()


def _create_evse_states() -> None:
    op.create_table(
        "evse_progress",
        _tenant(),
        _id("evse_id", "EVSE", nullable=False),
        _id("charge_point_id", "Charge point for which its states were derived"),
        _instant("covered_from_at", "From then on status logs covered its states when they were derived"),
        _instant("covered_until_at", "Up to then status logs covered its states when they were derived"),
        sa.PrimaryKeyConstraint("tenant", "evse_id", name=op.f("evse_progress_pkey")),
        schema=SCHEMA,
        comment="For what each EVSE's states were last derived; no part of the contract",
    )
    op.create_table(
        "evse_state_interval",
        _tenant(),
        _id("evse_id", "EVSE", nullable=False),
        _instant("began_at", "When it began", nullable=False),
        _instant("ended_at", "When it ended; infinity for the present one", nullable=False),
        _instant("previous_ended_at", "When the one before ended, which is when it began; null for the first one"),
        _id("charge_point_id", "Charge point of the EVSE, by its latest master data"),
        _text("state", f"State: {', '.join(STATES)}", nullable=False),
        _text("hardware_status", "Hardware status of the EVSE; null: none reported"),
        _text("charge_point_status", "Hardware status of the charge point; null: none reported"),
        _text("network_status", "Network status of the charge point; null: none reported"),
        _text(
            "coverage",
            "observed: notifications were received, or status logs cover it; assumed: received, but a word comes from a"
            " read or is missing; none: no receiver was alive, so the state is unknown",
            nullable=False,
        ),
        _json("evidence", "Observations of the words: time, source, and the notification that reported it"),
        *_changes(),
        sa.CheckConstraint("began_at < ended_at", name="evse_state_interval_order_check"),
        sa.CheckConstraint("previous_ended_at = began_at", name="evse_state_interval_follows_check"),
        sa.CheckConstraint(_is_one_of("state", STATES), name="evse_state_interval_state_check"),
        sa.CheckConstraint(_is_one_of("coverage", COVERAGES), name="evse_state_interval_coverage_check"),
        sa.PrimaryKeyConstraint("tenant", "evse_id", "began_at", name=op.f("evse_state_interval_pkey")),
        sa.UniqueConstraint("tenant", "evse_id", "ended_at", name=op.f("evse_state_interval_tenant_key")),
        sa.UniqueConstraint(
            "tenant",
            "evse_id",
            "previous_ended_at",
            postgresql_nulls_not_distinct=True,
            name="evse_state_interval_previous_key",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "evse_id", "previous_ended_at"],
            [f"{SCHEMA}.evse_state_interval.{name}" for name in ("tenant", "evse_id", "ended_at")],
            name="evse_state_interval_follows_fkey",
            deferrable=True,
            initially="DEFERRED",
        ),
        schema=SCHEMA,
        comment="A stretch of time in which an EVSE was in one state; an EVSE's stretches have no gap and no overlap",
    )
    op.create_index(
        op.f("evse_state_interval_tenant_idx"),
        "evse_state_interval",
        ["tenant", "change_number"],
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
