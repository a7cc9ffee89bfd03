"""Build the tables of mirrored entities: column groups with clocks of their own, and a tombstone.

A *column group* is a set of columns that one source replaces together. Beside its own columns it has three more:

- ``<group>_at``: the time of the newest fact, by the source's clock;
- ``<group>_version``: orders facts of equal time (see :mod:`storage.state.version`);
- ``<group>_conflicting``: two facts of that time contradict each other, and a read decides.

The group ``presence`` holds the tombstone: a read that does not find the entity sets ``deleted_at``, and a later
read that finds it clears the column. Rows are never deleted, except when a person is erased. The group ``presence``
of a child also holds the id of its parent.

A group ``<status>_log`` says which time of the status is covered by reads of the status log: from its column
``<status>_covered_from_at`` to ``<status>_log_at``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import CHARGING


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Columns that one source replaces together, and that share a clock and a version."""

    name: str
    columns: tuple[str, ...]

    @property
    def at(self) -> str:
        """The column with the time of the newest fact."""
        return f"{self.name}_at"

    @property
    def version(self) -> str:
        """The column with the version of the newest fact."""
        return f"{self.name}_version"

    @property
    def conflicting(self) -> str:
        """The column that is true while two facts of equal time contradict each other."""
        return f"{self.name}_conflicting"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirrored kind of entity.

    Attributes:
        table: the table that holds the entities.
        key: the name of the column with their id at AMPECO.
        groups: the column groups.
        kind: the value of the column ``kind``, which is part of the key of a table of several kinds; None for
            a table of one kind.
        parent: the kind whose entities list this one, if it has no read of its own.
    """

    table: Table
    key: str
    groups: tuple[ColumnGroup, ...]
    kind: str | None = None
    parent: str | None = None

    @property
    def name(self) -> str:
        """The name of the table, without its schema."""
        return self.table.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return ("tenant", self.key) if self.kind is None else ("tenant", "kind", self.key)

    @property
    def parent_key(self) -> str:
        """The column with the id of the parent."""
        assert self.parent is not None, f"{self.name} has no parent"
        return f"{self.parent}_id"

    @property
    def fixed(self) -> dict[str, str]:
        """The columns that have the same value in every row of the kind, with that value."""
        return {} if self.kind is None else {"kind": self.kind}

    def matches(self, alias: str, tenant: str = ":tenant") -> str:
        """Return the SQL condition that a row of the table belongs to this kind and to a tenant.

        Parameters:
            alias: the name of the table in the statement.
            tenant: a SQL expression for the tenant's name.
        """
        condition = f"{alias}.tenant = {tenant}"
        return condition if self.kind is None else f"{condition} AND {alias}.kind = '{self.kind}'"

    def rows(self, schema: str = CHARGING) -> str:
        """Return a SQL subquery, without an alias, of the rows of this kind and of the tenant ``:tenant``."""
        return f"(SELECT * FROM {schema}.{self.name} AS mirror WHERE {self.matches('mirror')})"  # noqa: S608 - the names are ours

    def group(self, name: str) -> ColumnGroup:
        """Return the column group of a name.

        Raises:
            StopIteration: there is none.
        """
        return next(group for group in self.groups if group.name == name)


def text_column(name: str, comment: str) -> Column[str]:
    """Make a nullable ``text`` column."""
    return Column(name, Text, comment=comment)


def id_column(name: str, comment: str) -> Column[int]:
    """Make a nullable ``bigint`` column for an id at AMPECO."""
    return Column(name, BigInteger, comment=comment)


def number_column(name: str, comment: str) -> Column[Any]:
    """Make a nullable ``numeric`` column."""
    return Column(name, Numeric, comment=comment)


def flag_column(name: str, comment: str) -> Column[bool]:
    """Make a nullable ``boolean`` column."""
    return Column(name, Boolean, comment=comment)


def raw_column() -> Column[Any]:
    """Make the column ``raw``, which holds the JSON of the newest snapshot."""
    return Column("raw", JSONB, comment="The newest snapshot as sent, without secrets, for what has no column")


def mirror(
    name: str,
    comment: str,
    groups: dict[str, list[Column[Any]]],
    *indexes: str,
    further_keys: Sequence[Column[str]] = (),
    parent: str | None = None,
    has_children: bool = False,
) -> Mirror:
    """Make the table of a kind of entity.

    Parameters:
        name: the name of the kind, and of the table.
        comment: what one row is.
        groups: the columns of each column group, by the name of the group; a column ``raw`` may be among them.
            The group ``presence`` is added if it is missing, and gets the column of the tombstone.
        indexes: columns to index, each after the tenant.
        further_keys: columns of the primary key between the tenant and the id.
        parent: the kind whose entities list this one, if it has no read of its own.
        has_children: whether the kind is such a parent; if so, an index of its tombstones is added.
    """
    key = f"{name}_id"
    deleted_at = instant("deleted_at", "When a read found it gone, by the tenant's clock")
    groups = groups | {"presence": [deleted_at, *groups.get("presence", [])]}
    identity: list[Column[Any]] = [
        tenant_column(),
        *further_keys,
        Column(key, BigInteger, nullable=False, comment="Id at AMPECO"),
    ]
    columns = [*identity]
    described = tuple(ColumnGroup(group, tuple(str(column.name) for column in own)) for group, own in groups.items())
    for group, own in zip(described, groups.values(), strict=True):
        columns += own
        columns += [
            instant(group.at, f"Time of the newest {group.name} fact, by its source's clock"),
            Column(group.version, Text(collation="C"), comment=f"Orders {group.name} facts of equal time"),
            Column(
                group.conflicting,
                Boolean,
                nullable=False,
                server_default=text("false"),
                comment=f"Two {group.name} facts of {group.at} contradict each other; a read decides",
            ),
        ]
    columns += [
        instant("first_seen_at", "When this row was first written", nullable=False, default=func.now()),
        instant("updated_at", "When this row last changed", nullable=False, default=func.now()),
    ]
    table = Table(
        name,
        metadata,
        *columns,
        PrimaryKeyConstraint(*[column.name for column in identity]),
        *[Index(None, "tenant", indexed) for indexed in indexes],
        schema=CHARGING,
        comment=comment,
    )
    if has_children:
        Index(f"{name}_gone_idx", table.c.tenant, table.c[key], postgresql_where=text("deleted_at IS NOT NULL"))
    return Mirror(table, key, described, parent=parent)
