"""A standby that takes over, and one from which analysts read: what the page about replicas promises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest

from storage.database import create_database_engine
from storage.schema_names import ANALYTICS, CHARGING
from tests.support.fault_fixtures import ground_of
from tests.support.servers import DATABASE, PostgresServer, own_postgres, standby_of
from tests.support.service import eventually
from tests.support.tenant import tenant
from tests.support.trial import Line

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def pair(prepared: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its asynchronous standby."""
    with own_postgres(like=prepared) as primary, standby_of(primary) as standby:
        yield primary, standby


def address(*servers: PostgresServer) -> str:
    """The URL that names several servers."""
    hosts = ",".join(str(server.directory) for server in servers)
    ports = ",".join("5432" for _ in servers)
    return f"postgresql://postgres@/{DATABASE}?host={hosts}&port={ports}&target_session_attrs=read-write"


def replayed(primary: PostgresServer, standby: PostgresServer) -> bool:
    """Return whether the standby shows everything that the primary wrote."""
    with primary.connect() as connection:
        row = connection.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    with standby.connect() as connection:
        shown = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", row).fetchone()
    return shown == (True,)


@pytest.mark.long
def test_a_failover_to_a_synchronous_standby_loses_nothing_that_was_acknowledged(
    pair: tuple[PostgresServer, PostgresServer], fault_table: list[Line], tmp_path: Path
) -> None:
    primary, standby = pair
    with primary.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        eventually(lambda: connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").rowcount)
    with (
        ground_of(primary, address(primary, standby), fault_table, tmp_path) as ground,
        ground.load("synchronous standby promoted, both in the address") as load,
    ):
        primary.kill()
        standby.promote()
        ground.engine.dispose()
        load.engine = ground.engine = create_database_engine(standby.url, application_name="tests", pool_size=2)
        load.over()
        assert ground.receiver.poll() is ground.worker.poll() is None


@pytest.mark.long
def test_what_an_asynchronous_failover_loses_is_found_again_by_reconcile(
    pair: tuple[PostgresServer, PostgresServer], redis_url: str, tmp_path: Path
) -> None:
    primary, standby = pair
    start = datetime(2026, 3, 4, 8, tzinfo=UTC)
    chance = Random(4)
    with tenant(address(primary, standby), redis_url, tmp_path, start=start) as followed:
        followed.reconcile()
        eventually(lambda: replayed(primary, standby))
        # Given a standby that is behind when its primary dies
        standby.pause()
        before = followed.service.count("ingest.notification")
        followed.live(60)
        acknowledged = followed.deliver(1.0, chance, in_order=True)
        primary.kill()
        standby.resume()
        standby.promote()
        # Then what was acknowledged is lost
        kept = rows_of_the_log(standby) - before
        assert 0 <= kept < acknowledged
        assert followed.differences()[1] != []
        # And found again
        followed.reconcile()
        assert followed.differences()[1] == []
        # And what comes from now on is accepted by the new primary
        followed.live(5)
        more = followed.deliver(1.0, chance, in_order=True)
        assert rows_of_the_log(standby) == before + kept + more


def rows_of_the_log(server: PostgresServer) -> int:
    with server.connect() as connection:
        row = connection.execute("SELECT count(*) FROM ingest.notification").fetchone()
    assert row is not None
    return int(str(row[0]))


def test_analysts_read_every_table_on_a_replica_and_nothing_else(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    primary, standby = pair
    with primary.connect() as connection:
        connection.execute("CREATE ROLE reports LOGIN IN ROLE ampeco_receiver_read")
        tables = connection.execute(
            "SELECT CAST(oid::regclass AS text) FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace::regnamespace::text = ANY(%s)",
            [[ANALYTICS, CHARGING]],
        ).fetchall()
    assert len(tables) > 30
    eventually(lambda: replayed(primary, standby))
    url = f"postgresql://reports@/{DATABASE}?host={standby.directory}"
    with psycopg.connect(url, autocommit=True) as connection:
        for (table,) in tables:
            connection.execute(f"SELECT * FROM {table} LIMIT 1")
        connection.execute("SELECT * FROM ingest.notification_state LIMIT 1")
        connection.execute("SELECT now() - pg_last_xact_replay_timestamp() AS behind")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT body FROM ingest.notification")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMPORARY TABLE written (number integer)")


def test_a_query_on_a_replica_that_meets_a_cleanup_is_cancelled_unless_the_replica_reports_it(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    primary, standby = pair

    def meets_cleanup() -> bool:
        """Read while the primary removes the rows that are read; return whether the query was cancelled."""
        with primary.connect() as writer:
            writer.execute("CREATE TABLE public.busy AS SELECT generate_series(1, 1000) AS number")
            eventually(lambda: replayed(primary, standby))
            with standby.connect() as reader:
                reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                reader.execute("SELECT count(*) FROM public.busy")
                eventually(lambda: is_reported(writer) or not feeds_back(standby))
                writer.execute("DELETE FROM public.busy")
                writer.execute("VACUUM (TRUNCATE false) public.busy")
                writer.execute("CREATE TABLE public.sign ()")
                cancelled = False
                with contextlib.suppress(psycopg.errors.SerializationFailure):
                    cancelled = True
                    # With feedback nothing conflicts, and the replica shows what came later
                    eventually(lambda: replayed(primary, standby))
                    reader.execute("SELECT count(*) FROM public.busy")
                    cancelled = False
            writer.execute("DROP TABLE public.busy, public.sign")
        return cancelled

    with standby.connect() as connection:
        connection.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
        connection.execute("SELECT pg_reload_conf()")
    assert meets_cleanup()
    with standby.connect() as connection:
        connection.execute("ALTER SYSTEM SET hot_standby_feedback = on")
        connection.execute("ALTER SYSTEM SET wal_receiver_status_interval = 1")
        connection.execute("SELECT pg_reload_conf()")
    eventually(lambda: feeds_back(standby))
    assert not meets_cleanup()


def feeds_back(standby: PostgresServer) -> bool:
    with standby.connect() as connection:
        return connection.execute("SHOW hot_standby_feedback").fetchone() == ("on",)


def is_reported(primary: psycopg.Connection[tuple[object, ...]]) -> bool:
    return primary.execute("SELECT FROM pg_stat_replication WHERE backend_xmin IS NOT NULL").rowcount > 0
