"""Every kind of entity: tables of commerce, one for all other kinds, notices, lookups and refusals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def _instant(name: str, comment: str, *, nullable: bool = True, now: bool = False) -> sa.Column:  # type: ignore[type-arg]
    default = sa.text("now()") if now else None
    kind = postgresql.TIMESTAMP(timezone=True)
    return sa.Column(name, kind, server_default=default, nullable=nullable, comment=comment)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.Text(), nullable=False, comment="Tenant, as named in tenants.toml")


def _text(name: str, comment: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=True, comment=comment)


def _id(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=True, comment=comment)


def _number(name: str, comment: str) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.Numeric(), nullable=True, comment=comment)


def _group(name: str) -> list[sa.Column]:  # type: ignore[type-arg]
    """The three columns that a group keeps of itself."""
    return [
        _instant(f"{name}_at", f"Time of the newest {name} fact, by its source's clock"),
        sa.Column(
            f"{name}_version",
            sa.Text(collation="C"),
            nullable=True,
            comment=f"Orders {name} facts of equal time",
        ),
        sa.Column(
            f"{name}_contested",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment=f"Different {name} facts carry {name}_at; a read will settle it",
        ),
    ]


def _create_mirror(
    name: str,
    comment: str,
    *own: sa.Column,  # type: ignore[type-arg]
    index: str | None = None,
    kind: sa.Column[str] | None = None,
) -> None:
    """A mirrored table: its key, its master data with their clock, and its tombstone."""
    key: list[sa.Column] = [  # type: ignore[type-arg]
        _tenant(),
        sa.Column(f"{name}_id", sa.BigInteger(), nullable=False, comment="Id at AMPECO"),
    ]
    if kind is not None:
        key.insert(1, kind)
    op.create_table(
        name,
        *key,
        *own,
        sa.Column(
            "raw",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The newest snapshot as sent, without secrets, for what has no column",
        ),
        *_group("master"),
        _instant("deleted_at", "When a read found it gone, by the tenant's clock"),
        *_group("presence"),
        _instant("first_seen_at", "When this row was first written", nullable=False, now=True),
        _instant("updated_at", "When this row last changed", nullable=False, now=True),
        sa.PrimaryKeyConstraint(*[column.name for column in key], name=op.f(f"{name}_pkey")),
        schema="charging",
        comment=comment,
    )
    if index is not None:
        op.create_index(op.f(f"{name}_tenant_{index}_idx"), name, ["tenant", index], schema="charging")


def upgrade() -> None:
    _authorizations_are_read()
    _create_mirror(
        "transaction",
        "A payment, for a session or anything else that is sold",
        _text("number", "Number that people see"),
        _id("session_id", "Session that is paid for, where it is one"),
        _id("user_id", "User who pays; null for anonymous"),
        _number("total_amount", "Amount, in currency"),
        _text("currency", "Currency, ISO 4217"),
        _text("status", "initialized, authorized, pending, finalized, failed, reversed or refunded"),
        _text("purchase_resource_type", "What is paid for, such as session"),
        _id("purchase_resource_id", "Id of what is paid for"),
        _text("payment_method_id", "Payment method"),
        _text("billing_type", "internal or external"),
        _text("ref", "Reference at the payment provider"),
        _text("failure_reason", "Why it failed"),
        _id("invoice_id", "Invoice"),
        _id("receipt_id", "Receipt"),
        _id("terminal_id", "Payment terminal"),
        _id("voucher_id", "Voucher that paid"),
        _instant("created_at", "When it was made"),
        _instant("finalized_at", "When it was final"),
        index="session_id",
    )
    _create_mirror(
        "reservation",
        "An EVSE kept free for a user",
        _id("charge_point_id", "Charge point"),
        _id("evse_id", "EVSE"),
        _id("user_id", "User"),
        _text("status", "active, expired, canceled or done"),
        _instant("reserved_at", "From when it is kept free"),
        _instant("canceled_at", "When it was canceled"),
        _number("duration_minutes", "For how long it is kept free, minutes"),
        index="evse_id",
    )
    _create_mirror(
        "cdr",
        "A charge detail record of roaming, sent or received",
        _id("operator_id", "Roaming operator or provider"),
        _id("platform_id", "Roaming platform"),
        _text("protocol_type", "OCPI or Hubject"),
        _text("roaming_id", "Id that the charge point operator gave it"),
        _text("session_reference", "Session, as the roaming partners call it"),
        sa.Column("is_local", sa.Boolean(), nullable=True, comment="Whether we issued it, as charge point operator"),
        sa.Column("is_credit", sa.Boolean(), nullable=True, comment="Whether it takes back another"),
        _instant("started_at", "When the session, or its reservation, started"),
        _instant("ended_at", "When the session ended"),
        _number("energy_wh", "Energy, Wh"),
        _number("amount_without_tax", "Cost without tax, in currency; OICP tells none"),
        _text("currency", "Currency, ISO 4217; OICP tells none"),
        _instant("received_at", "When it was received"),
        _instant("sent_at", "When it was sent"),
        _text("delivery_response", "success or fail, of a sent one"),
        index="roaming_id",
    )
    _create_mirror(
        "tariff",
        "How charging is priced",
        _text("name", "Name"),
        _text("type", "How it reckons, such as standard or flat rate"),
        _text("currency", "Currency, ISO 4217"),
        _number("price_per_kwh", "Price of a kWh, in currency, where it has one price"),
        _number("price_per_session", "Price of a session, in currency"),
        _number("connection_fee", "Fee for connecting, in currency"),
        _number("idle_fee_per_minute", "Fee of a minute without charging, in currency"),
        _number("min_price", "Least price of a session, in currency"),
        _id("partner_id", "Partner whose tariff it is"),
        _text("external_id", "Id that the operator gave it"),
    )
    _create_mirror(
        "resource",
        "An entity of any other kind, as AMPECO shows it",
        kind=sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity, such as user or partner"),
    )
    _notices()
    _lookups_and_refusals()


def _authorizations_are_read() -> None:
    """Authorizations were told by sessions alone: they get the rest of their columns, and wait for a read."""
    for column in (
        _id("charge_point_id", "Charge point where it was asked for"),
        _id("evse_id", "EVSE where it was asked for"),
        sa.Column(
            "session_ids",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="Sessions that it allowed, an array of ids",
        ),
    ):
        op.add_column("authorization", column, schema="charging")
    op.create_table_comment("authorization", "Leave to charge, asked for and given or refused", schema="charging")
    op.execute("""
        UPDATE charging."authorization"
           SET master_version = '000:' || right(master_version, 16)
         WHERE master_version IS NOT NULL
    """)


def _notices() -> None:
    op.create_table(
        "notice",
        _tenant(),
        sa.Column(
            "subject", sa.Text(), nullable=False, comment="What it is about, such as security_event or user_balance"
        ),
        _instant("observed_at", "When it was so, by its source's clock; null where the notification tells no time"),
        sa.Column(
            "digest",
            sa.Text(collation="C"),
            nullable=False,
            comment="Of details: with the time it tells notices apart",
        ),
        _id("charge_point_id", "Charge point, where one is named"),
        _id("evse_id", "EVSE, where one is named"),
        _id("session_id", "Session, where one is named"),
        _id("user_id", "User, where one is named"),
        _id("circuit_id", "Circuit, where one is named"),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="The notification as sent, without its name and without secrets",
        ),
        sa.Column("notification_id", sa.Uuid(), nullable=True, comment="The first notification that told"),
        _instant("recorded_at", "When it was first recorded here", nullable=False, now=True),
        sa.UniqueConstraint(
            "tenant",
            "subject",
            "observed_at",
            "digest",
            name=op.f("notice_tenant_subject_observed_at_digest_key"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="charging",
        comment="Each fact that a notification tells and no read gives again; append-only",
    )


def _lookups_and_refusals() -> None:
    op.add_column(
        "refresh_request",
        sa.Column(
            "reference",
            sa.Text(),
            server_default=sa.text("''"),
            nullable=False,
            comment="What it is looked up by in a listing, where the notification does not tell its id; else empty",
        ),
        schema="ingest",
    )
    _key_of_requests("tenant", "entity", "entity_id", "reference")
    _comment_requests(
        entity="Kind of entity, such as session or evse", entity_id="Id of the entity at AMPECO; 0 beside a reference"
    )
    op.create_table(
        "refusal",
        _tenant(),
        sa.Column("kind", sa.Text(), nullable=False, comment="Kind of entity that the tenant's token may not read"),
        _instant("first_refused_at", "When AMPECO first answered 403", nullable=False, now=True),
        _instant("last_refused_at", "When AMPECO last answered 403", nullable=False, now=True),
        _instant("ask_again_at", "Until then nothing of the kind is read", nullable=False),
        sa.Column("error", sa.Text(), nullable=False, comment="What AMPECO answered last"),
        sa.PrimaryKeyConstraint("tenant", "kind", name=op.f("refusal_pkey")),
        schema="ingest",
        comment="What a tenant's token may not read; a read that succeeds removes the row",
    )


def _key_of_requests(*columns: str) -> None:
    op.drop_constraint("refresh_request_pkey", "refresh_request", schema="ingest")
    op.create_primary_key("refresh_request_pkey", "refresh_request", list(columns), schema="ingest")


def _comment_requests(**comments: str) -> None:
    for column, comment in comments.items():
        op.alter_column("refresh_request", column, comment=comment, schema="ingest")


def downgrade() -> None:
    op.drop_table("refusal", schema="ingest")
    # What the earlier release cannot read.
    op.execute("""
        DELETE FROM ingest.refresh_request
         WHERE reference <> ''
            OR entity NOT IN ('session', 'evse', 'charge_point', 'location')
    """)
    _key_of_requests("tenant", "entity", "entity_id")
    _comment_requests(
        entity="Mirrored table: session, evse, charge_point or location", entity_id="Id of the entity at AMPECO"
    )
    op.drop_column("refresh_request", "reference", schema="ingest")
    for table in ("notice", "resource", "tariff", "cdr", "reservation", "transaction"):
        op.drop_table(table, schema="charging")
    op.create_table_comment("authorization", "Leave to charge, as a session names it", schema="charging")
    for column in ("charge_point_id", "evse_id", "session_ids"):
        op.drop_column("authorization", column, schema="charging")
