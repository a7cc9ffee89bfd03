"""Write derived rows with change numbers: only rows that differ are written, and each gets the next number.

One transaction at a time derives for a tenant, because it locks the tenant's row of ``analytics.feed``. So numbers are
in the order of commits and have no gaps, and a reader that follows them misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, text

from analytics.schema.derived import Derived
from storage.documents import to_json


@dataclass(slots=True)
class Numbering:
    """The numbers that one transaction gives.

    Attributes:
        tenant: the tenant's name.
        last: the last number that was given.
        changed_at: the time of all its changes.
    """

    tenant: str
    last: int
    changed_at: datetime

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that every statement has."""
        return {"tenant": self.tenant, "last": self.last, "changed_at": self.changed_at}


def write_rows(
    connection: Connection,
    numbering: Numbering,
    derived: Derived,
    scope: Mapping[int, datetime | None],
    rows: Sequence[Mapping[str, Any]],
) -> int:
    """Make a derived table hold exactly these rows within a scope, and return how many rows changed or went.

    Parameters:
        numbering: the numbers of this transaction.
        derived: the table.
        scope: the entities that were derived, each with the time from which on its rows were; None: all of its rows.
        rows: the rows of the scope, with the key and all columns.
    """
    document = to_json(rows)
    limits = to_json([{"entity_id": entity_id, "since": since} for entity_id, since in scope.items()])
    before = numbering.last
    # Rows that went are removed first: a row may take over a unique value of one of them.
    for statement, parameters in (
        (_removal(derived), {"rows": document, "scope": limits}),
        (_upsert(derived), {"rows": document}),
    ):
        numbering.last += connection.execute(text(statement), numbering.parameters() | parameters).scalar_one()
    return numbering.last - before


@cache
def _upsert(derived: Derived) -> str:
    """Return the statement that writes the rows that differ. Index: the table's primary key."""
    listed = [*derived.key, *derived.columns]
    same_key = " AND ".join(f"known.{name} = fresh.{name}" for name in derived.key)
    known, fresh = (", ".join(f"{side}.{name}" for name in derived.columns) for side in ("known", "fresh"))
    assignments = ",\n               ".join(
        f"{name} = excluded.{name}" for name in (*derived.columns, "change_number", "changed_at")
    )
    return f"""
WITH changed AS (
    SELECT {", ".join(f"fresh.{name}" for name in listed)},
           row_number() OVER (ORDER BY {", ".join(f"fresh.{name}" for name in derived.key)}) AS ordinal
      FROM json_populate_recordset(NULL::{derived.name}, CAST(:rows AS json)) AS fresh
      LEFT JOIN {derived.name} AS known
             ON known.tenant = :tenant AND {same_key}
     WHERE known.tenant IS NULL
        OR ({known}) IS DISTINCT FROM ({fresh})
), written AS (
    INSERT INTO {derived.name} AS known (tenant, {", ".join(listed)}, change_number, changed_at)
    SELECT :tenant, {", ".join(listed)}, CAST(:last AS bigint) + ordinal, :changed_at
      FROM changed
     ORDER BY {", ".join(derived.key)}
        ON CONFLICT (tenant, {", ".join(derived.key)}) DO UPDATE SET
               {assignments}
    RETURNING 1
)
SELECT count(*) FROM written
"""  # noqa: S608 - the names are ours


@cache
def _removal(derived: Derived) -> str:
    """Return the statement that removes the rows of a scope that are not among the rows. Index: the primary key."""
    since = "" if derived.since is None else f"AND (scope.since IS NULL OR known.{derived.since} >= scope.since)"
    same_key = " AND ".join(f"fresh.{name} = known.{name}" for name in derived.key)
    members = ", ".join(f"'{name}', gone.{name}" for name in derived.key)
    return f"""
WITH gone AS (
    DELETE FROM {derived.name} AS known
     USING json_to_recordset(CAST(:scope AS json)) AS scope (entity_id bigint, since timestamptz)
     WHERE known.tenant = :tenant
       AND known.{derived.entity} = scope.entity_id
       {since}
       AND NOT EXISTS (
           SELECT FROM json_populate_recordset(NULL::{derived.name}, CAST(:rows AS json)) AS fresh WHERE {same_key})
    RETURNING {", ".join(f"known.{name}" for name in derived.key)}
), noted AS (
    INSERT INTO analytics.removal (tenant, change_number, table_name, key, changed_at)
    SELECT :tenant,
           CAST(:last AS bigint) + row_number() OVER (ORDER BY {", ".join(f"gone.{name}" for name in derived.key)}),
           '{derived.table.name}',
           jsonb_build_object({members}),
           :changed_at
      FROM gone
    RETURNING 1
)
SELECT count(*) FROM noted
"""  # noqa: S608 - the names are ours
