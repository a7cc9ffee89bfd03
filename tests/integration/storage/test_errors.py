"""Whose fault a refused statement is: the values', or that of the surroundings."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from storage.errors import is_unrelated_to_values

EVSE = "INSERT INTO charging.evse (tenant, evse_id"

#: What no other server, schema or setting would take either.
OF_THE_VALUES = {
    "22003": "SELECT CAST(99999999999 AS int)",
    "22P05": r"""SELECT CAST('{"a": "\u0000"}' AS json) ->> 'a'""",
    "22P02": "SELECT CAST('x' AS bigint)",
    "22008": "SELECT CAST('2026-02-30' AS date)",
    "22001": "CREATE TEMP TABLE short (word varchar(1)); INSERT INTO short VALUES ('xy')",
    "23502": f"{EVSE}) VALUES (NULL, 1)",
    "23505": f"{EVSE}) VALUES ('a', 1), ('a', 1)",
    "54000": "CREATE TEMP TABLE long (word text PRIMARY KEY);"
    " INSERT INTO long SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) AS n",
}

#: What would be taken once something else is right.
PASSING = {
    "25006": "SET TRANSACTION READ ONLY; CREATE TABLE public.one ()",
    "42501": "SET LOCAL ROLE pg_monitor; SELECT FROM ingest.batch",
    "42703": "SELECT gone FROM ingest.batch",
    "42P01": "SELECT FROM ingest.gone",
    "26000": "EXECUTE gone",
    "42P05": "PREPARE twice AS SELECT 1; PREPARE twice AS SELECT 1",
    "0A000": "DO $$ BEGIN RAISE feature_not_supported; END $$",
    "40P01": "DO $$ BEGIN RAISE deadlock_detected; END $$",
    "53100": "DO $$ BEGIN RAISE disk_full; END $$",
    "57014": "SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)",
    "P0001": "DO $$ BEGIN RAISE 'a trigger of somebody else'; END $$",
    "23514": "CREATE TEMP TABLE days (day date) PARTITION BY RANGE (day); INSERT INTO days VALUES (now())",
    "23514 of another": "CREATE TEMP TABLE one (n int CONSTRAINT theirs CHECK (n > 0)); INSERT INTO one VALUES (0)",
    "23502 of a later release": f"ALTER TABLE charging.evse ADD later int NOT NULL; {EVSE}) VALUES ('a', 1)",
    "22021": r"SELECT convert_from('\xff', 'UTF8')",
    "22P05": "SET LOCAL client_encoding = 'LATIN1'; SELECT chr(8364)",
    "22023": "SET LOCAL DateStyle = 'none'",
    "54023": "DO $$ BEGIN RAISE too_many_arguments; END $$",
}


def failure(connection: Connection, statement: str) -> DBAPIError:
    with pytest.raises(DBAPIError) as raised, connection.begin_nested():
        connection.exec_driver_sql(statement)
    return raised.value


@pytest.mark.parametrize("case", OF_THE_VALUES)
def test_what_postgres_refuses_for_its_values_is_theirs(connection: Connection, case: str) -> None:
    error = failure(connection, OF_THE_VALUES[case])
    assert getattr(error.orig, "sqlstate", None) == case
    assert not is_unrelated_to_values(error)


@pytest.mark.parametrize("case", PASSING)
def test_whatever_else_postgres_refuses_passes(connection: Connection, case: str) -> None:
    error = failure(connection, PASSING[case])
    assert getattr(error.orig, "sqlstate", None) == case[:5]
    assert is_unrelated_to_values(error)


@pytest.mark.parametrize("error", [TypeError(), ValueError(), MemoryError(), OSError()])
def test_what_our_own_code_fails_at_while_it_writes_passes(error: Exception) -> None:
    assert is_unrelated_to_values(error)
