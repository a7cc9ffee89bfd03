"""The tables of forgetting: who is not to come back, and what was forgotten when."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables import INGEST, instant, metadata, tenant_column

suppression_key = Table(
    "suppression_key",
    metadata,
    tenant_column(),
    Column("key", LargeBinary, nullable=False, comment="Random key of the tenant's digests, 32 bytes"),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="Tenants of which people were forgotten; whoever writes reads it first, and so waits for a forgetting",
)

erasure = Table(
    "erasure",
    metadata,
    tenant_column(),
    Column("erasure_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("subject", LargeBinary, nullable=False, comment="Digest of the user's id"),
    Column("requested_by", Text, nullable=False, comment="Database user and login of whoever ran the command"),
    instant("began_at", "When it was first begun", nullable=False, default=func.now()),
    instant("reached_at", "The log is done up to this received_at; null: from the beginning"),
    Column("reached_id", Uuid, comment="And up to this notification of that time"),
    instant("finished_at", "When the state was done, too; null while it is unfinished"),
    Column("changed", JSONB, nullable=False, server_default=text("'{}'"), comment="Rows changed or removed, by table"),
    PrimaryKeyConstraint("tenant", "erasure_id"),
    Index("forgetting_open_idx", "tenant", "subject", unique=True, postgresql_where=text("finished_at IS NULL")),
    schema=INGEST,
    comment="Each forgetting of a person: who asked, when, and how many rows of which tables; never whom",
)

suppression = Table(
    "suppression",
    metadata,
    tenant_column(),
    Column("digest", LargeBinary, nullable=False, comment="Keyed BLAKE2b of the identity: user, id tag or e-mail"),
    Column("erasure_id", Uuid, nullable=False, comment="The forgetting that first named it"),
    PrimaryKeyConstraint("tenant", "digest"),
    schema=INGEST,
    comment="Who is not to come back: what arrives or is read later goes on without them",
)
