"""Say how each table of the contract is read from Postgres, and which types its columns have in Arrow."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from psycopg import sql
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Integer, Numeric, SmallInteger, Table

from analytics import contract
from storage.schema_names import ANALYTICS

#: The column with the key of a row, spelled as in ``removal.key``. It also has the keys that Arrow cannot hold.
ROW_KEY = "row_key"

#: From here on instants do not fit into microseconds since 1970, in which Arrow counts.
_OUT_OF_RANGE = "294247-01-01 00:00:00+00"

#: The month of a change.
_MONTH = "to_char(changed_at AT TIME ZONE 'UTC', 'YYYY-MM')"


@dataclass(frozen=True, slots=True)
class Exported:
    """A table that is exported.

    Attributes:
        name: its name in the schema ``analytics``.
        schema: the names and types of the columns of its files.
        columns: the SQL of these columns.
    """

    name: str
    schema: pa.Schema
    columns: tuple[str, ...]

    def months(self, tenant: str, first: int, last: int) -> str:
        """Return the query of the months in which rows of a range changed, each with the number of its rows."""
        condition = self._condition(tenant, first, last)
        return f"SELECT {_MONTH}, count(*) FROM {ANALYTICS}.{self.name} WHERE {condition} GROUP BY 1 ORDER BY 1"  # noqa: S608 - values are quoted

    def rows(self, tenant: str, first: int, last: int, month: str) -> str:
        """Return the query of the rows of a range and a month, in the order of their change numbers."""
        condition = f"{self._condition(tenant, first, last)} AND {_MONTH} = {_quoted(month)}"
        listed = ", ".join(self.columns)
        return f"SELECT {listed} FROM {ANALYTICS}.{self.name} WHERE {condition} ORDER BY change_number"  # noqa: S608 - values are quoted

    # Index: (tenant, change_number), which every table of the contract has. Values are quoted, because the driver reads
    # a query without parameters by COPY, several times as fast.
    def _condition(self, tenant: str, first: int, last: int) -> str:
        return f"tenant = {_quoted(tenant)} AND change_number BETWEEN {int(first)} AND {int(last)}"


def exported_tables() -> list[Exported]:
    """Return the tables of the contract whose rows have change numbers, by name."""
    return [_exported(table) for table in contract.tables() if "change_number" in table.columns]


def _exported(table: Table) -> Exported:
    columns = [column for column in table.columns if column.name != "tenant"]  # it is in the path
    fields = [_field(column) for column in columns]
    read = [f"{_read(column)} AS {column.name}" for column in columns]
    if table.name != "removal":
        members = ", ".join(f"'{key.name}', {key.name}" for key in table.primary_key if key.name != "tenant")
        fields.append(pa.field(ROW_KEY, pa.string(), nullable=False))
        read.append(f"CAST(jsonb_build_object({members}) AS text) AS {ROW_KEY}")
    return Exported(table.name, pa.schema(fields), tuple(read))


def _field(column: Column[object]) -> pa.Field:
    # An infinite time and a number that is none become null.
    is_never_null = not column.nullable and not isinstance(column.type, DateTime | Date | Numeric)
    return pa.field(column.name, _arrow_type(column), nullable=not is_never_null)


def _arrow_type(column: Column[object]) -> pa.DataType:
    match column.type:
        case SmallInteger():
            return pa.int16()
        case BigInteger():
            return pa.int64()
        case Integer():
            return pa.int32()
        case Numeric(precision=int(precision), scale=scale):
            return pa.decimal128(precision, scale or 0)
        case Boolean():
            return pa.bool_()
        case Date():
            return pa.date32()
        case DateTime():
            return pa.timestamp("us", tz="UTC")
        case _:
            return pa.string()


def _read(column: Column[object]) -> str:
    """Return the SQL of a column's value in a form that the driver reads exactly."""
    name, kind = column.name, _arrow_type(column)
    if pa.types.is_timestamp(kind):
        return f"CASE WHEN {name} > '-infinity' AND {name} < '{_OUT_OF_RANGE}' THEN {name} END"
    if pa.types.is_date(kind):
        return f"CASE WHEN isfinite({name}) THEN {name} END"
    if pa.types.is_decimal(kind):
        return f"CAST(nullif({name}, 'NaN') AS text)"
    if pa.types.is_string(kind):
        return f"CAST({name} AS text)"
    return name


def _quoted(value: str) -> str:
    return sql.quote(value)
