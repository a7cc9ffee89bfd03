"""Tables of findings: what looks wrong in the data, by named rules, and what is to be evaluated again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

finding = Table(
    "finding",
    metadata,
    tenant_column(),
    Column("rule", Text, nullable=False, comment="Rule that it broke, as in the list of rules"),
    Column("kind", Text, nullable=False, comment="Kind of the entity, such as session or evse"),
    Column("entity_id", BigInteger, nullable=False, comment="Id of the entity"),
    instant("began_at", "From when on it holds; -infinity: no time", nullable=False),
    instant("ended_at", "Until when it held; infinity while it does", nullable=False),
    Column("severity", Text, nullable=False, comment="high, medium or low"),
    Column("evidence", JSONB, nullable=False, comment="The values that break the rule, an object"),
    instant("first_seen_at", "When it was found first", nullable=False),
    instant("resolved_at", "When it was found resolved; null while it is open"),
    Column("change_number", BigInteger, nullable=False, comment="Number of the last change, in the tenant's feed"),
    instant("changed_at", "When the last change was derived", nullable=False),
    PrimaryKeyConstraint("tenant", "rule", "kind", "entity_id", "began_at"),
    Index(None, "tenant", "change_number"),
    Index(None, "tenant", "kind", "entity_id"),
    Index("finding_open_idx", "tenant", "rule", postgresql_where=text("resolved_at IS NULL")),
    schema=ANALYTICS,
    comment="Something that looks wrong in the data; it stays when it is resolved",
)

finding_due = Table(
    "finding_due",
    metadata,
    tenant_column(),
    Column("due_id", BigInteger, Identity(always=True), nullable=False, comment="Order in which they were noted"),
    Column("scope", Text, nullable=False, comment="What is evaluated: session, use, state, outage or location"),
    Column("entity_id", BigInteger, nullable=False, comment="Id of the session, the location or the EVSE"),
    instant("evaluated_since", "Findings from then on are evaluated; null: from the beginning"),
    instant("evaluated_until", "Findings until then are evaluated; null: without an end"),
    instant("noted_at", "When the change that may make or resolve findings was derived", nullable=False),
    PrimaryKeyConstraint("tenant", "due_id"),
    Index("finding_due_session_idx", "tenant", "entity_id", postgresql_where=text("scope = 'session'")),
    schema=ANALYTICS,
    comment="Entities whose findings are to be evaluated again; a row goes when they are",
)
