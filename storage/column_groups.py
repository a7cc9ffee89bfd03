"""How a mirrored entity's table is made: column groups with clocks of their own, and a tombstone.

A *group* is a set of columns that one source replaces together. Beside its columns it
keeps three of its own:

- ``<group>_at``: the time of the newest fact, by the source's clock;
- ``<group>_version``: orders facts of equal time (see :mod:`storage.facts`);
- ``<group>_conflicting``: two different facts carry that time, and a read has to settle it.

The group ``presence`` holds the tombstone: a read that finds nothing sets
``deleted_at``, a later one that finds the entity lifts it. Rows are never deleted. Of an entity
that is listed with its parent, the group also says which parent that is.

A group ``<status>_log`` says for how long the status log was read: from its column
``<status>_covered_from_at`` to ``<status>_log_at``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

from storage.tables import CHARGING, instant, metadata, tenant_column


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    """Columns that share a clock."""

    name: str
    columns: tuple[str, ...]

    @property
    def at(self) -> str:
        return f"{self.name}_at"

    @property
    def version(self) -> str:
        return f"{self.name}_version"

    @property
    def conflicting(self) -> str:
        return f"{self.name}_conflicting"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirrored kind of entity: its table, the name of its id column, and its groups.

    ``kind`` is set where the table holds entities of several kinds: it is the value of the
    column ``kind``, which is then part of the key. ``parent`` is the kind that an entity is listed
    with, where it has no read of its own.
    """

    table: Table
    key: str
    groups: tuple[ColumnGroup, ...]
    kind: str | None = None
    parent: str | None = None

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return ("tenant", self.key) if self.kind is None else ("tenant", "kind", self.key)

    @property
    def parent_key(self) -> str:
        """The column that holds the id of the parent."""
        assert self.parent is not None, f"{self.name} has no parent"
        return f"{self.parent}_id"

    @property
    def fixed(self) -> dict[str, str]:
        """What every row of the kind holds."""
        return {} if self.kind is None else {"kind": self.kind}

    def matches(self, alias: str, tenant: str = ":tenant") -> str:
        """Return the condition that a row of the table is of this kind and of a tenant.

        Parameters:
            alias: the name of the table in the statement.
            tenant: an expression for the tenant's name.
        """
        condition = f"{alias}.tenant = {tenant}"
        return condition if self.kind is None else f"{condition} AND {alias}.kind = '{self.kind}'"

    def rows(self, schema: str = CHARGING) -> str:
        """Return what to select the rows of this kind and of the tenant ``:tenant`` from, without an alias."""
        return f"(SELECT * FROM {schema}.{self.name} AS mirror WHERE {self.matches('mirror')})"  # noqa: S608 - the names are ours

    def group(self, name: str) -> ColumnGroup:
        return next(group for group in self.groups if group.name == name)


def text_column(name: str, comment: str) -> Column[str]:
    return Column(name, Text, comment=comment)


def id_column(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, comment=comment)


def number_column(name: str, comment: str) -> Column:  # type: ignore[type-arg]
    return Column(name, Numeric, comment=comment)


def flag_column(name: str, comment: str) -> Column[bool]:
    return Column(name, Boolean, comment=comment)


def raw_column() -> Column:  # type: ignore[type-arg]
    return Column("raw", JSONB, comment="The newest snapshot as sent, without secrets, for what has no column")


def mirror(
    name: str,
    comment: str,
    groups: dict[str, list[Column]],  # type: ignore[type-arg]
    *indexes: str,
    further_keys: Sequence[Column[str]] = (),
    parent: str | None = None,
    has_children: bool = False,
) -> Mirror:
    """Make the table of a kind of entity.

    Parameters:
        name: of the kind, and of the table.
        comment: what one row is.
        groups: the columns of each group; a column ``raw`` may be among them. The group
            ``presence`` is added, or gets its tombstone.
        indexes: columns to index, each after the tenant.
        further_keys: columns of the key between the tenant and the id.
        parent: the kind that lists it, where it has no read of its own.
        has_children: whether it is such a parent; an index then finds the tombstones.
    """
    key = f"{name}_id"
    deleted_at = instant("deleted_at", "When a read found it gone, by the tenant's clock")
    groups = groups | {"presence": [deleted_at, *groups.get("presence", [])]}
    identity: list[Column] = [  # type: ignore[type-arg]
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
                comment=f"Different {group.name} facts carry {group.at}; a read will settle it",
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
