"""What a database or a role sets for its sessions changes nothing of what is accepted, applied and shown."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Literal

import psycopg
import pytest
from sqlalchemy import make_url

from storage.database import create_database_engine, weak_durability
from storage.database_url import conninfo
from tests.support.applied import accept_and_apply, shown
from tests.support.databases import Databases

Where = Literal["DATABASE", "ROLE"]

MakeOdd = Callable[["Where", dict[str, str]], str]

SETTINGS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "search_path": "nowhere, pg_temp",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "lock_timeout": "1ms",
    "row_security": "off",
    "transform_null_equals": "on",
    "lc_numeric": "C",
    "client_min_messages": "debug5",
    "plan_cache_mode": "force_generic_plan",
    "enable_partition_pruning": "off",
    "default_text_search_config": "pg_catalog.simple",
}

_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared_url(databases: Databases) -> Iterator[str]:
    """A database for all tests of this module: each sends as a tenant of its own."""
    with databases.database() as url:
        yield url


@pytest.fixture(scope="module")
def expected(shared_url: str) -> dict[str, list[str]]:
    """What is stored where nothing is odd."""
    found = accept_and_apply(shared_url)
    assert all(found[table] for table in ("session", "evse", "charge_point", "meter_value", "log"))
    return found


@pytest.fixture
def make_odd(shared_url: str) -> Iterator[MakeOdd]:
    """Set something on the database or on a user; returns the URL for that user."""
    role = f"odd_{os.getpid()}_{next(_numbers)}"
    names = {"DATABASE": make_url(shared_url).database, "ROLE": role}

    def make(where: Where, settings: dict[str, str]) -> str:
        for setting, value in settings.items():
            if connection.execute("SELECT FROM pg_settings WHERE name = %s", (setting,)).rowcount == 0:
                pytest.skip(f"this server has no {setting}")
            # A list has no quotes around it.
            written = value if setting in ("DateStyle", "search_path") else f"'{value}'"
            connection.execute(f"ALTER {where} {names[where]} SET {setting} = {written}".encode())
        return make_url(shared_url).set(username=role, password=None).render_as_string(hide_password=False)

    with psycopg.connect(conninfo(shared_url), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN".encode())
        yield make
        connection.execute(b"SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {names['DATABASE']} RESET ALL".encode())
        connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("where", ["DATABASE", "ROLE"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_whatever_is_set_what_is_accepted_is_applied_with_the_right_values(
    make_odd: MakeOdd, expected: dict[str, list[str]], where: Where, setting: str
) -> None:
    assert accept_and_apply(make_odd(where, {setting: SETTINGS[setting]})) == expected


def test_limits_of_the_database_or_the_role_give_way_to_ours(make_odd: MakeOdd) -> None:
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")
    asked = "SELECT " + ", ".join(f"current_setting('{name}')" for name in (*limits, "transaction_timeout"))
    url = make_odd("ROLE", dict.fromkeys((*limits, "transaction_timeout"), "77s"))
    assert shown(url, asked) == (("30s", "10s", "1min", "0", "0"), ("20s", "10s", "1min", "0", "0"))


def test_durability_that_is_weakened_is_set_back_and_named(make_odd: MakeOdd) -> None:
    for value, ours in (("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")):
        url = make_odd("ROLE", {"synchronous_commit": value})
        engine = create_database_engine(url, application_name="tests", pool_size=1)
        with engine.connect() as connection:
            assert weak_durability(connection).get("synchronous_commit") == (None if value == ours else value)
        engine.dispose()
        assert shown(url, "SHOW synchronous_commit") == ((ours,), (ours,))
