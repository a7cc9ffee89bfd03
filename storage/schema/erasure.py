"""Tables of erasures and of the suppression list."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import INGEST

suppression_key = Table(
    "suppression_key",
    metadata,
    tenant_column(),
    Column("key", LargeBinary, nullable=False, comment="Random key of the tenant's digests, 32 bytes"),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="Tenants with erased people; each transaction that writes reads it first, and so waits for an erasure",
)

erasure = Table(
    "erasure",
    metadata,
    tenant_column(),
    Column("erasure_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("subject", LargeBinary, nullable=False, comment="Digest of the user's id"),
    Column("requested_by", Text, nullable=False, comment="Database user and login of the person who ran the command"),
    instant("began_at", "When it was first begun", nullable=False, default=func.now()),
    instant("reached_at", "The log is done up to this received_at; null: nothing of it is"),
    Column("reached_id", Uuid, comment="The log is done up to this notification of reached_at"),
    instant("finished_at", "When the log, the state and the history were done; null while the erasure is unfinished"),
    Column("changed", JSONB, nullable=False, server_default=text("'{}'"), comment="Rows changed or removed, by table"),
    PrimaryKeyConstraint("tenant", "erasure_id"),
    Index("erasure_open_idx", "tenant", "subject", unique=True, postgresql_where=text("finished_at IS NULL")),
    schema=INGEST,
    comment="Each erasure of a person: who requested it, when, and how many rows of which tables; never who was erased",
)

suppression = Table(
    "suppression",
    metadata,
    tenant_column(),
    Column("digest", LargeBinary, nullable=False, comment="Keyed BLAKE2b of the identity: user, id tag or e-mail"),
    Column("erasure_id", Uuid, nullable=False, comment="The erasure that added it"),
    PrimaryKeyConstraint("tenant", "digest"),
    schema=INGEST,
    comment="Digests of the identities of erased people, who are removed from all data that arrives or is read later",
)
