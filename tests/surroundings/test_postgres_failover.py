"""An address that leads to a standby, and a standby that is promoted: the service recovers by itself, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.database import create_database_engine
from tests.support.address import Address, moving_address
from tests.support.fault_fixtures import ground_of
from tests.support.processes import is_ready
from tests.support.servers import DATABASE, PostgresServer, own_postgres, standby_of
from tests.support.service import eventually
from tests.support.trial import Ground, Line

pytestmark = pytest.mark.timeout(600)

#: Well over the time that a notification waits for its commit, and that a connection takes to be made.
REFUSED = 20


@dataclass
class Pair:
    """The service at work on a primary with a standby, which it reaches by an address that moves."""

    ground: Ground
    primary: PostgresServer
    standby: PostgresServer
    address: Address


@pytest.fixture
def pair(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(own_postgres(like=prepared))
        standby = stack.enter_context(standby_of(primary))
        address = stack.enter_context(moving_address(primary.socket))
        url = f"postgresql://postgres@127.0.0.1:{address.port}/{DATABASE}"
        yield Pair(stack.enter_context(ground_of(primary, url, fault_table, tmp_path)), primary, standby, address)


def settled_outcomes(ground: Ground) -> int:
    with ground.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM ingest.outcome")).scalar_one())


@pytest.mark.long
@pytest.mark.parametrize("cut", [False, True], ids=["open connections stay", "open connections are cut"])
def test_an_address_that_leads_to_a_standby_for_a_while_costs_nothing(pair: Pair, cut: bool) -> None:
    fault = f"address leads to a standby, connections {'cut' if cut else 'stay'}"
    with pair.ground.load(fault) as load:
        pair.address.move(pair.standby.socket, cut=cut)
        if cut:
            # Nothing is accepted in the meantime, and each sender gets a 503
            refused = load.sender.answers[503]
            eventually(lambda: load.sender.answers[503] > refused + REFUSED, seconds=120)
            assert "takes no writes" in pair.ground.service.log.read_text()
        else:
            # What is open still leads to the primary, and what is opened now does not
            load.sender.wait_for(50)
            pair.ground.service.work()
        pair.address.move(pair.primary.socket, cut=not cut)
        load.over()
        eventually(lambda: is_ready(pair.ground.service.url), seconds=60)
    assert settled_outcomes(pair.ground) == 0
    assert pair.ground.receiver.poll() is pair.ground.worker.poll() is None


@pytest.mark.long
def test_a_promoted_standby_takes_over_without_a_restart(pair: Pair) -> None:
    ground = pair.ground
    with pair.primary.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        eventually(lambda: connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").rowcount)
    with ground.load("primary killed, standby promoted") as load:
        pair.primary.kill()
        pair.address.move(pair.standby.socket)
        # The address leads to the standby before it is promoted
        refused = load.sender.answers[503]
        eventually(lambda: load.sender.answers[503] > refused + REFUSED, seconds=120)
        pair.standby.promote()
        ground.engine.dispose()
        load.engine = ground.engine = create_database_engine(pair.standby.url, application_name="tests", pool_size=2)
        load.over()
        eventually(lambda: is_ready(ground.service.url), seconds=60)
    assert settled_outcomes(ground) == 0
    assert ground.receiver.poll() is ground.worker.poll() is None
