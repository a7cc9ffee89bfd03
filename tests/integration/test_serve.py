"""A receiver as its operator starts it: on which addresses it listens, and how a container finds it alive."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from ampeco.signature import sign
from tests.support.facts import sample
from tests.support.processes import PROBE, Processes, end, processes
from tests.support.servers import signal_all
from tests.support.service import TOKEN, eventually, free_port


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> AbstractContextManager[Processes]:
    """Processes that listen where a test says."""
    return processes(database_url, redis_url, tmp_path)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def probe(*arguments: str, **environment: str) -> int:
    """Return the exit code of a container's health check, with a proxy configured that nothing listens on."""
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:1")
    command = [sys.executable, *PROBE[1:], *arguments]
    return subprocess.run(command, env=os.environ | proxies | environment, check=False, timeout=60).returncode


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "count", "reached", "not_reached"),
    [
        pytest.param("::", "1", ["127.0.0.1", "[::1]"], [], marks=needs_ipv6),
        pytest.param("::", "2", ["127.0.0.1", "[::1]"], [], marks=needs_ipv6),
        pytest.param("::1", "1", ["[::1]"], ["127.0.0.1"], marks=needs_ipv6),
        pytest.param("0.0.0.0", "1", ["127.0.0.1"], ["[::1]"]),
    ],
)
def test_a_receiver_answers_at_the_configured_address_and_a_health_check_finds_it(
    service: AbstractContextManager[Processes], host: str, count: str, reached: list[str], not_reached: list[str]
) -> None:
    port = str(free_port())
    with service as running:
        running.environment["RECEIVER_HOST"] = host
        receiver = running.serve(f"http://{reached[0]}:{port}", "--processes", count)
        assert all(answers(f"http://{address}:{port}") for address in reached)
        assert not any(answers(f"http://{address}:{port}") for address in not_reached)
        # And the image's health check finds it there, and notices when it is gone
        assert probe(RECEIVER_HOST=host, RECEIVER_PORT=port) == 0
        assert end(receiver) < 0
        eventually(lambda: probe(RECEIVER_HOST=host, RECEIVER_PORT=port) == 1)


@pytest.mark.parametrize("host", [pytest.param("::", marks=needs_ipv6), "127.0.0.1"])
def test_a_worker_is_found_alive_where_its_figures_are(service: AbstractContextManager[Processes], host: str) -> None:
    settings = {"RECEIVER_ADMIN_HOST": host, "RECEIVER_WORK_METRICS_PORT": str(free_port())}
    with service as running:
        worker = running.start("-m", "receiver", "work", "--queue", "apply", **settings)
        eventually(lambda: probe("work", **settings) == 0, seconds=60)
        end(worker)
        assert probe("work", **settings) == 1


def test_a_port_that_is_taken_is_named_in_one_sentence(service: AbstractContextManager[Processes]) -> None:
    with service as running, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = running.start("-m", "receiver", "serve", RECEIVER_PORT=port, RECEIVER_ADMIN_PORT="0")
        assert refused.wait(60) == 2
        (said,) = [line for line in running.log.read_text().splitlines() if line.startswith("ampeco-receiver: ")]
        assert said.startswith(f"ampeco-receiver: RECEIVER_PORT: 127.0.0.1:{port} cannot be listened on")


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_receiver_that_drains_says_that_it_is_not_ready_and_accepts_until_its_time_is_over(
    service: AbstractContextManager[Processes], count: str
) -> None:
    body = json.dumps(sample("NetworkStatusNotification.available")).encode()
    with service as running:
        running.environment["RECEIVER_DRAIN"] = "PT10M"
        receiver = running.serve(f"http://127.0.0.1:{free_port()}", "--processes", count)
        # When it is to stop
        receiver.send_signal(signal.SIGTERM)
        # Then a balancer learns of it, and what still arrives is accepted, on new connections too
        eventually(lambda: httpx.get(f"{running.url}/readyz").status_code == 503)
        for _ in range(4):
            sent = httpx.post(
                f"{running.url}/notifications/demo", content=body, headers={"X-Signature": sign(body, TOKEN)}
            )
            assert sent.status_code == 202
        assert answers(running.url)
        # And a second signal ends it at once, in order
        signal_all(receiver.pid, signal.SIGTERM)
        assert receiver.wait(60) == 0


def test_a_receiver_ends_by_itself_when_it_has_drained(service: AbstractContextManager[Processes]) -> None:
    with service as running:
        running.environment["RECEIVER_DRAIN"] = "0.5"
        receiver = running.serve()
        assert end(receiver, signal.SIGTERM) == 0
        assert "draining" in running.log.read_text()
