"""The proxies' configurations, run by Debian's programs in front of two real receivers, of which one is killed."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from ampeco.signature import sign
from runtime.settings import Settings
from tests.support.facts import sample
from tests.support.processes import Process, Processes, end, processes
from tests.support.proxies import FOLDER, KINDS, Proxy, proxy_of
from tests.support.service import TOKEN, eventually, free_port


@dataclass
class Front:
    """A proxy and its two receivers."""

    proxy: Proxy
    repeats: bool
    service: Processes
    receivers: list[Process]
    admin_urls: list[str]

    def accepted(self, number: int) -> float:
        """Return how many notifications a receiver has accepted since its start."""
        page = httpx.get(f"{self.admin_urls[number]}/metrics", trust_env=False).text
        return sum(map(float, re.findall(r"^ampeco_notifications_accepted_total\{.*\} (\S+)$", page, re.MULTILINE)))


@pytest.fixture(params=KINDS)
def front(request: pytest.FixtureRequest, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    """Each proxy, in front of two receivers."""
    with processes(database_url, redis_url, tmp_path) as service:
        receivers, admin_urls = [], []
        for _ in range(2):
            receivers.append(service.serve(f"http://127.0.0.1:{free_port()}"))
            admin_urls.append(service.admin_url)
        with proxy_of(KINDS[request.param], tmp_path, service.urls) as proxy:
            yield Front(proxy, KINDS[request.param].repeats, service, receivers, admin_urls)


def notification(number: int) -> bytes:
    return json.dumps(sample("NetworkStatusNotification.available") | {"number": number}).encode()


def send(client: httpx.Client, body: bytes) -> int:
    return client.post("/notifications/demo", content=body, headers={"X-Signature": sign(body, TOKEN)}).status_code


@dataclass
class Sender:
    """Sends notifications through the proxy, and repeats each until it is accepted, as AMPECO does.

    Attributes:
        attempts: how often each notification was sent.
        others: answers that were neither 202 nor 502 to 504, after which AMPECO repeats.
    """

    proxy: Proxy
    attempts: dict[int, int] = field(default_factory=dict)
    others: list[int] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self, first: int, step: int) -> None:
        """Send one notification after the other until it is over."""
        number = first
        with self.proxy.client() as client:
            while not self.is_over.is_set():
                self._send(client, number)
                number += step

    def repeated(self) -> list[int]:
        """Return the notifications that were sent more than once."""
        return [number for number, times in self.attempts.items() if times > 1]

    def _send(self, client: httpx.Client, number: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.attempts[number] = self.attempts.get(number, 0) + 1
            try:
                status = send(client, notification(number))
            except httpx.TransportError:
                continue
            if status == httpx.codes.ACCEPTED:
                self.accepted.add(number)
                return
            if status not in (502, 503, 504):
                self.others.append(status)


def test_a_killed_receiver_costs_nothing_that_the_sender_does_not_repeat(front: Front, engine: Engine) -> None:
    sender = Sender(front.proxy)
    threads = [threading.Thread(target=sender.run, args=(first, 4)) for first in range(4)]
    for thread in threads:
        thread.start()
    try:
        # Given load that reaches both receivers
        eventually(lambda: all(front.accepted(number) > 10 for number in range(2)), seconds=60)
        # When one is killed
        end(front.receivers[0])
        before = len(sender.accepted)
        eventually(lambda: len(sender.accepted) > before + 100, seconds=60)
        # And started again
        front.receivers[0] = front.service.serve(front.service.urls[0])
        front.admin_urls[0] = front.service.admin_url
        # Then it gets its share again
        eventually(lambda: front.accepted(0) > 10, seconds=60)
    finally:
        sender.is_over.set()
        for thread in threads:
            thread.join()
    # And each notification was accepted and is in the log
    assert sender.others == []
    assert sender.accepted == sender.attempts.keys()
    with engine.connect() as connection:
        bodies = connection.execute(text("SELECT convert_from(body, 'UTF8') FROM ingest.notification")).scalars()
        kept = {json.loads(body)["number"] for body in bodies}
    assert kept >= sender.accepted
    # And few had to be sent twice: those that the receiver was answering when it died
    if front.repeats:
        assert len(sender.repeated()) <= len(threads)


def test_a_receiver_that_is_stopped_in_order_costs_no_more(front: Front) -> None:
    sender = Sender(front.proxy)
    threads = [threading.Thread(target=sender.run, args=(first, 4)) for first in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all(front.accepted(number) > 10 for number in range(2)), seconds=60)
        assert end(front.receivers[1], signal.SIGTERM) == 0
        before = len(sender.accepted)
        eventually(lambda: len(sender.accepted) > before + 100, seconds=60)
    finally:
        sender.is_over.set()
        for thread in threads:
            thread.join()
    assert sender.others == []
    assert sender.accepted == sender.attempts.keys()
    if front.repeats:
        assert sender.repeated() == []


def test_only_notifications_pass(front: Front) -> None:
    with front.proxy.client() as client:
        assert send(client, notification(1)) == httpx.codes.ACCEPTED
        # What the receiver refuses is passed on
        assert client.post("/notifications/demo", content=b"{}").status_code == httpx.codes.UNAUTHORIZED
        for path in ("/", "/healthz", "/readyz", "/metrics", "/notifications", "/notificationsx/demo"):
            assert client.get(path).status_code == httpx.codes.NOT_FOUND, path
        # At most 1 MiB; if the receiver has closed the connection already, Caddy says 502, or cuts its answer short
        with client.stream("POST", "/notifications/demo", content=b"x" * (2 * 1024 * 1024)) as answer:
            assert answer.status_code in (httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.BAD_GATEWAY)
    # A path that leads out of the folder is not followed
    with (
        socket.create_connection(("127.0.0.1", front.proxy.port), timeout=30) as plain,
        front.proxy.context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET /notifications/../readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("kind", "idle", "connect"),
    [
        ("nginx", r"^    keepalive_timeout (\d+)s;", r"proxy_connect_timeout (\d+)s;"),
        ("caddy", r"keepalive (\d+)s", r"dial_timeout (\d+)s"),
        ("haproxy", r"pool-purge-delay (\d+)s", r"timeout connect (\d+)s"),
    ],
)
def test_idle_connections_are_closed_before_the_receiver_closes_them(kind: str, idle: str, connect: str) -> None:
    configuration = (FOLDER / KINDS[kind].file).read_text()
    seconds = [int(found) for found in re.findall(idle, configuration, re.MULTILINE)]
    assert seconds
    keep_alive: timedelta = Settings.model_fields["keep_alive"].default
    assert max(seconds) < keep_alive.total_seconds() / 2
    assert re.findall(connect, configuration) == ["2"]
