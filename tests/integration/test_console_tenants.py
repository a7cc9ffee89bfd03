"""The page of the tenants: everything that `status` knows of a tenant, and no secret."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from receiver.console.pages.tenants import read_shared
from storage.sync import api_usage
from storage.sync.api_notices import record_deprecated, record_release
from storage.sync.api_usage import Calls
from storage.sync.inaccessible_kinds import record_inaccessible
from tests.support.console import RunningConsole, serving_console
from tests.support.log import accept, execute
from tests.support.service import TOKEN, Service, free_port
from workers.api.daily_quota import count_call
from workers.api.pause import pause
from workers.broker import create_redis


@pytest.fixture
def console(service: Service) -> Iterator[RunningConsole]:
    with serving_console(service.settings) as running:
        yield running


def test_a_tenant_is_shown_with_everything_that_status_knows_and_without_its_token(
    console: RunningConsole, service: Service
) -> None:
    accept(service.engine, {"notification": "from.the.future"}, tenant="demo")
    service.apply()
    with service.engine.begin() as connection:
        record_inaccessible(connection, "demo", "tariff", "forbidden", "403 <b>no</b>")
        record_release(connection, "demo", "3.251.0")
        record_deprecated(connection, "demo", "users/v1.0", datetime(2027, 1, 1, tzinfo=UTC))
        api_usage.add(connection, {("demo", "reconcile"): Calls(12, 34)})
    execute(
        service.engine,
        "INSERT INTO ingest.subscription (tenant, callback_url, subscription_id, state, finding)"
        " VALUES ('demo', 'https://callback', 7, 'wrong', 'it lacks a type')",
    )
    client = create_redis(service.settings.required_redis_url())
    count_call(client, "demo")
    pause(client, "demo", 60, "429 Too Many Requests")
    html = console.looker.get("/tenants?tenant=demo").text
    for shown in (
        "from.the.future",
        "403 &lt;b&gt;no&lt;/b&gt;",
        "forbidden (403)",
        "release 3.251.0",
        "users/v1.0",
        "reconcile",
        "it lacks a type",
        "1 of the 10,000,000 calls",
        "429 Too Many Requests",
    ):
        assert shown in html, shown
    assert TOKEN not in html
    assert "another-tenants-token" not in html
    assert "tenant-other" in console.looker.get("/tenants").text
    assert "tenant-other" not in html
    assert "No notification has arrived yet" in console.looker.get("/tenants?tenant=other").text


def test_without_redis_the_page_says_so_and_shows_the_rest(service: Service) -> None:
    settings = service.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    assert read_shared(settings, ["demo"]).failure is not None
    with serving_console(settings) as console:
        html = console.looker.get("/tenants?tenant=demo").text
    assert "Redis does not answer" in html
    assert "pauses are unknown" in html
    assert "How many of the 10,000,000 calls of the daily quota are used is unknown" in html
