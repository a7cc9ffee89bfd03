"""What `status` shows is so at the moment of the question, and a cause is named."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.support.commands import run
from tests.support.facts import sample
from tests.support.processes import Processes, end, processes
from tests.support.servers import own_redis
from tests.support.service import Service, eventually, free_port, serving, write_tenants
from workers.broker import create_redis


def servers_of(service: Service, tmp_path: Path) -> dict[str, str]:
    settings = service.settings
    return {
        "DATABASE_URL": settings.required_database_url(),
        "REDIS_URL": settings.required_redis_url(),
        "TENANTS_FILE": str(tmp_path / "tenants.toml"),
    }


def test_what_came_a_moment_ago_is_shown_before_any_worker_looked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with serving(database_url, redis_url, tmp_path, signing_tokens=["rotated-out-token"]) as service:
        # Given nothing, then a notification, and no worker that looks for either
        before = json.loads(run(tmp_path, "status", "--json", **servers_of(service, tmp_path)).stdout)
        assert [one["last_received_at"] for one in before["traffic"]] == [None, None]
        assert service.post(sample("HardwareStatusNotification.evse")).status_code == 202
        service.apply()
        # When it is asked
        shown = json.loads(run(tmp_path, "status", "--json", **servers_of(service, tmp_path)).stdout)
        # Then it came, and its token was used
        demo, other = shown["traffic"]
        came = datetime.fromisoformat(demo["last_received_at"])
        assert timedelta(0) <= datetime.now(UTC) - came < timedelta(minutes=2)
        assert other["last_received_at"] is None
        used = {
            token["token_id"]: token["last_used_at"] for token in shown["signing_tokens"] if token["tenant"] == "demo"
        }
        assert sorted(used.values(), key=str) == sorted([demo["last_received_at"], None], key=str)
        table = run(tmp_path, "status", **servers_of(service, tmp_path)).stdout
        assert "learning: 0 of" in table
        # And the figures agree
        figures = service.admin.get("/metrics").text
        assert 'ampeco_last_notification_age_seconds{tenant="demo"}' in figures


def test_a_redis_that_refuses_us_is_shown_with_its_reason(database_url: str, tmp_path: Path) -> None:
    write_tenants(tmp_path)
    with own_redis() as server:
        with create_redis(server.url) as client:
            client.config_set("requirepass", "s3cret")
        servers = {"DATABASE_URL": database_url, "REDIS_URL": server.url.replace("unix://", "unix://:wr0ng@")}
        shown = run(tmp_path, "status", **servers)
        document = json.loads(run(tmp_path, "status", "--json", **servers).stdout)
    assert shown.returncode == 0
    assert "because Redis fails: WRONGPASS invalid username-password pair" in shown.stdout
    assert document["redis"]["ok"] is False
    assert document["redis"]["detail"].startswith("WRONGPASS")
    assert "wr0ng" not in shown.stdout + shown.stderr


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Processes]:
    with processes(database_url, redis_url, tmp_path) as running:
        yield running


def states(service: Processes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    listed: list[dict[str, Any]] = json.loads(service.command("status", "--json").stdout)["processes"]
    for process in listed:
        found.setdefault(process["name"], []).append(process["state"])
    return found


def test_every_process_is_listed_and_one_that_went_away_is_marked(service: Processes, engine: Engine) -> None:
    # Given two receivers and a worker
    service.serve()
    service.serve(f"http://127.0.0.1:{free_port()}")
    worker = service.work()
    eventually(lambda: states(service) == {"serve": ["working"] * 2, "work apply": ["working"]}, seconds=60)
    # When the worker is killed, and is not seen for a while
    end(worker)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE ingest.process SET seen_at = seen_at - interval '1 minute' WHERE name = 'work apply'")
        )
    # Then it went away
    assert states(service)["work apply"] == ["lost"]
    table = service.command("status").stdout
    assert "lost" in table
    assert str(worker.pid) in table
    figures = httpx.get(f"{service.admin_url}/metrics", timeout=30).text
    assert 'ampeco_processes{name="work apply",state="lost"} 1.0' in figures
    # One that stops in order is none of them
    second = service.work()
    eventually(lambda: "working" in states(service)["work apply"], seconds=60)
    assert end(second, signal.SIGTERM) == 0
    assert sorted(states(service)["work apply"]) == ["lost", "stopped"]
    assert str(second.pid) not in service.command("status").stdout


def test_a_setting_that_is_none_is_named_with_the_one_that_comes_closest(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    write_tenants(tmp_path)
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    shown = run(tmp_path, "status", RECEIVER_WAITING_ROM="5", **servers)
    assert shown.returncode == 0
    assert "RECEIVER_WAITING_ROM is not a setting" in shown.stderr
    assert "did you mean RECEIVER_WAITING_ROOM?" in shown.stderr
    assert "is not a setting" not in run(tmp_path, "status", RECEIVER_WAITING_ROOM="5", **servers).stderr
