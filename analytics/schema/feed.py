"""Tables of the change feed: the contract's version, each tenant's numbers, and the rows that went."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

contract = Table(
    "contract",
    metadata,
    Column("major", SmallInteger, nullable=False, comment="Changes if a name or a meaning does"),
    Column("minor", SmallInteger, nullable=False, comment="Changes if tables or columns are added"),
    PrimaryKeyConstraint("major"),
    schema=ANALYTICS,
    comment="Version of the contract that the tables of this schema keep; one row",
)

feed = Table(
    "feed",
    metadata,
    tenant_column(),
    Column("epoch", Uuid, nullable=False, comment="If it changes, numbers may be given twice: read everything again"),
    Column("origin", Text, nullable=False, comment="Database that gave the numbers; a restored one is another"),
    Column(
        "last_change_number",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="Number of the newest change; numbers have no gaps and are in the order of commits",
    ),
    instant("derived_until", "Every change that was committed before has been derived", nullable=False),
    instant("gaps_until", "End of the last period without a receiver that has been derived"),
    Column(
        "is_in_gap",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="Whether no receiver was alive at the last derivation",
    ),
    instant("findings_at", "When the findings that time alone makes were last looked for"),
    PrimaryKeyConstraint("tenant"),
    schema=ANALYTICS,
    comment="The change feed of each tenant, and how far it has come",
)

removal = Table(
    "removal",
    metadata,
    tenant_column(),
    Column("change_number", BigInteger, nullable=False, comment="Number of the removal, in the tenant's feed"),
    Column("table_name", Text, nullable=False, comment="Table in this schema from which a row went"),
    Column("key", JSONB, nullable=False, comment="Primary key of the row without the tenant, an object"),
    instant("changed_at", "When the removal was derived", nullable=False),
    PrimaryKeyConstraint("tenant", "change_number"),
    schema=ANALYTICS,
    comment="Rows that went from tables of this schema; a row that returned has a higher change number there",
)
