"""Clients that are slow, silent or endless keep no other client out, and cost a bounded amount of memory.

No time is asserted: only what was answered, how many connections stay, and how much memory it took.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ampeco.signature import sign
from tests.support.clients import HEAD, answer, connect, connections, resident_bytes, send_until_refused
from tests.support.facts import sample
from tests.support.processes import Process, Processes, processes
from tests.support.servers import own_postgres, own_redis
from tests.support.service import TOKEN, eventually

MIB = 1024 * 1024

MAX_CONNECTIONS = 300
REQUEST_SECONDS = 2

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def service(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    settings = {
        "RECEIVER_CONNECTIONS": str(MAX_CONNECTIONS),
        "RECEIVER_REQUEST_TIMEOUT": str(REQUEST_SECONDS),
        "RECEIVER_WAITING_BYTES": str(4 * MIB),
    }
    with (
        own_postgres(like=prepared) as postgres,
        own_redis() as redis_server,
        processes(postgres.url, redis_server.url, tmp_path_factory.mktemp("clients"), **settings) as running,
    ):
        running.as_programs = True  # its memory is measured
        running.serve()
        yield running


@pytest.fixture(scope="module")
def receiver(service: Processes) -> Process:
    return service.started[0]


def is_accepted(service: Processes, body: bytes | None = None) -> bool:
    """Whether AMPECO, on a connection of its own, is answered 202."""
    raw = body or json.dumps(sample("HardwareStatusNotification.evse")).encode()
    answered = httpx.post(
        f"{service.url}/notifications/demo", content=raw, headers={"X-Signature": sign(raw, TOKEN)}, timeout=30
    )
    return answered.status_code == 202


def cut(service: Processes, reason: str) -> float:
    for line in httpx.get(f"{service.admin_url}/metrics", timeout=30).text.splitlines():
        if line.startswith(f'ampeco_connections_cut_total{{reason="{reason}"}}'):
            return float(line.rpartition(" ")[2])
    return 0


def test_a_body_that_comes_too_slowly_is_given_up_with_a_408(service: Processes) -> None:
    before = cut(service, "slow")
    with connect(service.url) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        # A byte a moment
        assert trickle(slow, 1_000) < 1_000
    with connect(service.url) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert answer(slow).startswith(b"HTTP/1.1 408 ")
    assert cut(service, "slow") == before + 2
    assert is_accepted(service)


def trickle(connection: socket.socket, max_bytes: int) -> int:
    """Send a byte a moment; returns how many were sent before the other side closed."""
    for sent in range(max_bytes):
        try:
            connection.sendall(b"x")
        except ConnectionError:
            return sent
        time.sleep(0.25)
    return max_bytes


def test_a_head_that_comes_too_slowly_is_given_up(service: Processes) -> None:
    with connect(service.url) as slow:
        slow.sendall(HEAD)
        assert answer(slow).startswith(b"HTTP/1.1 408 ")


def test_a_receiver_that_was_stopped_itself_gives_its_clients_their_time_again(
    service: Processes, receiver: Process
) -> None:
    raw = json.dumps(sample("HardwareStatusNotification.evse")).encode()
    head = f"POST /notifications/demo HTTP/1.1\r\nHost: receiver\r\nX-Signature: {sign(raw, TOKEN)}\r\n"
    with connect(service.url) as client:
        client.sendall(f"{head}Content-Length: {len(raw)}\r\nConnection: close\r\n\r\n".encode() + raw[:10])
        time.sleep(0.5)
        receiver.send_signal(signal.SIGSTOP)
        time.sleep(REQUEST_SECONDS + 2)
        client.sendall(raw[10:])
        receiver.send_signal(signal.SIGCONT)
        assert answer(client).startswith(b"HTTP/1.1 202 ")


def test_headers_without_end_are_refused_with_a_431(service: Processes, receiver: Process) -> None:
    before = resident_bytes(receiver.pid)
    for flood in (b"X-Filler: " + b"y" * 1_000 + b"\r\n", b"z" * 1_000):
        with connect(service.url) as client:
            client.sendall(HEAD + b"X-Long: ")
            assert send_until_refused(client, flood, 200 * MIB) < 20 * MIB
    with connect(service.url) as client:
        client.sendall(HEAD)
        time.sleep(0.2)
        # No more than is read before the refusal: its answer is lost where something was left unread.
        client.sendall(b"X-Filler: " + b"y" * 33 * 1024)
        assert answer(client).startswith(b"HTTP/1.1 431 ")
    assert resident_bytes(receiver.pid) - before < 32 * MIB
    assert is_accepted(service)


@pytest.mark.parametrize("path", ["/notifications/demo", "/nowhere"])
def test_a_body_without_end_is_cut(service: Processes, receiver: Process, path: str) -> None:
    before = resident_bytes(receiver.pid)
    with connect(service.url) as client:
        client.sendall(HEAD.replace(b"/notifications/demo", path.encode()) + b"Transfer-Encoding: chunked\r\n\r\n")
        assert send_until_refused(client, b"1000\r\n" + b"x" * 4096 + b"\r\n", 500 * MIB) < 50 * MIB
    assert resident_bytes(receiver.pid) - before < 32 * MIB
    assert is_accepted(service)


def test_requests_that_are_sent_ahead_without_end_are_cut(service: Processes, receiver: Process) -> None:
    before = resident_bytes(receiver.pid)
    with connect(service.url) as client:
        request = b"GET /healthz HTTP/1.1\r\nHost: receiver\r\n\r\n"
        assert send_until_refused(client, request * 500, 200 * MIB) < 50 * MIB
    assert resident_bytes(receiver.pid) - before < 64 * MIB
    assert is_accepted(service)


def test_silent_connections_make_room_for_ampeco(service: Processes, receiver: Process) -> None:
    with connections(service.url, 3 * MAX_CONNECTIONS):
        for _ in range(10):
            assert is_accepted(service)
        eventually(lambda: open_sockets(receiver.pid) <= MAX_CONNECTIONS + 50)
        assert cut(service, "crowded") > 0


def test_many_long_bodies_at_once_take_bounded_memory_and_keep_no_short_one_out(
    service: Processes, receiver: Process
) -> None:
    before = resident_bytes(receiver.pid)
    with connections(service.url, 100) as strangers:
        # Each sends all of a long body but its end: 90 MiB in all, where 4 MiB may be held
        for stranger in strangers:
            stranger.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % MIB + b"x" * (MIB - MIB // 10))
        assert is_accepted(service)
        assert resident_bytes(receiver.pid) - before < 48 * MIB
        answers = [answer(stranger) for stranger in strangers]
    assert any(b" 503 " in one and b"retry-after" in one.lower() for one in answers)
    assert is_accepted(service)


def open_sockets(pid: int) -> int:
    return sum(1 for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink())


@pytest.mark.long
def test_five_thousand_silent_connections_leave_the_receiver_with_its_default_settings_at_work(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with processes(database_url, redis_url, tmp_path) as service:
        service.as_programs = True  # its memory is measured
        receiver = service.serve()
        before = resident_bytes(receiver.pid)
        try:
            with connections(service.url, 5_000):
                for _ in range(100):
                    assert is_accepted(service)
                assert resident_bytes(receiver.pid) - before < 128 * MIB
        except OSError as error:
            pytest.skip(str(error))
        assert is_accepted(service)
