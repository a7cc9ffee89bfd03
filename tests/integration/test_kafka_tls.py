"""Connections to the brokers verify the certificate, and show ours if they have one."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: there is no client to try")

from receiver.consume.readiness import KafkaWatch
from runtime.settings import Settings
from tests.support.certificates import write_certificate
from tests.support.service import eventually


@contextlib.contextmanager
def broker(directory: Path, trusted: Path) -> Iterator[tuple[int, list[Any]]]:
    """Listen as a broker does with TLS; yield the port, and the subjects of the clients whose handshake succeeded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(trusted)
    met: list[Any] = []

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(ssl.SSLError, ConnectionError),
                context.wrap_socket(self.request, server_side=True) as client,
            ):
                # With TLS 1.3 a client that trusts no such server says so only after the handshake.
                if client.recv(1):
                    met.append((client.getpeercert() or {}).get("subject"))

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], met
        finally:
            server.shutdown()
            thread.join()


def watch(port: int, **values: Any) -> KafkaWatch:
    return KafkaWatch(
        Settings(kafka_brokers=f"localhost:{port}", kafka_security_protocol="SSL", **values), ["ampeco-demo"]
    )


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    for name in ("server.pem", "client.pem", "other.pem"):
        write_certificate(tmp_path / name)
    return tmp_path


def test_a_broker_is_trusted_by_its_authority_and_sees_our_certificate(certificates: Path) -> None:
    with broker(certificates, certificates / "client.pem") as (port, met):
        watching = watch(
            port,
            kafka_ca_file=certificates / "server.pem",
            kafka_certificate_file=certificates / "client.pem",
            kafka_key_file=certificates / "client.pem",
        )
        watching.look()
        eventually(lambda: met)
        assert met[0] is not None


@pytest.mark.parametrize("authority", [None, "other.pem"])
def test_a_broker_of_another_authority_is_refused_and_the_check_says_why(
    certificates: Path, authority: str | None
) -> None:
    ca_file = None if authority is None else certificates / authority
    with broker(certificates, certificates / "client.pem") as (port, met):
        watching = watch(port, kafka_ca_file=ca_file)
        check = eventually(lambda: "certificate verify failed" in (found := watching.look()).detail and found)
        assert not check.ok
        assert "RECEIVER_KAFKA" in (check.advice or "")
        assert met == []
