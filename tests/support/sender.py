"""A sender of notifications with a known result, which keeps a ledger of acknowledged deliveries."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from ampeco.signature import sign
from tests.support.facts import sample
from tests.support.service import TOKEN, eventually

BEGAN_AT = datetime(2026, 3, 4, tzinfo=UTC)

#: The number of lanes. Each is one EVSE, one session and one charge point, with the lane's number as their id.
LANES = 4

#: The pause between two notifications of a lane: a steady load that a busy machine can take.
PACE_SECONDS = 0.02

#: The time after which a sender gives up a notification that is not acknowledged.
PATIENCE_SECONDS = 180.0

HARDWARE_STATUSES = ("available", "preparing", "charging", "finishing")
NETWORK_STATUSES = ("available", "temporarily unavailable")


def moment_of(number: int) -> datetime:
    """Return the source's time of a lane's notification."""
    return BEGAN_AT + timedelta(seconds=number)


def body_of(lane: int, number: int) -> dict[str, Any]:
    """Return a lane's notification: of four types in turn, each newer than the previous one."""
    moment = moment_of(number).isoformat()
    match number % 4:
        case 0:
            status = HARDWARE_STATUSES[number // 4 % 4]
            return sample("HardwareStatusNotification.evse") | {
                "evseId": lane,
                "timestamp": moment,
                "hardwareStatus": status,
            }
        case 1:
            update = sample("SessionUpdateNotification.active")
            energy_wh = 10 * number
            update["session"] |= {"id": str(lane), "lastUpdatedAt": moment, "energy": energy_wh}
            update["session"]["energyConsumption"] = {"total": energy_wh, "grid": energy_wh}
            return update
        case 2:
            status = NETWORK_STATUSES[number // 4 % 2]
            return sample("NetworkStatusNotification.available") | {
                "chargePointId": lane,
                "timestamp": moment,
                "networkStatus": status,
            }
        case _:
            values = sample("SessionMeterValuesNotification") | {"sessionId": lane}
            for reading in values["meterValues"]:
                reading["timestamp"] = moment
            return values


@dataclass
class Sender:
    """A steady sender of signed notifications, which repeats each one until it is acknowledged, like AMPECO.

    Attributes:
        urls: the receivers; a notification that one does not acknowledge is sent to the next.
        socket: the Unix socket by which all of them are reached; None: each is reached at its address.
        ledger: for every 2xx, the id in the answer and the body's digest.
        tries: how often each body was sent, by its digest.
        sent: each lane's acknowledged numbers.
        answers: the count of answers by status; 0 means no answer.
    """

    urls: Sequence[str]
    socket: str | None = None
    ledger: dict[str, str] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    sent: dict[int, list[int]] = field(default_factory=lambda: {lane: [] for lane in range(1, LANES + 1)})
    answers: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    gave_up: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _run(self, lane: int) -> None:
        number = 0
        with httpx.Client(timeout=60, transport=httpx.HTTPTransport(uds=self.socket)) as client:
            while not self._stop.wait(PACE_SECONDS):
                number += 1
                self._insist(client, lane, number)

    def _insist(self, client: httpx.Client, lane: int, number: int) -> None:
        raw = json.dumps(body_of(lane, number)).encode()
        digest = hashlib.sha256(raw).hexdigest()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            url = self.urls[(lane + self.tries[digest]) % len(self.urls)]
            self.tries[digest] += 1
            status, answered = 0, None
            try:
                answer = client.post(
                    f"{url}/notifications/demo", content=raw, headers={"X-Signature": sign(raw, TOKEN)}
                )
                status = answer.status_code
                answered = answer.json()["id"] if answer.is_success else None
            except httpx.TransportError:
                pass
            with self._lock:
                self.answers[status] += 1
                self.without_retry_after += status == 503 and "Retry-After" not in answer.headers
                if answered:
                    self.ledger[answered] = digest
                    self.sent[lane].append(number)
                    return
            time.sleep(0.1)
        self.gave_up.append(digest)

    def __enter__(self) -> Sender:
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in self.sent]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, *, seconds: float = 90) -> None:
        """Wait until ``more`` further notifications are acknowledged."""
        target = len(self.ledger) + more
        eventually(lambda: len(self.ledger) >= target, seconds=seconds)
