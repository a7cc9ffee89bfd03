"""What the surroundings of a test are made of works: a standby, an address that moves, a pooler, a wrong clock."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.address import moving_address
from tests.support.clock import WrongClock
from tests.support.pgbouncer import PoolMode, own_pgbouncer
from tests.support.servers import own_postgres, own_redis, standby_of
from tests.support.service import eventually, free_port


def test_an_address_leads_to_the_standby_and_back_while_open_connections_stay() -> None:
    with own_postgres() as primary, standby_of(primary) as standby, moving_address(primary.socket) as address:
        url = f"postgresql://postgres@127.0.0.1:{address.port}/postgres"
        with psycopg.connect(url, autocommit=True) as before:
            address.move(standby.socket)
            with psycopg.connect(url, autocommit=True) as after, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                after.execute("CREATE TABLE one (id int)")
            before.execute("CREATE TABLE one (id int)")
            address.move(None, cut=True)
            with pytest.raises(psycopg.OperationalError):
                before.execute("SELECT 1")
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url)
        primary.kill()
        standby.promote()
        address.move(standby.socket)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE two (id int)")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_hands_connections_on(mode: PoolMode) -> None:
    with own_postgres() as postgres, own_pgbouncer(postgres, mode) as pooler, psycopg.connect(pooler.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_redis_that_became_a_replica_refuses_writes_over_open_connections() -> None:
    port = free_port()
    with own_redis(port), own_redis() as follower, redis.Redis.from_url(follower.url) as client:
        client.set("key", 1)
        follower.follow(port)
        eventually(lambda: client.info("replication")["role"] == "slave")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("key", 2)
        follower.promote()
        client.set("key", 3)


def test_a_free_port_is_given_once_and_is_none_that_an_outgoing_connection_gets() -> None:
    ports = [free_port() for _ in range(500)]
    assert len(set(ports)) == len(ports)
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert max(ports) + 10_000 < first


def test_a_server_that_ends_instead_of_answering_fails_the_test_with_what_it_printed() -> None:
    with pytest.raises(AssertionError, match="Bad directive"), own_redis(options=["--nonsense", "yes"]):
        pass


def test_a_wrong_clock_moves_the_wall_clock_alone(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path / "clock")
    clock.set(timedelta(days=9))
    code = "import time; began = time.monotonic(); print(time.time(), time.monotonic() - began)"
    shown = subprocess.run(
        [sys.executable, "-c", code], env=clock.environment, capture_output=True, text=True, check=True
    )
    wall, monotonic = map(float, shown.stdout.split())
    ahead = datetime.fromtimestamp(wall, UTC) - datetime.now(UTC)
    assert timedelta(days=8, hours=23) < ahead < timedelta(days=9, hours=1)
    assert monotonic < 60
