"""A load generator in Python, in a process of its own: ``python -m bench.sender``.

It replaces wrk if wrk is not installed, and it can send at a steady rate, which wrk cannot. Each
connection has one unanswered request at most. At a steady rate the time of a request counts from
when it was due, so that a slow answer also shows in the times of the requests that wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from pathlib import Path
from typing import Annotated, cast

import orjson
import typer
import uvloop

from bench.signed import read_requests

#: The longest wait for the last answers; the service answers 503 earlier than that.
LAST_ANSWER_SECONDS = 10.0


class _Run:
    """The state that the connections of one run share."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._sent = 0
        self.milliseconds: list[float] = []
        self.accepted_milliseconds: list[float] = []
        self.dishonest = 0
        self.ledger: list[tuple[str, float]] = []
        self.refused = 0
        self.broken = 0
        self.stopping = False
        self._wanted = 0
        self._complete = asyncio.Event()

    def next_request(self) -> bytes:
        self._sent += 1
        return self._requests[(self._sent - 1) % len(self._requests)]

    def answered(self, due: float, answer: bytes, length: int) -> None:
        self.milliseconds.append((time.perf_counter() - due) * 1000)
        if answer.startswith(b"HTTP/1.1 202 "):
            self.accepted_milliseconds.append(self.milliseconds[-1])
            if length:
                self.ledger.append((orjson.loads(answer[-length:])["id"], time.time()))
        else:
            self.refused += 1
            # The only valid refusal is a 503 that asks for a retry with Retry-After.
            self.dishonest += not (answer.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in answer)
        if len(self.milliseconds) == self._wanted:
            self._complete.set()

    async def all_answered(self, total: int) -> None:
        """Wait until ``total`` requests are answered."""
        self._wanted = total
        if len(self.milliseconds) < total:
            await self._complete.wait()


class _Connection(asyncio.Protocol):
    """One keep-alive connection.

    Parameters:
        again: gets the connection when it is free; with None, it sends the next request at once.
    """

    def __init__(self, run: _Run, again: deque[_Connection] | None) -> None:
        self._run = run
        self._idle = again
        self._received = b""
        self._due = 0.0
        self.backlog: deque[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has the same methods, but another base class
        if self._idle is not None:
            self._idle.append(self)
        else:
            self.send(time.perf_counter())

    def send(self, due: float) -> None:
        self._due = due
        self._transport.write(self._run.next_request())

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _content_length(self._received[:end])
        if len(self._received) < end + 4 + length:
            return
        answer, self._received = self._received, b""
        self._run.answered(self._due, answer, length)
        if self._idle is None:
            if not self._run.stopping:
                self.send(time.perf_counter())
        elif self.backlog:
            self.send(self.backlog.popleft())
        else:
            self._idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.stopping:
            self._run.broken += 1


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _send_all(run: _Run, port: int, connections: int, seconds: float, rate: float | None) -> float:
    loop = asyncio.get_running_loop()
    idle: deque[_Connection] | None = deque() if rate else None
    backlog: deque[float] = deque()
    began = time.perf_counter()
    for _ in range(connections):
        _, connection = await loop.create_connection(lambda: _Connection(run, idle), "127.0.0.1", port)
        connection.backlog = backlog
    if rate is None or idle is None:
        await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        run.stopping = True
        return took
    began = time.perf_counter()
    total = int(rate * seconds)
    for number in range(total):
        due = began + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        if idle:
            idle.popleft().send(due)
        else:
            backlog.append(due)
    took = time.perf_counter() - began
    # Wait for the unanswered requests, because their answers belong to the ledger.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(run.all_answered(total), LAST_ANSWER_SECONDS)
    run.broken += total - len(run.milliseconds)
    run.stopping = True
    return took


def _percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def main(
    requests: Path,
    figures: Path,
    port: Annotated[int, typer.Option()],
    connections: Annotated[int, typer.Option()],
    seconds: Annotated[float, typer.Option()],
    rate: Annotated[float | None, typer.Option()] = None,
    ledger: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Send the requests in turn, and write the measurements."""
    run = _Run(read_requests(requests))
    took = uvloop.run(_send_all(run, port, connections, seconds, rate))
    run.milliseconds.sort()
    run.accepted_milliseconds.sort()
    figures.write_text(
        json.dumps(
            {
                "answers": len(run.milliseconds),
                "seconds": took,
                "p50_ms": _percentile(run.milliseconds, 50),
                "p99_ms": _percentile(run.milliseconds, 99),
                "accepted_p50_ms": _percentile(run.accepted_milliseconds, 50),
                "accepted_p99_ms": _percentile(run.accepted_milliseconds, 99),
                "refused": run.refused,
                "dishonest": run.dishonest,
                "broken": run.broken,
            }
        )
    )
    if ledger is not None:
        ledger.write_text(json.dumps(run.ledger))


if __name__ == "__main__":
    typer.run(main)
