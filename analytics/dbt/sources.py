"""Write ``models/sources.yml``, the tables of the contract as a source of dbt: ``python -m analytics.dbt.sources``.

The names, comments and tests come from the declared tables. Only what these do not declare is here: which columns
refer to which table, and how old the newest change may be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import CheckConstraint, Column, Table
from sqlalchemy.dialects import postgresql

from analytics import contract
from storage.schema_names import ANALYTICS

FILE = Path(__file__).parent / "models" / "sources.yml"

_HEADER = (
    "# `python -m analytics.dbt.sources` writes this file from analytics/schema/, and a test compares both.\n"
    "# Change the tables and their comments there.\n"
)

_DESCRIPTION = (
    "The contract that reports are built on. Seconds are integers, energy is in Wh and in kWh, money is in the currency"
    " beside it, instants are in UTC, and local days are those of the location's time zone."
)

#: Columns that name a row of another table, by table: the columns, the other table, and its columns.
REFERENCES: dict[str, list[tuple[list[str], str, list[str]]]] = {
    "charge_attempt": [(["tenant", "session_id"], "session", ["tenant", "session_id"])],
    "energy_interval": [(["tenant", "session_id"], "session", ["tenant", "session_id"])],
    "evse_state_interval": [
        (
            ["tenant", "evse_id", "previous_ended_at"],
            "evse_state_interval",
            ["tenant", "evse_id", "ended_at"],
        )
    ],
    "exclusion": [(["tenant", "evse_id", "outage_began_at"], "outage", ["tenant", "evse_id", "began_at"])],
    "outage": [
        (["tenant", "session_before_id"], "session", ["tenant", "session_id"]),
        (["tenant", "session_after_id"], "session", ["tenant", "session_id"]),
    ],
}

#: After how long without a change dbt warns, and after how long it fails: a count and a period. Tables that are not
#: here may rightly stay as they are for months, such as tariffs and outages.
FRESHNESS: dict[str, tuple[tuple[int, str], tuple[int, str]]] = {
    "feed": ((5, "minute"), (1, "hour")),
    "evse_state_interval": ((1, "day"), (3, "day")),
    "session": ((1, "day"), (3, "day")),
    "charge_attempt": ((1, "day"), (3, "day")),
    "energy_interval": ((1, "day"), (3, "day")),
    "evse_day": ((2, "day"), (3, "day")),  # made when the day is over
    "evse_uptime_month": ((33, "day"), (36, "day")),  # made when the month is over
}

_IS_ONE_OF = re.compile(r"(\w+) IN \((.+)\)")


def generate() -> str:
    """Return the content of the file."""
    source = {
        "name": ANALYTICS,
        "description": _DESCRIPTION,
        "schema": "{{ var('analytics_schema') }}",
        "tables": [_table(table) for table in contract.tables()],
    }
    document = {"version": 2, "sources": [source]}
    return f"{_HEADER}{yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)}"


def _table(table: Table) -> dict[str, Any]:
    accepted = dict(_accepted_values(table))
    return {
        "name": str(table.name),
        "description": f"{table.comment}.",
        **_loaded(table),
        "data_tests": list(_tests(table)),
        "columns": [_column(column, accepted.get(column.name)) for column in table.columns],
    }


def _loaded(table: Table) -> dict[str, Any]:
    """Return how dbt learns when a table was last written, and how long ago that may be."""
    config: dict[str, Any] = {}
    if table.name == "feed":
        # The tenant that is furthest behind counts.
        config["loaded_at_query"] = "SELECT min(derived_until) FROM {{ var('analytics_schema') }}.feed"
    elif "changed_at" in table.columns:
        config["loaded_at_field"] = "changed_at"
    if table.name in FRESHNESS:
        warn, error = ({"count": count, "period": period} for count, period in FRESHNESS[table.name])
        config["freshness"] = {"warn_after": warn, "error_after": error}
    return {"config": config} if config else {}


def _tests(table: Table) -> Iterator[dict[str, Any]]:
    keys = [[str(column.name) for column in table.primary_key]]
    # No two rows of a table have the same number, so that a reader of the feed can continue behind one.
    if "change_number" in table.columns and (numbered := ["tenant", "change_number"]) not in keys:
        keys.append(numbered)
    for key in keys:
        yield {"unique_key": {"arguments": {"columns": key}}}
    for columns, other, other_columns in REFERENCES.get(table.name, []):
        arguments = {"columns": columns, "to": f"source('{ANALYTICS}', '{other}')", "to_columns": other_columns}
        yield {"foreign_key": {"arguments": arguments}}


def _column(column: Column[Any], accepted: list[str] | None) -> dict[str, Any]:
    kind = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call] # as of SQLAlchemy 2.1
    tests: list[Any] = [] if column.nullable else ["not_null"]
    if accepted:
        tests.append({"accepted_values": {"arguments": {"values": accepted}}})
    described = {"name": str(column.name), "data_type": kind, "description": f"{column.comment}."}
    return described | ({"data_tests": tests} if tests else {})


def _accepted_values(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns that a constraint restricts to some words, with the words."""
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint) and (match := _IS_ONE_OF.fullmatch(str(constraint.sqltext))):
            yield match[1], re.findall(r"'([^']*)'", match[2])


def main() -> None:
    """Write the file."""
    FILE.write_text(generate(), encoding="utf-8")


if __name__ == "__main__":
    main()
