"""Delivery: signed POSTs to the subscribers, with retries and a list of what failed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from ampeco.signature import Encoding, sign
from simulator.fleet import Notification
from simulator.settings import Faults

if TYPE_CHECKING:
    from simulator.subscriptions import Subscription, Subscriptions

#: Deliveries under way at once, and most that wait for their turn.
CONNECTIONS = 16
MOST_WAITING = 20_000

#: Tries of one delivery, and the real seconds before the second; doubled each time after.
MOST_TRIES = 6
FIRST_RETRY_SECONDS = 0.5

TIMEOUT_SECONDS = 10.0

#: Acknowledged deliveries that the ledger still shows.
LEDGER_LENGTH = 200_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A delivery that was answered with a 2xx."""

    name: str
    sha256: str
    status: int
    answer: str


@dataclass(frozen=True, slots=True)
class _Parcel:
    subscription: Subscription
    notification: Notification
    tries: int = 0


class Delivery:
    """Sends notifications to whoever subscribed to them.

    Faults are drawn by a generator of their own, so that they never change what happens
    in the fleet.
    """

    def __init__(self, subscriptions: Subscriptions, *, tenant_id: str, encoding: Encoding, seed: int) -> None:
        self._subscriptions = subscriptions
        self._tenant_id = tenant_id
        self._encoding = encoding
        self._rng = random.Random(seed + 1)  # noqa: S311 - faults, not secrets
        self._queue: asyncio.Queue[_Parcel] = asyncio.Queue(MOST_WAITING)
        self._held: list[tuple[datetime, int, Notification]] = []
        self._order = itertools.count()
        self._failed: dict[int, deque[Notification]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self.ledger: deque[Acknowledged] = deque(maxlen=LEDGER_LENGTH)

    @property
    def waiting(self) -> int:
        """Deliveries that are not settled: queued, held back or between two tries."""
        return self.counts["queued"] - self.counts["acknowledged"] - self.counts["failed"] + len(self._held)

    def post(self, notifications: list[Notification], now: datetime) -> None:
        """Take what the fleet told, and let the faults have their way with it."""
        for notification in notifications:
            if self._rng.random() < self.faults.drop:
                self.counts["dropped"] += 1
                continue
            copies = 2 if self._rng.random() < self.faults.duplicate else 1
            for _ in range(copies):
                held = self._held_back()
                if held:
                    until = notification.at + timedelta(seconds=held)
                    heapq.heappush(self._held, (until, next(self._order), notification))
                else:
                    self._address(notification)
        while self._held and self._held[0][0] <= now:
            self._address(heapq.heappop(self._held)[2])

    def _held_back(self) -> float:
        """For how many of the tenant's seconds a notification is held back."""
        if self._rng.random() < self.faults.delay:
            return self._rng.uniform(0, self.faults.delay_seconds)
        if self._rng.random() < self.faults.reorder:
            return self._rng.uniform(0, self.faults.reorder_seconds)
        return 0.0

    def _address(self, notification: Notification) -> None:
        for subscription in self._subscriptions.wanting(notification.name):
            self._enqueue(_Parcel(subscription, notification))

    def _enqueue(self, parcel: _Parcel) -> None:
        self.counts["queued"] += 1
        try:
            self._queue.put_nowait(parcel)
        except asyncio.QueueFull:  # the fleet's clock does not wait for slow subscribers
            self._give_up(parcel)

    def resend(self, subscription_id: int, names: set[str], start: datetime | None, end: datetime | None) -> None:
        """Send what failed once more; what fails again is listed as failed again."""
        subscription = self._subscriptions.by_id[subscription_id]
        failed = self._failed.pop(subscription_id, deque())
        for notification in failed:
            timely = (start is None or notification.at >= start) and (end is None or notification.at <= end)
            if notification.name in names and timely:
                self._enqueue(_Parcel(subscription, notification, MOST_TRIES - 1))
            else:
                self._failed.setdefault(subscription_id, deque()).append(notification)

    def failed(self) -> dict[int, int]:
        """How many deliveries failed for good, by subscription."""
        return {subscription_id: len(failed) for subscription_id, failed in self._failed.items()}

    async def run(self) -> None:
        """Deliver until cancelled."""
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS) as client, asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._deliver(client))

    async def _deliver(self, client: httpx.AsyncClient) -> None:
        while True:
            parcel = await self._queue.get()
            subscription, notification = parcel.subscription, parcel.notification
            if subscription.id not in self._subscriptions.by_id:
                self.counts["failed"] += 1  # unsubscribed meanwhile
                continue
            answer: httpx.Response | None = None
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.post(
                    subscription.callback_url,
                    content=notification.body,
                    headers=self._headers(subscription, notification),
                )
            if answer is not None and answer.is_success:
                self.counts["acknowledged"] += 1
                digest = hashlib.sha256(notification.body).hexdigest()
                self.ledger.append(Acknowledged(notification.name, digest, answer.status_code, answer.text))
            else:
                self.counts["refused" if answer is not None else "unreachable"] += 1
                self._try_again(parcel)

    def _headers(self, subscription: Subscription, notification: Notification) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "X-Signature": sign(notification.body, subscription.token, self._encoding),
            "X-Timestamp": notification.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "X-Tenant": self._tenant_id,
            "X-Webhook-Id": str(subscription.id),
            "X-Webhook-Type": notification.name,
        }

    def _try_again(self, parcel: _Parcel) -> None:
        tries = parcel.tries + 1
        if tries >= MOST_TRIES:
            self._give_up(parcel)
            return
        again = _Parcel(parcel.subscription, parcel.notification, tries)

        async def later() -> None:
            await asyncio.sleep(FIRST_RETRY_SECONDS * 2 ** (tries - 1))
            await self._queue.put(again)

        task = asyncio.create_task(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _give_up(self, parcel: _Parcel) -> None:
        self.counts["failed"] += 1
        self._failed.setdefault(parcel.subscription.id, deque()).append(parcel.notification)


def state(delivery: Delivery) -> dict[str, Any]:
    """Deliveries by what became of them."""
    return dict(delivery.counts) | {"waiting": delivery.waiting, "failed_by_subscription": delivery.failed()}
