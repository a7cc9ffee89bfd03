"""The processes that sync run, as real ones: they may be killed, refused and run again."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ampeco.resources.kinds import KINDS
from receiver.commands import sync_tenants
from runtime.settings import Settings
from tests.support.comparison import SHOWN
from tests.support.processes import Processes, end, processes
from tests.support.service import TOKEN, eventually, running
from tests.support.tenant import Stage, Tenant, tenant
from workers.api import backoff
from workers.sync.due_runs import run_due

pytestmark = pytest.mark.timeout(300)

#: Enough for a cold start on a busy machine, and far less than a refusal lasts.
PATIENCE_SECONDS = 100

LISTED = [name for name, kind in KINDS.items() if kind.has_listing]


@pytest.fixture
def fleet(request: pytest.FixtureRequest, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """A tenant, of as many charge points as the test asks for."""
    size: int = getattr(request, "param", 3)
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=size) as made:
        yield made


@pytest.fixture
def commands(fleet: Tenant, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Processes]:
    directory = tmp_path / "processes"
    directory.mkdir()
    tenants_file = str(fleet.service.settings.tenants_file)
    with processes(database_url, redis_url, directory, TENANTS_FILE=tenants_file) as made:
        yield made


def backfill(commands: Processes, *options: str) -> tuple[int, str]:
    """Run the command to its end; returns its exit code and what it printed."""
    try:
        done = commands.command("backfill", "--tenant", "demo", *options)
    except subprocess.CalledProcessError as failed:
        return failed.returncode, failed.stdout + failed.stderr
    return done.returncode, done.stdout + done.stderr


def pages_read(fleet: Tenant) -> Counter[str]:
    """How many pages of each kind's listing AMPECO has answered."""
    calls = fleet.simulator.guard.calls
    shapes = {kind: f"GET /public-api/resources/{KINDS[kind].path} 200" for kind in LISTED}
    return Counter({kind: calls[shape] for kind, shape in shapes.items() if calls[shape]})


def sync_runs_of(fleet: Tenant) -> dict[str, int]:
    """The pages of each kind's one walk, which has to be finished where AMPECO lists the kind."""
    rows = fleet.service.query("SELECT kind, pages, finished_at FROM ingest.sync_run ORDER BY sync_run_id")
    assert {row["kind"] for row in rows if row["finished_at"] is not None} == set(SHOWN)
    found = {row["kind"]: row["pages"] for row in rows}
    assert len(found) == len(rows), "a kind was synced twice"
    return found


def unread(shown: str) -> set[str]:
    """The kinds that the command's last sentence names as not read to their end."""
    (sentence,) = [line for line in shown.splitlines() if line.startswith("Done")]
    return {kind for kind in LISTED if f" {kind} of demo (" in sentence}


def not_offered(shown: str) -> set[str]:
    """The kinds that the command names as not offered by AMPECO."""
    sentences = [line for line in shown.splitlines() if line.startswith("Not offered")]
    return {kind for kind in LISTED for sentence in sentences if f" {kind} of demo" in sentence}


@pytest.mark.parametrize("fleet", [60], indirect=True)  # several pages of sessions
def test_a_backfill_that_was_killed_continues_at_the_page_under_way(fleet: Tenant, commands: Processes) -> None:
    # Given a backfill that is killed amid the sessions, with whole kinds behind it
    fleet.set_faults(api_latency_ms=300)
    process = commands.start("-m", "receiver", "backfill", "--tenant", "demo")
    under_way = "SELECT pages FROM ingest.sync_run WHERE kind = 'session' AND pages >= 1 AND finished_at IS NULL"
    eventually(lambda: fleet.service.query(under_way), seconds=PATIENCE_SECONDS)
    end(process)
    fleet.set_faults()
    finished_before = fleet.service.count("ingest.sync_run WHERE finished_at IS NOT NULL")
    assert finished_before >= 3
    assert fleet.service.count("ingest.sync_run WHERE finished_at IS NULL") == 1
    # When it is run again
    _, shown = backfill(commands)
    # Then it ends, each kind was synced once, and no page was read twice but the one under way
    assert (unread(shown), not_offered(shown)) == (set(), set())
    synced = sync_runs_of(fleet)
    assert synced["session"] >= 2
    repeated = pages_read(fleet) - Counter(synced)
    assert repeated.total() <= 1, repeated
    assert f"demo: {finished_before} of {len(LISTED)} kinds were read before" in shown
    # And run once more, it has nothing left to read
    before = pages_read(fleet)
    _, shown = backfill(commands)
    assert pages_read(fleet) == before
    assert "--again" in shown


