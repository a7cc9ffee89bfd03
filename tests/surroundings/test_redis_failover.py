"""A failover of Redis: the primary becomes a replica, the address moves, and the open connections stay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.database import create_database_engine
from tests.support.address import Address, moving_address
from tests.support.processes import processes
from tests.support.servers import RedisServer, own_postgres, own_redis
from tests.support.service import eventually, free_port
from tests.support.trial import Ground, Line

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

#: How long the address leads to a server that refuses writes.
REPLICA_SECONDS = 10


@dataclass
class Pair:
    """The service at work on one Redis of a pair, behind an address that can move."""

    ground: Ground
    address: Address
    first: RedisServer
    second: RedisServer


@pytest.fixture
def pair(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Pair]:
    first_port, second_port = free_port(), free_port()
    with (
        own_postgres(like=prepared) as postgres,
        own_redis(first_port) as first,
        own_redis(second_port) as second,
        moving_address(("127.0.0.1", first_port)) as address,
        processes(postgres.url, f"redis://127.0.0.1:{address.port}/0", tmp_path) as service,
    ):
        engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
        worker = service.work()
        receiver = service.serve()
        eventually(lambda: service.log.read_text().count('"working"') == 1, seconds=60)
        ground = Ground(postgres, first, service, engine, receiver, worker, fault_table)
        yield Pair(ground, address, first, second)
        engine.dispose()


def test_a_redis_that_became_a_replica_is_left_at_once_when_its_address_moves(pair: Pair) -> None:
    with pair.ground.load(f"Redis a replica for {REPLICA_SECONDS} s, then its address moves") as load:
        # Given a primary that is demoted while every connection to it stays open
        pair.first.follow(pair.second.port)
        refused_until = time.monotonic() + REPLICA_SECONDS
        while time.monotonic() < refused_until:
            load.sender.wait_for(1)
        assert load.sender.answers[503] == 0
        # When the address leads to the new primary, and the old one stays a replica with its connections
        pair.address.move(("127.0.0.1", pair.second.port))
        load.over()
    # Then both processes work again, without a restart
    assert pair.ground.worker.poll() is None
    assert pair.ground.receiver.poll() is None
