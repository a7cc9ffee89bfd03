"""A worker that can consume nothing says so: on its own port, in the list of processes and in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, text

from storage.inbox import attempts
from storage.inbox import batches as inbox
from tests.support.log import accept
from tests.support.processes import processes
from tests.support.servers import RedisServer, own_redis
from tests.support.service import eventually, free_port
from workers.worker_readiness import look_at_pending


def refuse_writes(server: RedisServer, refuse: bool) -> None:
    with redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as operator:
        operator.config_set("maxmemory", 1 if refuse else 0)


def readiness_of(url: str) -> dict[str, Any] | None:
    """What a worker says of itself; None where nothing answers."""
    try:
        found: dict[str, Any] = httpx.get(f"{url}/readyz", timeout=10).json()
    except httpx.TransportError:
        return None
    return found


def problem_of_worker(engine: Engine) -> str | None:
    with engine.connect() as connection:
        statement = text("SELECT problem FROM ingest.process WHERE name = 'work apply' AND stopped_at IS NULL")
        return connection.execute(statement).scalar_one_or_none()


def test_a_worker_whose_redis_refuses_writes_says_so_until_it_does_not(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        own_redis() as server,
        processes(database_url, server.url, tmp_path, RECEIVER_WORK_METRICS_PORT=str(port)) as service,
    ):
        service.work()
        eventually(lambda: (found := readiness_of(url)) and found["status"] == "ready", seconds=60)
        # When Redis has no memory left
        refuse_writes(server, True)
        # Then the worker says so at its endpoint, in the table and in the log
        eventually(lambda: (found := readiness_of(url)) and found["status"] == "not ready")
        found = readiness_of(url)
        assert found is not None
        assert found["checks"]["redis"]["detail"].startswith("OOM command not allowed")
        assert found["checks"]["postgres"]["ok"]
        assert "redis: OOM" in eventually(lambda: problem_of_worker(engine))
        assert "OOM command not allowed" in service.log.read_text()
        # When Redis has memory again, then the worker works
        refuse_writes(server, False)
        eventually(lambda: (found := readiness_of(url)) and found["status"] == "ready")
        eventually(lambda: problem_of_worker(engine) is None)


@pytest.mark.parametrize(("seconds", "is_ok"), [(10, True), (600, False)])
def test_what_was_tried_in_vain_for_a_while_is_a_reason(engine: Engine, seconds: int, is_ok: bool) -> None:
    accept(engine, {"notification": "x"})
    assert look_at_pending(engine).ok
    # When the batch was tried in vain
    with engine.begin() as connection:
        (batch,) = inbox.claim(connection, max_batches=1, max_notifications=1, max_bytes=10_000)
        attempts.retry_later(connection, "t", [batch.batch_id], after=inbox.LEASE, error="DiskFull: no space left")
        statement = text("UPDATE ingest.batch SET committed_at = now() - make_interval(secs => :seconds)")
        connection.execute(statement, {"seconds": seconds})
    # Then that counts once it lasts
    found = look_at_pending(engine)
    assert found.ok is is_ok
    assert ("DiskFull: no space left" in found.detail) is not is_ok