@pytest.mark.parametrize("fleet", [60], indirect=True)
def test_what_a_killed_worker_was_syncing_is_continued_by_the_next(fleet: Tenant, commands: Processes) -> None:
    # Given a worker that is killed amid the EVSEs
    fleet.set_faults(api_latency_ms=300)
    worker = commands.work("reconcile")
    amid = "ingest.sync_run WHERE kind = 'evse' AND pages = 1 AND finished_at IS NULL"
    eventually(lambda: fleet.service.count(amid), seconds=PATIENCE_SECONDS)
    end(worker)
    fleet.set_faults()
    # When the next one runs, then it reads on, and no page twice but the one under way
    commands.work("reconcile")
    ended = "SELECT pages FROM ingest.sync_run WHERE kind = 'evse' AND finished_at IS NOT NULL"
    assert eventually(lambda: fleet.service.query(ended), seconds=PATIENCE_SECONDS) == [{"pages": 2}]
    assert pages_read(fleet)["evse"] <= 3


def test_a_kind_that_is_refused_or_missing_holds_up_no_backfill_and_is_named(
    fleet: Tenant, commands: Processes
) -> None:
    # Given a kind that AMPECO refuses, whose walk a worker has put off for an hour
    fleet.set_faults(api_forbidden=["users"], api_unrouted=["vouchers"])
    while run_due(fleet.context, "demo", timedelta(hours=1)):
        pass
    assert fleet.service.count("ingest.sync_run WHERE kind = 'user' AND retry_at > now() + interval '50 minutes'") == 1
    # When a person reads everything, then the others are read at once, and the refusal is named with its reason
    code, shown = backfill(commands)
    assert code == 1
    assert (unread(shown), not_offered(shown)) == ({"user"}, {"voucher"})
    assert "user of demo (GET /public-api/resources/users/v1.1 answered 403" in shown
    read = "SELECT kind FROM ingest.sync_run WHERE requested_at IS NOT NULL AND finished_at IS NOT NULL"
    assert {row["kind"] for row in fleet.service.query(read)} == set(SHOWN) - {"user", "voucher"}
    # And once it may be read, the command reads it alone
    fleet.set_faults()
    before = pages_read(fleet)
    _, shown = backfill(commands)
    assert unread(shown) == set()
    assert (pages_read(fleet) - before).keys() == {"user", "voucher"}
    # And everything again where a person asks for that
    before = pages_read(fleet)
    backfill(commands, "--again")
    assert (pages_read(fleet) - before).keys() == set(SHOWN)


def test_a_token_that_is_refused_ends_a_backfill_at_once(fleet: Tenant, commands: Processes) -> None:
    fleet.refuse_token(True)
    code, shown = backfill(commands)
    assert code == 1
    assert "demo from location on" in shown
    assert "401" in shown
    assert fleet.simulator.guard.calls.total() == 1


class Outage:
    """A tenant's API that answers 503 until it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call of the API."""
        app = self._app if self.is_over or scope["type"] != "http" else PlainTextResponse("down", status_code=503)
        await app(scope, receive, send)


def test_a_tenant_whose_api_is_down_delays_no_other_and_is_read_once_it_is_up(
    fleet: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_tenants, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(backoff, "UNAVAILABLE_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(backoff, "MAX_UNAVAILABLE_PAUSE_SECONDS", 1.0)

    def read(tenant: str) -> set[str]:
        rows = fleet.service.query("SELECT tenant, kind FROM ingest.sync_run WHERE finished_at IS NOT NULL")
        return {row["kind"] for row in rows if row["tenant"] == tenant}

    outage = Outage(Stage(3, datetime(2026, 3, 4, 8, tzinfo=UTC)))
    with running(outage) as url:
        both = tmp_path / "both.toml"
        urls = {"acme": url, "demo": fleet.service.settings.tenants["demo"].base_url}
        both.write_text(
            "".join(
                f'[tenants.{name}]\nbase_url = "{urls[name]}"\ntoken = "{TOKEN}"\ncalls_per_minute = 6000\n'
                for name in urls
            )
        )
        settings = Settings.model_validate(fleet.service.settings.model_dump() | {"tenants_file": both})
        command = threading.Thread(
            target=lambda: sync_tenants.sync_tenants(
                settings, None, "backfill", lambda *_: None, lambda *_: fleet.now.replace(microsecond=0)
            )
        )
        command.start()
        eventually(lambda: read("demo") == set(SHOWN), seconds=PATIENCE_SECONDS)
        assert command.is_alive()
        assert read("acme") == set()
        outage.is_over = True
        command.join(PATIENCE_SECONDS)
    assert not command.is_alive()
    assert read("acme") == set(SHOWN)
