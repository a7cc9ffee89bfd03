"""The command ``demo``: the simulator, the whole service, and a live view of the database."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
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

LOG = "demo.log"


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

    Each run has a tenant with a new name, and a folder with the data of its servers, its tenants file and its log. So
    its view starts empty, runs do not meet, and nothing of them is in the data of ``up``.
    """
    settings = load_settings()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    # With the id of the process, two runs that begin in one second have two names.
    tenant = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    with _folder(settings.data_dir / "demo", tenant) as folder:
        _run(tenant, folder, seconds=seconds, speed=speed, picture=picture)
    console.print("Stopped; nothing is left running.")


@contextlib.contextmanager
def _folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder for a run, and remove it after the run; after an error its log stays."""
    folder = own_folder(own_folder(parent) / name)
    try:
        yield folder
    except Exception:
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != LOG:
                entry.unlink()
        raise
    except BaseException:  # Ctrl-C or SIGTERM, before the processes were started
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _run(tenant: str, folder: Path, *, seconds: float | None, speed: float, picture: Path | None) -> None:
    scene = Scene(
        tenant=tenant,
        api_url=f"http://127.0.0.1:{_free_port()}",
        receiver_url=f"http://127.0.0.1:{_free_port()}",
        console_url=f"http://127.0.0.1:{_free_port()}",
        log=folder / LOG,
    )
    token = secrets.token_urlsafe(24)
    token_file, tenants_file = folder / "token", folder / "tenants.toml"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    tenants_file.write_text(
        f"[tenants.{scene.tenant}]\n"
        f"base_url = {json.dumps(scene.api_url)}\n"
        f"token_file = {json.dumps(str(token_file))}\n"
        f"calls_per_minute = {min(60 * max(round(speed), 1), 6_000)}\n"  # its minutes are that much shorter
        "calls_per_day = 10000000\n",
        encoding="utf-8",
    )
    os.environ |= {
        "TENANTS_FILE": str(tenants_file),
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
    for line in (
        f"Starting the simulator and the service. Their log: {scene.log}",
        f"Console: {scene.console_url}",
        f"Look at it from another terminal: {_command_beside(folder, tenants_file)} status",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    settings = load_settings().model_copy(update={"data_dir": folder})
    with embedded_servers(settings) as ready, scene.log.open("wb") as log:
        bring_up_to_date(ready)
        simulator = Child(
            "simulator",
            module_command("simulator", "run", "--port", scene.api_url.rpartition(":")[2], "--speed", str(speed)),
            brings_work=True,
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


def _command_beside(folder: Path, tenants_file: Path) -> str:
    """Return the start of each command that uses the servers and the tenant of a running demo."""
    program = Path(sys.executable).with_name("ampeco-receiver")
    variables = {"TENANTS_FILE": tenants_file, "RECEIVER_DATA_DIR": folder}
    words = [*(f"{name}={shlex.quote(str(value))}" for name, value in variables.items()), shlex.quote(str(program))]
    return " ".join(words)


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
