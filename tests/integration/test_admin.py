"""Operators have a listener of their own: the public one shows a stranger nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from receiver.admin.app import create_admin_app
from runtime.admin_port import Guard, open_admin_listener, serve_worker_metrics
from runtime.readiness import Check, Probe, Readiness
from runtime.settings import Settings, SettingsError, load_settings
from tests.support.processes import is_ready, processes
from tests.support.sender import Sender
from tests.support.service import Service, eventually, free_port, running, serving

PASSPHRASE = "operators-passphrase-9c1d"
BEARER = {"Authorization": f"Bearer {PASSPHRASE}"}


@pytest.mark.parametrize("path", ["/metrics", "/", "/docs", "/status", "/notifications/demo"])
def test_the_public_listener_shows_no_page(service: Service, path: str) -> None:
    answer = service.client.get(path)
    assert answer.status_code in (404, 405)
    assert "demo" not in answer.text
    assert "ampeco_" not in answer.text


def test_the_public_readiness_is_a_status_code_and_nothing_else(service: Service) -> None:
    answer = service.client.get("/readyz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_stranger_cannot_make_us_ask_the_servers_more_than_once_a_second(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, "redis://127.0.0.1:1/0", tmp_path) as service:
        began = time.monotonic()
        assert {service.client.get("/readyz").status_code for _ in range(200)} == {200}
        # Each look at a Redis that is down takes a tenth of a second and more.
        assert time.monotonic() - began < 10


def test_every_page_of_the_admin_port_asks_for_their_token(service: Service) -> None:
    settings = service.settings.model_copy(update={"admin_token": SecretStr(PASSPHRASE)})
    with running(create_admin_app(settings)) as url, httpx.Client(base_url=url) as client:
        for path in ("/metrics", "/readyz", "/healthz", "/nothing"):
            for wrong in (
                {},
                {"Authorization": PASSPHRASE},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer x"},
            ):
                answer = client.get(path, headers=wrong)
                assert answer.status_code == 401, path
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert PASSPHRASE not in answer.text
        assert client.get("/readyz", headers=BEARER).json()["status"] == "ready"
        assert "ampeco_postgres_up 1.0" in client.get("/metrics", headers=BEARER).text


def test_a_workers_figures_ask_for_the_same_token() -> None:
    readiness = Readiness(Probe("redis", lambda: {"redis": Check(False, "READONLY")}, "bring it back"))
    port = serve_worker_metrics(Settings(admin_token=SecretStr(PASSPHRASE)), 0, readiness)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 401
        assert client.get("/nothing", headers=BEARER).status_code == 404
        assert "ampeco_" in client.get("/metrics", headers=BEARER).text
        # Whether it is ready is shown without the token; the reason needs the token
        bare, detailed = client.get("/readyz"), client.get("/readyz", headers=BEARER)
        assert (bare.status_code, bare.content) == (503, b"")
        assert (detailed.status_code, detailed.json()["checks"]["redis"]["detail"]) == (503, "READONLY")


def test_a_guard_without_a_token_lets_everybody_in_and_one_with_a_token_only_its_holder() -> None:
    assert Guard(None).admits(None)
    guard = Guard(SecretStr("t"))
    assert guard.admits("bearer t")
    assert not guard.admits(None)
    assert not guard.admits("Basic t")
    assert not guard.admits("Bearer \udcff")


def test_a_port_that_is_taken_is_reported_in_one_sentence(service: Service) -> None:
    taken = int(service.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=f"RECEIVER_ADMIN_PORT: 127.0.0.1:{taken} cannot be listened on"):
        open_admin_listener(service.settings, taken, setting="RECEIVER_ADMIN_PORT")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RECEIVER_ADMIN_TOKEN": " "}, "RECEIVER_ADMIN_TOKEN is empty"),
        ({"RECEIVER_ADMIN_TOKEN_FILE": "/nowhere"}, "RECEIVER_ADMIN_TOKEN_FILE: /nowhere cannot be read"),
        ({"RECEIVER_ADMIN_TOKEN": "a", "RECEIVER_ADMIN_TOKEN_FILE": "b"}, "are both set"),
    ],
)
def test_a_token_that_cannot_be_had_stops_the_start(
    environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_the_token_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{PASSPHRASE}\n")
    secret = Settings(admin_token_file=path).admin_secret()
    assert secret is not None
    assert secret.get_secret_value() == PASSPHRASE


def _figure(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_one_page_adds_up_the_processes_that_share_the_port_and_forgets_the_dead(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with processes(database_url, redis_url, tmp_path) as service:
        started = service.serve(None, "--processes", "2")
        url = service.admin_url
        with Sender(service.urls) as sender:
            sender.wait_for(60)
        # Whichever process answered each, the page has them all
        accepted = sender.answers[202]
        eventually(lambda: _figure(url, "ampeco_notifications_accepted_total") == accepted)
        # A process that is killed loses none of what it counted, and is replaced
        for child in _accepting(started.pid):
            os.kill(child, signal.SIGKILL)
        eventually(lambda: is_ready(service.url), seconds=60)
        assert _figure(url, "ampeco_notifications_accepted_total") == accepted
        assert _figure(url, "ampeco_notifications_waiting") == 0


def _accepting(parent: int) -> list[int]:
    """The processes of a receiver that accept."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for child in children if b"spawn_main" in Path(f"/proc/{(pid := int(child))}/cmdline").read_bytes()]


def test_several_receivers_on_one_host_have_an_admin_port_each(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with processes(database_url, redis_url, tmp_path) as service:
        service.serve()
        ports = {"RECEIVER_PORT": str(free_port()), "RECEIVER_ADMIN_PORT": service.admin_url.rpartition(":")[2]}
        assert service.start("-m", "receiver", "serve", **ports).wait(60) == 2
        assert "RECEIVER_ADMIN_PORT" in service.log.read_text()
