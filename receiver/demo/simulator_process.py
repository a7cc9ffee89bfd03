"""The simulator as a child process, controlled through its control API."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from ampeco.tenants import Tenant
from receiver.probe import reached_at
from receiver.processes.supervisor import Child, module_command
from runtime.settings import SettingsError
from runtime.sockets import address_of

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0

#: Attempts of one delivery. The delay before the second is half a second and doubles each time, so that the attempts
#: continue after an outage of a quarter of an hour.
ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A delivery that was answered with a 2xx; ``notification_id`` is None if the answer contained none."""

    notification_id: UUID | None
    sha256: str


class SimulatorProcess:
    """Runs ``ampeco-simulator`` at a tenant's base URL.

    Parameters:
        tenant: the tenant that it replaces; it listens on the port of the tenant's base URL.
        host: the address that it listens on.
        start: the time at which the simulator's clock starts.
        options: further options of ``ampeco-simulator run``.
    """

    def __init__(self, tenant: Tenant, *, host: str, start: datetime, options: dict[str, str]) -> None:
        self._tenant = tenant
        token, control = tenant.api_token().get_secret_value(), secrets.token_urlsafe(24)
        port = urlsplit(tenant.url).port or 80
        arguments = {"host": host, "port": str(port), "start": start.isoformat(), "attempts": str(ATTEMPTS)} | options
        self._child = Child(
            "simulator",
            module_command(
                "simulator",
                "run",
                f"--control-token={control}",
                *(f"--{name}={value}" for name, value in arguments.items()),
            ),
            {"AMPECO_SIMULATOR_TOKEN": token},
        )
        base_url = f"http://{address_of(reached_at(host)[0], port)}"
        self._control = _client(f"{base_url}/control", control)
        self._actions = _client(f"{base_url}/public-api/actions", token)

    def __enter__(self) -> SimulatorProcess:
        self._child.start(None)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise SettingsError(f"The simulator did not start at {self._control.base_url}; see its output above.")
            time.sleep(0.1)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._child.process is not None
        return self._child.process

    def _stop(self) -> None:
        self._child.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._control.close()
        self._actions.close()

    def _answers(self) -> bool:
        try:
            return self._control.get("/state").is_success
        except httpx.TransportError:
            return False

    def set_faults(self, **faults: float) -> None:
        """Set faults of the simulator; those that are not named stay as they are."""
        self._control.patch("/faults", json=faults).raise_for_status()

    def deliveries(self) -> dict[str, Any]:
        """Return the number of deliveries by result."""
        counts: dict[str, Any] = self._control.get("/state").raise_for_status().json()["deliveries"]
        return counts

    def pause(self) -> None:
        """Stop the simulator's clock; delayed notifications are sent."""
        self._control.post("/pause").raise_for_status()

    def resend(self, subscription_id: int) -> None:
        """Request that the simulator send the undelivered notifications of a subscription again."""
        answer = self._actions.post(
            f"/notifications/v1.0/{subscription_id}/resend", json={"notifications": list(self._tenant.notifications)}
        )
        answer.raise_for_status()

    def acknowledged(self, after: int) -> Iterator[Acknowledged]:
        """Yield the entries of the ledger with a number larger than ``after``.

        Raises:
            SettingsError: the ledger dropped entries before they were fetched.
        """
        while True:
            page = self._control.get("/deliveries", params={"after": after}).raise_for_status().json()
            if page["meta"]["dropped"] > after:
                raise SettingsError("The simulator's ledger overflowed: choose a lower --speed.")
            if not page["data"]:
                return
            for entry in page["data"]:
                after = entry["number"]
                yield Acknowledged(UUID(entry["id"]) if entry["id"] else None, entry["sha256"])


def _client(base_url: str, token: str) -> httpx.Client:
    # The simulator is on this machine, which a proxy cannot reach.
    return httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)
