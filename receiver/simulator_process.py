"""The simulator as a child process, told what to do through its control API."""

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
from receiver.supervisor import Child, module_command
from workers.settings import SettingsError
from workers.sockets import address_of

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0

#: Tries of one delivery: half a second before the second, doubled each time, so that an
#: outage of a quarter of an hour ends before they do.
ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A delivery that was answered with a 2xx; ``notification_id`` is None where the answer gave none."""

    notification_id: UUID | None
    sha256: str


class SimulatorProcess:
    """Runs ``ampeco-simulator`` at a tenant's base URL.

    Parameters:
        tenant: whose place it takes; it listens on the port of the base URL.
        host: the address that it listens on.
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
                raise SettingsError(f"The simulator did not start at {self._control.base_url}; it said why above.")
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
        """What is named goes wrong from now on; the rest stays as it was."""
        self._control.patch("/faults", json=faults).raise_for_status()

    def deliveries(self) -> dict[str, Any]:
        """Deliveries by what became of them."""
        found: dict[str, Any] = self._control.get("/state").raise_for_status().json()["deliveries"]
        return found

    def pause(self) -> None:
        """Stop the tenant's clock; what is held back is sent."""
        self._control.post("/pause").raise_for_status()

    def resend(self, subscription_id: int) -> None:
        """Have sent once more what was given up, as an operator of AMPECO does."""
        answer = self._actions.post(
            f"/notifications/v1.0/{subscription_id}/resend", json={"notifications": list(self._tenant.notifications)}
        )
        answer.raise_for_status()

    def acknowledged(self, after: int) -> Iterator[Acknowledged]:
        """The ledger's entries after the first ``after``.

        Raises:
            SettingsError: the ledger forgot some before they were fetched.
        """
        while True:
            page = self._control.get("/deliveries", params={"after": after}).raise_for_status().json()
            if page["meta"]["forgotten"] > after:
                raise SettingsError("The simulator's ledger overflowed: choose a lower --speed.")
            if not page["data"]:
                return
            for entry in page["data"]:
                after = entry["number"]
                yield Acknowledged(UUID(entry["id"]) if entry["id"] else None, entry["sha256"])


def _client(base_url: str, token: str) -> httpx.Client:
    # The simulator is on this machine, which no proxy knows.
    return httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)
