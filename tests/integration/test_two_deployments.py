"""A deployment that is split: a copy of the database, and half of the tenants in each file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from starlette.types import Receive, Scope, Send

from ampeco.signature import sign
from receiver.accept.app import create_app
from receiver.accept.protocol import GuardedProtocol
from runtime.settings import Settings
from storage.database import create_database_engine
from tests.support.databases import Databases
from tests.support.facts import sample
from tests.support.log import accept, query
from tests.support.processes import processes
from tests.support.servers import own_redis
from tests.support.service import eventually, running
from workers.apply.apply import apply_open_batches

TOKENS = {"demo": "token-of-demo-51d0", "other": "token-of-other-8a77"}


@dataclass
class CountingApi:
    """A tenant's API, which only counts its calls and is down."""

    calls: int = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer 503."""
        if scope["type"] == "http":
            self.calls += 1
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def half(directory: Path, tenant: str, api_url: str) -> Path:
    """Write the tenants file of a deployment that has one of the two tenants."""
    path = directory / f"{tenant}.toml"
    path.write_text(f'[tenants.{tenant}]\nbase_url = "{api_url}"\ntoken = "{TOKENS[tenant]}"\n')
    return path


@contextmanager
def receiver(database_url: str, redis_url: str, tenants_file: Path) -> Iterator[str]:
    """Run the receiver of a deployment; yield its URL."""
    settings = Settings(database_url=database_url, redis_url=redis_url, tenants_file=tenants_file)
    with running(create_app(settings), http=GuardedProtocol) as url:
        yield url


def send(url: str, tenant: str, evse_id: int) -> int:
    """Send a notification about an EVSE; return the status of the answer."""
    body = json.dumps(sample("HardwareStatusNotification.evse") | {"evseId": evse_id}).encode()
    headers = {"X-Signature": sign(body, TOKENS[tenant])}
    return httpx.post(f"{url}/notifications/{tenant}", content=body, headers=headers, timeout=30).status_code


def evses(engine: Engine, tenant: str) -> list[int]:
    rows = query(engine, "SELECT evse_id FROM charging.evse WHERE tenant = :tenant ORDER BY evse_id", tenant=tenant)
    return [row["evse_id"] for row in rows]


@pytest.mark.timeout(240)
def test_each_half_of_a_deployment_follows_its_own_tenants_and_keeps_their_history(
    database_url: str, databases: Databases, redis_url: str, tmp_path: Path
) -> None:
    # Given a deployment with two tenants, each of which has an entity that is not read yet
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    for tenant in TOKENS:
        accept(engine, sample("HardwareStatusNotification.evse") | {"evseId": 1}, tenant=tenant)
    apply_open_batches(engine)
    waiting = query(engine, "SELECT DISTINCT tenant FROM ingest.refresh_request ORDER BY tenant")
    assert [row["tenant"] for row in waiting] == ["demo", "other"]
    engine.dispose()
    apis = {tenant: CountingApi() for tenant in TOKENS}
    with ExitStack() as stack:
        files = {tenant: half(tmp_path, tenant, stack.enter_context(running(api))) for tenant, api in apis.items()}
        # When its database is copied, and each half runs with one of the two
        copy_url = stack.enter_context(databases.database(template=make_url(database_url).database))
        first = stack.enter_context(receiver(database_url, redis_url, files["demo"]))
        redis_of_second = stack.enter_context(own_redis()).url
        second = stack.enter_context(receiver(copy_url, redis_of_second, files["other"]))
        # Then each accepts what is for its own tenant, and nothing else
        assert [send(first, "demo", 2), send(first, "other", 2)] == [202, 401]
        assert [send(second, "other", 3), send(second, "demo", 3)] == [202, 401]
        # And only the API of its own tenant is read
        (tmp_path / "second").mkdir()
        service = stack.enter_context(
            processes(copy_url, redis_of_second, tmp_path / "second", TENANTS_FILE=str(files["other"]))
        )
        service.work("refresh")
        service.work()
        copy = create_database_engine(copy_url, application_name="tests", pool_size=1)
        stack.callback(copy.dispose)
        eventually(lambda: evses(copy, "other") == [1, 3], seconds=60)
        eventually(lambda: apis["other"].calls, seconds=60)
        assert apis["demo"].calls == 0
        # And what was known of the other tenant stays as it was
        assert evses(copy, "demo") == [1]
