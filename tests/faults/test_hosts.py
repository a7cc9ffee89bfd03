"""Several hosts whose links are cut, and that are restarted and upgraded one after the other while notifications come."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from storage.database import create_database_engine
from tests.support.directories import short_directory
from tests.support.hosts import Host, Hosts, Proxy, hosts, postgres_on, proxy_on, redis_on, stop
from tests.support.processes import Process
from tests.support.releases import NEXT_REVISIONS, NextRelease, next_release
from tests.support.sender import Sender
from tests.support.service import eventually, write_tenants
from tests.support.trial import HONEST, Line, Load, under_load

#: How long a link is cut. The figures in the documentation are from 60.
CUT_SECONDS = float(os.environ.get("HOSTS_CUT_SECONDS", "20"))

pytestmark = [pytest.mark.long, pytest.mark.timeout(10 * CUT_SECONDS + 600)]

#: How long a process may take to start, or a proxy to notice that one is there again, on a busy machine.
START_SECONDS = 240

RECEIVERS = ("receiver-1", "receiver-2")
WORKERS = ("worker-1", "worker-2")

#: The address in the requests; the proxy is reached by its Unix socket.
PUBLIC_URL = "http://receiver.example"

#: What HAProxy answers for a receiver that vanished with a request: the sender repeats it.
GATEWAY_ERRORS = {502, 504}


@dataclass
class Site:
    """The service on its hosts.

    Attributes:
        engine: of the test, over the Unix socket of Postgres, which no cut affects.
        processes: the process of each host of the service, by the host's name.
        release: the variables that make the processes those of another release.
    """

    hosts: Hosts
    by_name: dict[str, Host]
    proxy: Proxy
    engine: Engine
    table: list[Line]
    processes: dict[str, Process] = field(default_factory=dict)
    release: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def load(self, fault: str) -> Iterator[Load]:
        """Send notifications through the proxy in the context, and assert that nothing is lost."""
        load = Load(Sender([PUBLIC_URL], socket=self.proxy.socket), self.engine)
        with under_load(load, f"hosts: {fault}", self.table, honest=HONEST | GATEWAY_ERRORS):
            yield load

    def launch(self, name: str) -> None:
        """Start the service's process on a host, and wait until it is at work."""
        worked = self._starts()
        command = ("serve",) if name in RECEIVERS else ("work", "--queue", "apply")
        self.processes[name] = self.hosts.receiver(self.by_name[name], *command, **self.release)
        if name in RECEIVERS:
            eventually(lambda: name in self.proxy.ready(), seconds=START_SECONDS)
        else:
            eventually(lambda: self._starts() > worked, seconds=START_SECONDS)

    def _starts(self) -> int:
        return self.hosts.log.read_text().count('"working"')

    def restart(self, name: str) -> None:
        """Stop the process of a host in order, and start it again; wait each time until the proxy has noticed."""
        assert stop(self.processes[name]) == 0
        if name in RECEIVERS:
            eventually(lambda: name not in self.proxy.ready(), seconds=START_SECONDS)
        self.launch(name)

    def assert_nothing_was_restarted(self) -> None:
        """Assert that every process still runs."""
        assert [name for name, process in self.processes.items() if process.poll() is not None] == []


@pytest.fixture
def site(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Site]:
    """The service at work: Postgres and Redis, HAProxy, two receivers and two workers, on six hosts."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(hosts(tmp_path))
        names = {"data": 1, "proxy": 10, "receiver-1": 11, "receiver-2": 12, "worker-1": 21, "worker-2": 22}
        by_name = {name: made.add(name, number) for name, number in names.items()}
        directories = [stack.enter_context(short_directory()) for _ in range(3)]
        postgres, database_url = stack.enter_context(postgres_on(by_name["data"], directories[0], prepared))
        _, redis_url = stack.enter_context(redis_on(by_name["data"], directories[1]))
        made.environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "TENANTS_FILE": str(write_tenants(tmp_path)),
            "RECEIVER_HOST": "0.0.0.0",
            "RECEIVER_SWEEP_AFTER": "1",
        }
        proxy = proxy_on(made, by_name["proxy"], [by_name[name] for name in RECEIVERS], directories[2])
        engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
        stack.callback(engine.dispose)
        running = Site(made, by_name, proxy, engine, fault_table)
        for name in (*WORKERS, *RECEIVERS):
            running.launch(name)
        yield running


def lasts(seconds: float) -> None:
    """Let a fault last for a time."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.1)


