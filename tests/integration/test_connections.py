"""Clients that do not read what they asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from starlette.responses import Response

from receiver.accept.protocol import GuardedProtocol
from runtime.settings import Settings
from tests.support.clients import answer, connect
from tests.support.service import eventually, running

LONG_ANSWER = Response(b"x" * 50_000_000)


def cut(reason: str) -> float:
    return REGISTRY.get_sample_value("ampeco_connections_cut_total", {"reason": reason}) or 0


def test_a_client_that_does_not_read_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_REQUEST_TIMEOUT", "1")
    before = cut("slow")
    with running(LONG_ANSWER, http=GuardedProtocol) as url, connect(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: receiver\r\n\r\n")
        eventually(lambda: cut("slow") == before + 1)


def test_a_client_that_reads_its_answer_may_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_REQUEST_TIMEOUT", "1")
    before = cut("slow")
    with running(Response(b"x" * 5_000_000), http=GuardedProtocol) as url, connect(url) as client:
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: receiver\r\n\r\n")
            received = 0
            while received < 5_000_000:
                received += len(client.recv(1_000_000))
    assert cut("slow") == before


def test_a_connection_without_a_request_is_closed_after_the_configured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_KEEP_ALIVE", "1")
    before = cut("silent")
    with running(Response(b"x"), http=GuardedProtocol) as url, connect(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: receiver\r\n\r\n")
        assert answer(client).startswith(b"HTTP/1.1 200 OK")
    assert cut("silent") == before + 1


def test_a_balancer_closes_an_idle_connection_before_we_do() -> None:
    # Google's keeps one for 600 s, which is the longest of those that cannot be changed.
    assert Settings().keep_alive > timedelta(seconds=600)
