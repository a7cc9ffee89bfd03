"""Behind PgBouncer, in either mode and with its settings as they are, everything works as it does without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

import migrations
from storage.connection import SETTINGS
from storage.database import create_database_engine, is_lost_connection, prove_writable
from storage.inbox.partitions import make_partitions
from storage.monitoring.subscriptions import locked
from tests.support.applied import accept_and_apply, bodies, shown
from tests.support.fault_fixtures import ground_of
from tests.support.pgbouncer import PgBouncer, PoolMode, own_pgbouncer
from tests.support.servers import own_postgres, standby_of
from tests.support.service import write_tenants
from tests.support.trial import Ground, Line
from workers.maintenance.rebuild import RebuildError, alone

#: What Debian's example lists is not needed, so nothing is.
NOTHING_IGNORED = ""

ODD = {
    "TimeZone": "'Asia/Kathmandu'",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "array_nulls": "off",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "synchronous_commit": "off",
    "statement_timeout": "'77s'",
    "lock_timeout": "1",
}


@pytest.fixture(params=["transaction", "session"])
def mode(request: pytest.FixtureRequest) -> PoolMode:
    mode: PoolMode = request.param
    return mode


@pytest.fixture
def pooler(prepared: Path, mode: PoolMode) -> Iterator[PgBouncer]:
    with own_postgres(like=prepared) as postgres, own_pgbouncer(postgres, mode, ignored=NOTHING_IGNORED) as pooler:
        yield pooler


@pytest.fixture
def pooled(pooler: PgBouncer) -> Iterator[Engine]:
    engine = create_database_engine(pooler.url, application_name="tests", pool_size=3)
    yield engine
    engine.dispose()


def make_odd(pooler: PgBouncer) -> None:
    """Set what is odd on the user as whom the pooler logs in, and let it log in again."""
    assert pooler.postgres is not None
    with pooler.postgres.connect() as connection:
        connection.execute("SET default_transaction_read_only = off")
        for name, value in ODD.items():
            connection.execute(f"ALTER ROLE postgres SET {name} = {value}".encode())
    pooler.kill()
    pooler.start()


def test_what_is_accepted_is_applied_with_the_right_values(pooler: PgBouncer) -> None:
    assert pooler.postgres is not None
    expected = accept_and_apply(pooler.postgres.url)
    make_odd(pooler)
    assert accept_and_apply(pooler.url) == expected


def test_our_settings_hold_in_each_transaction_and_reach_no_other_client(pooler: PgBouncer) -> None:
    assert pooler.postgres is not None
    asked = "SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    expected = shown(pooler.postgres.url, asked)
    make_odd(pooler)
    assert shown(pooler.url, asked) == expected
    with psycopg.connect(pooler.url) as connection:
        theirs = connection.execute("SELECT current_setting('statement_timeout'), current_setting('search_path')")
        assert theirs.fetchone() == ("77s", "nowhere")


def test_tail_shows_the_same_behind_it(pooler: PgBouncer, tmp_path: Path) -> None:
    assert pooler.postgres is not None
    accept_and_apply(pooler.postgres.url, tenant="demo")
    make_odd(pooler)
    environment = os.environ | {"DATABASE_URL": pooler.url, "TENANTS_FILE": str(write_tenants(tmp_path))}
    command = [sys.executable, "-m", "receiver", "tail", "--since", "2020-01-01", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        shown = [json.loads(following.stdout.readline()) for _ in bodies()]
        following.terminate()
    assert {each["received_at"][-6:] for each in shown} == {"+00:00"}
    assert following.wait(30) == 128 + signal.SIGTERM


def test_nothing_is_prepared_beyond_a_transaction(pooled: Engine) -> None:
    for _ in range(20):
        with pooled.begin() as connection:
            connection.execute(text("SELECT CAST(:number AS int)"), {"number": 1})
            assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0


def test_locks_that_last_for_long_exclude_others_and_end_with_their_holder(pooled: Engine) -> None:
    for _ in range(3):
        with locked(pooled, "demo") as lock:
            assert lock is not None
            lock.prove()
            with locked(pooled, "demo") as other:
                assert other is None
        with alone(pooled), pytest.raises(RebuildError), alone(pooled):
            pass


def test_a_database_is_migrated_through_it(mode: PoolMode) -> None:
    with own_postgres() as postgres, own_pgbouncer(postgres, mode, ignored=NOTHING_IGNORED) as pooler:
        make_odd(pooler)
        engine = create_database_engine(pooler.url, application_name="tests", pool_size=1)
        migrations.upgrade(engine)
        make_partitions(engine)
        with engine.connect() as connection:
            assert migrations.current(connection) == migrations.head()
        engine.dispose()


def test_a_standby_behind_it_is_not_used_until_it_is_promoted(mode: PoolMode) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(own_postgres())
        standby = stack.enter_context(standby_of(primary))
        pooler = stack.enter_context(own_pgbouncer(standby, mode, ignored=NOTHING_IGNORED))
        engine = create_database_engine(pooler.url, application_name="tests", pool_size=1)
        with pytest.raises(DBAPIError) as raised, engine.begin() as connection:
            prove_writable(connection)
        assert is_lost_connection(raised.value)
        primary.kill()
        standby.promote()
        # The pooler repeats what it first learned of the server to every client that connects
        with psycopg.connect(pooler.url) as connection_of_libpq:
            assert connection_of_libpq.info.parameter_status("in_hot_standby") == "on"
        with engine.begin() as connection:
            prove_writable(connection)
        engine.dispose()


@pytest.fixture
def pooled_ground(
    prepared: Path, mode: PoolMode, fault_table: list[Line], tmp_path: Path
) -> Iterator[tuple[Ground, PgBouncer]]:
    with (
        own_postgres(like=prepared) as postgres,
        own_pgbouncer(postgres, mode, ignored=NOTHING_IGNORED) as pooler,
        ground_of(postgres, pooler.url, fault_table, tmp_path) as ground,
    ):
        yield ground, pooler


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_pooler_and_a_postgres_that_are_killed_cost_nothing(
    pooled_ground: tuple[Ground, PgBouncer], mode: PoolMode
) -> None:
    ground, pooler = pooled_ground
    with ground.load(f"PgBouncer in {mode} mode and Postgres behind it, each killed") as load:
        # Given that no sender is refused while all is well
        load.sender.wait_for(200)
        assert load.sender.answers[503] == 0
        pooler.kill()
        pooler.start()
        load.sender.wait_for(50)
        ground.postgres.kill()
        ground.postgres.start()
        load.over()
    assert ground.receiver.poll() is ground.worker.poll() is None
