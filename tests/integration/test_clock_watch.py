"""A clock that differs from Postgres's is named: in the log once for each change, as a metric, and to `status`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import redis
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from structlog.testing import capture_logs

from runtime import clock_watch
from runtime.clock_watch import ClockWatch, wrong_clocks
from storage.clock import Clock
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import sample
from workers.broker import create_redis
from workers.jobs import look_at_clocks


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with create_redis(redis_url) as made:
        yield made


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How far the clock of this machine is ahead of Postgres's, to be set by a test."""
    ahead = [0.0]
    clock = Clock()
    monkeypatch.setattr(clock, "wall_offset_seconds", lambda: ahead[0])
    monkeypatch.setattr(clock_watch, "clock", clock)
    return ahead


def logged_by(watch: ClockWatch, tenants: dict[str, timedelta] | None = None) -> list[str]:
    with capture_logs() as logs:
        watch.look(tenants)
    return [line["event"] for line in logs]


def offset(against: str) -> float | None:
    return REGISTRY.get_sample_value("ampeco_clock_offset_seconds", {"against": against})


def test_a_wrong_clock_is_logged_once_for_each_change(client: redis.Redis, machine: list[float]) -> None:
    watch = ClockWatch(client)
    assert logged_by(watch) == []
    assert wrong_clocks(client) == []
    # When it is two hours behind, then this is logged once, in a sentence that says what to do
    machine[0] = -7_200.0
    (line,) = logged_by(watch)
    assert "is 2:00:00 behind Postgres's, which the service uses: correct it" in line
    assert logged_by(watch) == []
    machine[0] = -7_201.5
    assert logged_by(watch) == []
    assert offset("postgres") == -7_201.5
    # And when it is wrong otherwise, and when it is right again
    machine[0] = 86_400.0
    (line,) = logged_by(watch)
    assert "is 1 day, 0:00:00 ahead of Postgres's" in line
    machine[0] = 0.2
    assert logged_by(watch) == ["clock correct again"]
    assert logged_by(watch) == []


def test_what_another_machine_found_is_shown_until_it_finds_it_no_more(
    client: redis.Redis, machine: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine[0] = 3_600.0
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "other")
        logged_by(ClockWatch(client))
    logged_by(ClockWatch(client))
    assert sorted(one.host for one in wrong_clocks(client)) == sorted({"other", socket.gethostname()})
    machine[0] = 0.0
    (found,) = wrong_clocks(client)
    assert (found.host, found.against, found.offset_seconds) == ("other", "postgres", 3_600.0)
    (key,) = client.scan_iter("ampeco-receiver:clock:other*")
    assert 0 < client.pttl(key) <= clock_watch.SHOWN_MS
    # Without Redis the clock of this machine is looked at all the same
    machine[0] = 60.0
    assert [one.against for one in wrong_clocks(None)] == ["postgres"]


def test_a_redis_that_is_down_stops_no_look(machine: list[float]) -> None:
    machine[0] = 60.0
    with create_redis("redis://127.0.0.1:1") as nowhere:
        assert len(logged_by(ClockWatch(nowhere))) == 1


def test_a_tenant_whose_clock_differs_from_postgres_is_named(deployment: Deployment) -> None:
    # Given a tenant whose answers have a Date of an hour ago
    def answer(_request: Request) -> Response:
        date = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
        return JSONResponse({"data": shown("evse_read")}, headers={"Date": date})

    deployment.ampeco.answers["evses/v2.1/902"] = answer
    deployment.deliver(sample("evse.changed"))
    deployment.refresh()
    with capture_logs() as logs:
        look_at_clocks(deployment.context, ClockWatch(deployment.context.redis))
    (line,) = [line["event"] for line in logs if line.get("against") == "demo"]
    assert "ahead of that of the tenant demo" in line
    assert offset("demo") == pytest.approx(3_600, abs=60)
    assert "demo" in [one.against for one in wrong_clocks(deployment.context.redis)]