@pytest.mark.parametrize(
    "names", [("data",), ("receiver-1",), ("worker-1",), ("proxy",), ("worker-1", "worker-2")], ids="+".join
)
def test_a_host_whose_link_is_cut_loses_nothing(site: Site, names: tuple[str, ...]) -> None:
    with site.load(f"link of {' and '.join(names)} cut for {CUT_SECONDS:g} s") as load:
        for name in names:
            site.by_name[name].cut()
        lasts(CUT_SECONDS)
        for name in names:
            site.by_name[name].join()
        load.over()
        eventually(lambda: site.proxy.ready() == set(RECEIVERS), seconds=START_SECONDS)
    # Then all work again, without a restart
    site.assert_nothing_was_restarted()


def test_senders_hardly_notice_that_one_of_two_receivers_vanishes(site: Site) -> None:
    with site.load("receiver-2 stays away") as load:
        site.by_name["receiver-2"].cut()
        eventually(lambda: site.proxy.ready() == {"receiver-1"}, seconds=60)
        load.sender.wait_for(50)
        failed = load.sender.answers.total() - load.sender.answers[202]
        load.sender.wait_for(200)
        # Once the proxy has noticed, no further answer fails but those of requests that were under way
        assert load.sender.answers.total() - load.sender.answers[202] <= failed + len(load.sender.sent)


def test_a_rolling_restart_loses_nothing(site: Site) -> None:
    with site.load("rolling restart of two receivers and two workers") as load:
        for name in (*RECEIVERS, *WORKERS):
            site.restart(name)
            load.sender.wait_for(50)
        load.over()
    # One of the receivers accepts at any time, and the proxy sends it what the other one did not answer
    assert load.sender.answers.keys() == {202}


def migrated(site: Site, release: NextRelease, revision: str) -> bool:
    """Run the migration of a release on a host; return whether it ended well."""
    migrate = site.hosts.receiver(site.by_name["worker-1"], "migrate", revision, **release.environment)
    return migrate.wait(400) == 0


def test_a_rolling_upgrade_over_migrations_loses_nothing(site: Site, tmp_path: Path) -> None:
    release = next_release(tmp_path)
    with site.load("rolling upgrade over two migrations, one with locks for 8 s") as load:
        for revision in NEXT_REVISIONS:
            # Postgres may choose the migration to end a deadlock with a worker: then the operator runs it again
            eventually(partial(migrated, site, release, revision), seconds=500)
            load.sender.wait_for(50)
        site.release = release.environment
        for name in (*WORKERS, *RECEIVERS):
            site.restart(name)
            load.sender.wait_for(50)
        load.over()
    with site.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM ingest.alembic_version")).scalar_one() == "9999"


#: A command that holds an advisory lock for as long as it runs, as `rebuild` and the subscription monitor do.
_HOLDER = """
import os, time
from sqlalchemy import text
from storage.database import create_database_engine, wait_in_transaction

engine = create_database_engine(os.environ["DATABASE_URL"], application_name="holder", pool_size=1)
with engine.begin() as connection:
    wait_in_transaction(connection)
    connection.execute(text("SELECT pg_advisory_xact_lock(4711)"))
    time.sleep(3600)
"""

_HELD = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND granted")


def test_postgres_notices_that_a_host_with_a_lock_has_vanished(site: Site) -> None:
    def held() -> bool:
        with site.engine.connect() as connection:
            return bool(connection.execute(_HELD).scalar_one())

    site.hosts.start(site.by_name["worker-1"], sys.executable, "-c", _HOLDER)
    eventually(held, seconds=60)
    site.by_name["worker-1"].cut()
    # Linux by itself would notice after more than two hours
    eventually(lambda: not held(), seconds=120)
