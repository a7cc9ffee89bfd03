"""Build the derived tables: each has a key, the columns of the contract, and the number of its last change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

#: Energy, Wh with three decimals; money and prices, with six; percentages, with three.
ENERGY = Numeric(14, 3)
MONEY = PRICE = Numeric(18, 6)
PERCENT = Numeric(6, 3)


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived table.

    Attributes:
        table: the table.
        key: the columns of the primary key after the tenant.
        columns: its other columns that are compared and written.
        entity: the column with the id of the entity from which a row is derived.
        since: the column by whose time only the rows from a change on are derived again; None if always all are.
        placed: only for tables whose rows are counted or summed by EVSE and day: the column of the EVSE, the column of
            the time that decides on the day, and the columns that are summed. If one of them changes, the day in which
            the row was counted and the one in which it is now are derived again.
    """

    table: Table
    key: tuple[str, ...]
    columns: tuple[str, ...]
    entity: str
    since: str | None = None
    placed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the table, with its schema."""
        return f"{ANALYTICS}.{self.table.name}"


def limit_of(kind: TypeEngine[Any]) -> int | None:
    """Return the limit below which the absolute value of a number must be, so that a column can hold it."""
    if isinstance(kind, SmallInteger):
        return 2**15 - 1
    if isinstance(kind, Integer) and not isinstance(kind, BigInteger):
        return 2**31 - 1
    if isinstance(kind, Numeric) and kind.precision is not None:
        return int(10 ** (kind.precision - (kind.scale or 0)) - 1)
    return None


def derived(
    name: str,
    comment: str,
    key: Sequence[Column[Any]],
    columns: Sequence[Column[Any]],
    *constraints: SchemaItem,
    entity: str,
    since: str | None = None,
    placed: tuple[str, ...] = (),
) -> Derived:
    """Make a derived table.

    Parameters:
        name: its name in the schema ``analytics``.
        comment: what one row is.
        key: the columns of the primary key after the tenant.
        columns: the other columns, without computed ones.
        constraints: further constraints, indexes and computed columns.
        entity: see :class:`Derived`.
        since: see :class:`Derived`.
        placed: see :class:`Derived`.
    """
    table = Table(
        name,
        metadata,
        tenant_column(),
        *key,
        *columns,
        Column("change_number", BigInteger, nullable=False, comment="Number of the last change, in the tenant's feed"),
        instant("changed_at", "When the last change was derived", nullable=False),
        PrimaryKeyConstraint("tenant", *[column.name for column in key]),
        Index(None, "tenant", "change_number"),
        *constraints,
        schema=ANALYTICS,
        comment=comment,
    )
    names = tuple(str(column.name) for column in columns)
    return Derived(table, tuple(str(column.name) for column in key), names, entity, since, placed)


def is_one_of(column: str, words: Sequence[str]) -> str:
    """Return the condition that a column has one of some words."""
    return f"{column} IN ({', '.join(map(repr, words))})"


def id_column(name: str, comment: str, *, nullable: bool = True) -> Column[int]:
    """Make a ``bigint`` column for an id at AMPECO."""
    return Column(name, BigInteger, nullable=nullable, comment=comment)


def text_column(name: str, comment: str, *, nullable: bool = True) -> Column[str]:
    """Make a ``text`` column."""
    return Column(name, Text, nullable=nullable, comment=comment)


def number_column(name: str, comment: str, kind: TypeEngine[Any], *, nullable: bool = True) -> Column[Any]:
    """Make a column of a number's type."""
    return Column(name, kind, nullable=nullable, comment=comment)


def seconds_column(name: str, comment: str, *, nullable: bool = True) -> Column[int]:
    """Make an ``integer`` column of seconds."""
    return Column(name, Integer, nullable=nullable, comment=comment)


def flag_column(name: str, comment: str) -> Column[bool]:
    """Make a ``boolean`` column without null."""
    return Column(name, Boolean, nullable=False, comment=comment)


def day_column(name: str, comment: str, *, nullable: bool = True) -> Column[Any]:
    """Make a ``date`` column."""
    return Column(name, Date, nullable=nullable, comment=comment)


def kwh_column(of: str, comment: str) -> Column[Any]:
    """Make a column of kWh that the database computes from one of Wh, whose name ends in ``_wh``."""
    return Column(
        f"{of.removesuffix('_wh')}_kwh", Numeric(14, 6), Computed(f"{of} / 1000", persisted=True), comment=comment
    )


def json_column(name: str, comment: str, *, nullable: bool = True) -> Column[Any]:
    """Make a ``jsonb`` column."""
    return Column(name, JSONB, nullable=nullable, comment=comment)
