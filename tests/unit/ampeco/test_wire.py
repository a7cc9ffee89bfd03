"""The client over a real connection: what a simulator for the network could not show."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from ampeco import errors
from ampeco.api.client import Client
from tests.unit.ampeco.tenant import TOKEN

Reply = Callable[[BaseHTTPRequestHandler], None]

EVSE = b'{"data": {"id": 902, "lastUpdatedAt": "2026-03-04T07:20:03+00:00"}}'


class Server(ThreadingHTTPServer):
    daemon_threads = True
    reply: Reply
    targets: list[str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        self.server.reply(self)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as listening:
        listening.targets = []
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def client(server: Server, timeout_seconds: float = 10) -> Client:
    url = f"http://127.0.0.1:{server.server_port}/"
    return Client(url, SecretStr(TOKEN), timeout_seconds=timeout_seconds, max_attempts=1)


def reply_with(body: bytes, *, announced: int | None = None, **headers: str) -> Reply:
    def reply(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body) if announced is None else announced))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    return reply


def test_a_read_is_dated_a_moment_before_the_servers_own_date(server: Server) -> None:
    server.reply = reply_with(EVSE)

    with client(server) as connected:
        read = connected.evse(902)

    assert read.resource.id == 902
    assert timedelta(0) <= datetime.now(UTC) - read.tenant_time < timedelta(seconds=3)


def test_filters_arrive_as_deep_objects(server: Server) -> None:
    server.reply = reply_with(b'{"data": []}')

    with client(server) as connected:
        list(connected.evses(last_updated_after=datetime(2026, 3, 4, 7, tzinfo=UTC)))

    (target,) = server.targets
    assert target == (
        "/public-api/resources/evses/v2.1?per_page=100"
        "&filter%5BlastUpdatedAfter%5D=2026-03-04T07%3A00%3A00Z&include%5B%5D=connectors"
    )


@pytest.mark.parametrize(
    "reply",
    [
        reply_with(EVSE, announced=1000),
        reply_with(EVSE, Content_Encoding="gzip"),
        reply_with(b"\xff\xfe"),
        lambda request: request.connection.shutdown(socket.SHUT_RDWR),
    ],
    ids=["cut off", "not gzip", "not utf-8", "hung up"],
)
def test_a_broken_answer_is_no_answer(server: Server, reply: Reply) -> None:
    server.reply = reply

    with client(server) as connected, pytest.raises(errors.Unavailable):
        connected.evse(902)


def test_a_tenant_that_is_too_slow_is_unavailable(server: Server) -> None:
    released = threading.Event()
    server.reply = lambda request: (released.wait(10), None)[1]

    with client(server, timeout_seconds=0.05) as connected, pytest.raises(errors.Unavailable, match="ReadTimeout"):
        connected.evse(902)

    released.set()


@pytest.mark.process
def test_a_tenant_where_nothing_listens_is_unavailable(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        with (
            Client(url, SecretStr(TOKEN), max_attempts=1) as connected,
            pytest.raises(errors.Unavailable, match="gave no answer: ConnectError"),
        ):
            connected.evse(902)
