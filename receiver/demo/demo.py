"""The command ``demo``: the simulator, the whole service, and a live view of the database."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from ampeco.api.client import Client
from receiver.demo.dashboard import LiveView
from receiver.environment import database
from receiver.processes.embedded import embedded_servers, own_folder
from receiver.processes.service import bring_up_to_date, service_children
from receiver.processes.supervisor import Child, ChildStartError, Supervisor, module_command
from receiver.terminal import console
from runtime.logging import configure_logging
from runtime.settings import Settings, SettingsError, load_settings
from storage.monitoring.subscriptions import locked
from workers.monitoring.subscriptions import callback_url, subscribe_and_manage

START_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """The tenant, the addresses and the log file of one demo."""

    tenant: str
    api_url: str
    receiver_url: str
    console_url: str
    log: Path


def run_demo(*, seconds: float | None, speed: float, data_dir: Path | None, picture: Path | None) -> None:
    """Run until Ctrl-C, or for ``seconds``, save the last view, and stop every process that was started.

    Each run has a tenant with a new name, so that its view starts empty in spite of the data of older runs.
    """
    settings = load_settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    folder = own_folder(settings.data_dir / "demo")
    scene = Scene(
        tenant=f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}",
        api_url=f"http://127.0.0.1:{_free_port()}",
        receiver_url=f"http://127.0.0.1:{_free_port()}",
        console_url=f"http://127.0.0.1:{_free_port()}",
        log=folder / "demo.log",
    )
    token = secrets.token_urlsafe(24)
    tenants_file = folder / "tenants.toml"
    tenants_file.write_text(
        f'[tenants.{scene.tenant}]\nbase_url = "{scene.api_url}"\ntoken_env = "DEMO_AMPECO_TOKEN"\n'
        f"calls_per_minute = {min(60 * max(round(speed), 1), 6_000)}\n"  # its minutes are that much shorter
        "calls_per_day = 10000000\n"
    )
    os.environ |= {
        "TENANTS_FILE": str(tenants_file),
        "DEMO_AMPECO_TOKEN": token,
        "AMPECO_SIMULATOR_TOKEN": token,
        "RECEIVER_HOST": "127.0.0.1",
        "RECEIVER_PUBLIC_URL": scene.receiver_url,
        "RECEIVER_PORT": scene.receiver_url.rpartition(":")[2],
        "RECEIVER_ADMIN_PORT": "0",
        "RECEIVER_CONSOLE_HOST": "127.0.0.1",
        "RECEIVER_CONSOLE_PORT": scene.console_url.rpartition(":")[2],
        # Everything that it calls is on this machine, which a proxy cannot reach.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    configure_logging("auto", "warning", process="demo")
    console.print(f"Starting the simulator and the service. Their log: {scene.log}")
    console.print(f"Console: {scene.console_url}", highlight=False)
    settings = load_settings().model_copy(update={"data_dir": settings.data_dir})
    with embedded_servers(settings) as ready, scene.log.open("wb") as log:
        bring_up_to_date(ready)
        simulator = Child(
            "simulator",
            module_command("simulator", "run", "--port", scene.api_url.rpartition(":")[2], "--speed", str(speed)),
        )
        supervisor = Supervisor(
            [simulator, *service_children(ready)],
            shutdown_seconds=ready.shutdown_timeout.total_seconds() + 5,
            output=log,
        )
        supervisor.stop_on_signals()
        try:
            supervisor.run(lambda stop: _show(stop, ready, scene, seconds, picture))
        except ChildStartError as error:
            raise SettingsError(f"The demo's process {error.name} did not start; {scene.log} says why.") from None
    console.print("Stopped; nothing is left running.")


def _show(stop: threading.Event, settings: Settings, scene: Scene, seconds: float | None, picture: Path | None) -> None:
    for url in (f"{scene.api_url}/", f"{scene.receiver_url}/readyz"):
        if not _wait_until_answers(url, stop):
            if stop.is_set():
                return
            raise SettingsError(f"The demo did not start within {START_TIMEOUT_SECONDS:g} s; see {scene.log}.")
    tenant = settings.tenants[scene.tenant]
    with (
        Client(tenant.url, tenant.api_token()) as client,
        database(settings, pool_size=2) as engine,
        locked(engine, tenant.name) as lock,
    ):
        assert lock is not None, "no other process uses this tenant"
        subscribe_and_manage(lock, client, tenant, callback_url(scene.receiver_url, tenant.name))
    deadline = None if seconds is None else time.monotonic() + seconds
    with LiveView(scene.tenant, settings.required_database_url()) as view:
        view.watch(stop, deadline)
        if picture is not None:
            view.save(picture)


def _wait_until_answers(url: str, stop: threading.Event) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and not stop.wait(0.2):
        try:
            if httpx.get(url).is_success:
                return True
        except httpx.TransportError:
            continue
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
