"""What clients and proxies add to a notification takes nothing from it: offers to upgrade, and slashes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from ampeco.signature import sign
from receiver.admin.app import create_admin_app
from runtime.admin_port import serve_worker_metrics
from runtime.readiness import Readiness
from tests.support.clients import connect
from tests.support.facts import sample
from tests.support.service import TOKEN, Service, running

BODY = json.dumps(sample("HardwareStatusNotification.evse")).encode()

#: As Java's HttpClient makes it, which sends it with each request in clear text.
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"

OFFERS = {
    "none": "",
    "h2c": H2C,
    "h2c, and to close": H2C.replace("Upgrade, ", "close, upgrade, "),
    "websocket": "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "not named by Connection": "Upgrade: h2c\r\n",
}


def request(offer: str = "", *, path: str = "/notifications/demo") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: receiver\r\nX-Signature: {sign(BODY, TOKEN)}\r\n{offer}"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def chunked(offer: str) -> bytes:
    head = f"POST /notifications/demo HTTP/1.1\r\nHost: receiver\r\nX-Signature: {sign(BODY, TOKEN)}\r\n{offer}"
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:10], BODY[10:]))
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


def answers(service: Service, parts: Iterator[bytes] | list[bytes], count: int) -> list[bytes]:
    """The status lines of so many answers to what is sent on one connection."""
    with connect(service.url) as client:
        for part in parts:
            client.sendall(part)
        received = b""
        while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
            more = client.recv(65_536)
            assert more, received
            received += more
    return [line for line in received.split(b"\r\n") if b"HTTP/1.1 " in line]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_to_upgrade_takes_nothing_from_a_notification(service: Service, offer: str) -> None:
    whole = request(offer)
    # However the network cuts it up
    for cut in (len(whole), len(whole) - len(BODY), len(whole) - len(BODY) - 2, len(whole) - 3, 5):
        assert answers(service, [part for part in (whole[:cut], whole[cut:]) if part], 1) == [b"HTTP/1.1 202 Accepted"]
    assert answers(service, [chunked(offer)], 1) == [b"HTTP/1.1 202 Accepted"]
    stored = service.query("SELECT DISTINCT body FROM ingest.notification")
    assert [bytes(row["body"]) for row in stored] == [BODY]


def test_a_connection_serves_each_request_whatever_the_one_before_offered(service: Service) -> None:
    sent = [request(H2C), request(), request(H2C), request(H2C)]
    assert len(answers(service, iter(sent), 4)) == 4
    assert len(answers(service, [b"".join(sent)], 4)) == 4
    assert service.count("ingest.notification") == 8


def test_what_is_offered_is_not_passed_on_as_a_body_of_its_own(service: Service) -> None:
    # A wrong signature stays one, and the bytes after it are not taken for a request
    wrong = request(H2C).replace(sign(BODY, TOKEN).encode(), b"0" * 64)
    assert answers(service, [wrong], 1) == [b"HTTP/1.1 401 Unauthorized"]
    assert service.count("ingest.notification") == 0


def test_a_slash_at_the_end_of_a_callback_url_is_the_same_path(service: Service) -> None:
    assert answers(service, [request(path="/notifications/demo/")], 1) == [b"HTTP/1.1 202 Accepted"]
    assert service.count("ingest.notification") == 1
    # Any further slash is another path
    for path in ("/notifications/demo//", "/notifications//", "/notifications/", "/notifications/demo/x/"):
        assert answers(service, [request(path=path)], 1) == [b"HTTP/1.1 404 Not Found"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/notifications/demo", "/nowhere"])
def test_no_page_redirects(service: Service, path: str) -> None:
    figures = httpx.Client(base_url=f"http://127.0.0.1:{serve_worker_metrics(service.settings, 0, Readiness())}")
    with running(create_admin_app(service.settings)) as url, httpx.Client(base_url=url) as admin, figures:
        for client in (service.client, admin, figures):
            plain = client.get(path).status_code
            assert plain < 300 or plain in (404, 405)
            assert client.get(f"{path}/").status_code == plain
            assert not client.get(f"{path}//").is_redirect
