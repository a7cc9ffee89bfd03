"""The service as real processes, and a sender that keeps a ledger of what was acknowledged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, text

from ampeco.signature import sign
from tests.support.facts import sample
from tests.support.service import TOKEN, eventually, free_port, write_tenants


@dataclass
class Processes:
    """Starts processes of ours with the test's servers and settings."""

    environment: dict[str, str]
    port: int
    log: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Run ``python`` with these arguments."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], env=os.environ | self.environment, stdout=log, stderr=log
            )
        self.started.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.start("-m", "receiver", "serve")
        eventually(self._is_ready, seconds=60)
        return process

    def work(self, queue: str = "apply") -> subprocess.Popen[bytes]:
        return self.start("-m", "receiver", "work", "--queue", queue)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def processes(database_url: str, redis_url: str, directory: Path) -> Iterator[Processes]:
    port = free_port()
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(write_tenants(directory)),
        "RECEIVER_PORT": str(port),
        "RECEIVER_SWEEP_AFTER": "1",
    }
    found = Processes(environment, port, directory / "processes.log")
    try:
        yield found
    finally:
        for process in found.started:
            process.kill()
            process.wait()


@dataclass
class Sender:
    """Sends signed notifications steadily, and keeps a ledger of every 2xx it was given."""

    url: str
    ledger: dict[str, str] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    unanswered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def _body(self, number: int, lane: int) -> dict[str, Any]:
        moment = (datetime(2026, 3, 4, tzinfo=UTC) + timedelta(seconds=number)).isoformat()
        match number % 3:
            case 0:
                return sample("HardwareStatusNotification.evse") | {"evseId": lane, "timestamp": moment}
            case 1:
                update = sample("SessionUpdateNotification.active")
                update["session"] |= {"id": str(lane), "lastUpdatedAt": moment}
                return update
            case _:
                return sample("NetworkStatusNotification.available") | {"chargePointId": lane, "timestamp": moment}

    def _run(self, lane: int) -> None:
        number = 0
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self._stop.is_set():
                number += 1
                raw = json.dumps(self._body(number, lane)).encode()
                try:
                    answer = client.post("/notifications/demo", content=raw, headers={"X-Signature": sign(raw, TOKEN)})
                except httpx.TransportError:
                    self.unanswered += 1
                    time.sleep(0.05)
                    continue
                self.answers.append(answer.status_code)
                if answer.is_success:
                    self.ledger[answer.json()["id"]] = hashlib.sha256(raw).hexdigest()

    def __enter__(self) -> Sender:
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in range(1, 5)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more were acknowledged."""
        target = len(self.ledger) + more
        eventually(lambda: len(self.ledger) >= target, seconds=60)


def compare(engine: Engine, ledger: dict[str, str]) -> None:
    """Every 2xx is in the log exactly as sent, once, and ends settled."""

    def pending() -> int:
        with engine.connect() as connection:
            statement = text("SELECT count(*) FROM ingest.notification_state WHERE state = 'pending'")
            return int(connection.execute(statement).scalar_one())

    eventually(lambda: pending() == 0, seconds=90)
    with engine.connect() as connection:
        logged = connection.execute(text("SELECT notification_id, body FROM ingest.notification")).all()
    kept = {str(one): hashlib.sha256(bytes(body)).hexdigest() for one, body in logged}
    assert len(kept) == len(logged)
    assert {one: kept.get(one) for one in ledger} == ledger
