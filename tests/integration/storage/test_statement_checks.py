"""Statements that the service executes are parsed as it executes them, and those of tests are not."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from tests.support.statements import refused_statements

#: What a Postgres that is distributed by tenant refuses.
STATEMENT = "UPDATE ingest.process SET name = name WHERE false RETURNING now()"

ROOT = Path(__file__).parents[3]


def execute(connection: Connection, folder: str) -> None:
    """Execute the statement from a file in a folder of the project."""
    file = str(ROOT / folder / "executing.py")
    exec(compile(f"connection.exec_driver_sql({STATEMENT!r})", file, "exec"), {"connection": connection})


def test_a_refused_statement_is_named_once_if_the_service_executed_it(connection: Connection) -> None:
    execute(connection, "tests")
    assert refused_statements() == []
    execute(connection, "storage")
    (refused,) = refused_statements()
    assert "a mutable function in RETURNING" in refused
    assert STATEMENT in refused
    assert refused_statements() == []
