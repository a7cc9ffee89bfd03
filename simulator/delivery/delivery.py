"""Delivery: signed POSTs to the subscribers, with retries and lists of failed deliveries."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ampeco.signature import Encoding, sign
from simulator.delivery.faults import FaultInjector
from simulator.delivery.http_client import Answer, Poster, UnreachableError
from simulator.delivery.ledger import Ledger
from simulator.delivery.subscribers import Subscribers, Subscription
from simulator.fleet.fleet import Notification

#: Deliveries that are sent at the same time.
CONNECTIONS = 16

#: Unfinished deliveries at most. It limits the memory (about 2 kB each) while a subscriber does not
#: answer for long.
MAX_WAITING = 20_000

#: Failed deliveries that are kept for the resend action, at most for one subscription.
MAX_FAILED = 100_000

#: Attempts at one delivery, and the real seconds before the second, which double before each further
#: one. AMPECO publishes neither.
MAX_TRIES = 6
FIRST_RETRY_SECONDS = 0.5

#: Real seconds between two checks for due retries.
RETRY_TICK_SECONDS = 0.05

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A notification on its way to one subscriber."""

    subscription: Subscription
    notification: Notification
    tries_left: int
    wait_seconds: float


class Delivery:
    """The delivery of notifications to their subscriptions.

    The fleet's clock never waits for it: a delivery beyond ``max_waiting``, or one whose last attempt
    fails, goes to its subscription's list of failed deliveries.

    Parameters:
        tenant_id: the value of ``X-Tenant``.
        encoding: the form of ``X-Signature``.
        max_tries: attempts at one delivery, including the first.
        first_retry_seconds: real seconds before the second attempt; they double before each further one.
        max_waiting: unfinished deliveries at most.
    """

    def __init__(
        self,
        subscribers: Subscribers,
        fault_injector: FaultInjector,
        *,
        tenant_id: str,
        encoding: Encoding,
        max_tries: int = MAX_TRIES,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.fault_injector = fault_injector
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self._subscribers = subscribers
        self._tenant_id = tenant_id
        self._encoding = encoding
        self._max_tries = max_tries
        self._first_retry_seconds = first_retry_seconds
        self._max_waiting = max_waiting
        self._queue: asyncio.Queue[_Parcel] = asyncio.Queue()  # bounded by `max_waiting`
        self._retries: list[tuple[float, int, _Parcel]] = []
        self._order = itertools.count()
        self._unfinished = 0
        self._failed: dict[int, deque[Notification]] = {}

    @property
    def waiting(self) -> int:
        """Deliveries that are queued, being sent or between two attempts."""
        return self._unfinished

    def post(self, notifications: Iterable[Notification], now: datetime) -> None:
        """Send the fleet's notifications until ``now``, by the tenant's clock, with injected faults."""
        for notification in self.fault_injector.pass_on(notifications, now):
            self._address(notification)

    def release_held(self) -> None:
        """Send all delayed notifications at once."""
        for notification in self.fault_injector.let_go():
            self._address(notification)

    def emit(self, notification: Notification, subscriptions: Iterable[Subscription]) -> int:
        """Send a notification without faults; return the number of subscriptions."""
        chosen = list(subscriptions)
        for subscription in chosen:
            self._enqueue(subscription, notification, self._max_tries)
        return len(chosen)

    def resend(self, subscription: Subscription, names: set[str], start: datetime | None, end: datetime | None) -> None:
        """Send failed notifications once more; those that fail again return to the list.

        Parameters:
            names: the notification types to send.
            start, end: by the tenant's clock, both included; None sets no limit.
        """
        for notification in self._failed.pop(subscription.id, ()):
            timely = (start is None or notification.at >= start) and (end is None or notification.at <= end)
            if notification.name in names and timely:
                self._enqueue(subscription, notification, 1)
            else:
                self._list_failed(subscription, notification)

    def forget(self, subscription_id: int) -> None:
        """Drop the failed deliveries of a removed subscription."""
        self._failed.pop(subscription_id, None)

    def state(self) -> dict[str, Any]:
        """Return the counts of deliveries by their outcome."""
        return {
            "queued": self.waiting,
            "held": self.fault_injector.held,
            "sent": self.counts["sent"],
            "acknowledged": self.counts["acknowledged"],
            "refused": self.counts["refused"],
            "unreachable": self.counts["unreachable"],
            "failed": self.counts["failed"],
            "overflowed": self.counts["overflowed"],
            **{name: self.fault_injector.counts[name] for name in ("dropped", "duplicated", "delayed", "reordered")},
            "failed_by_subscription": {str(key): len(failed) for key, failed in self._failed.items()},
        }

    async def settle(self, max_seconds: float) -> None:
        """Wait until no delivery is unfinished, but at most ``max_seconds`` real seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max_seconds):
                while self.waiting:  # noqa: ASYNC110 - only when stopping, and for a short time
                    await asyncio.sleep(RETRY_TICK_SECONDS)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._retry())
            for _ in range(CONNECTIONS):
                group.create_task(self._deliver())

    def _address(self, notification: Notification) -> None:
        for subscription in self._subscribers.wanting(notification.name):
            self._enqueue(subscription, notification, self._max_tries)

    def _enqueue(self, subscription: Subscription, notification: Notification, tries: int) -> None:
        if self._unfinished >= self._max_waiting:
            self.counts["overflowed"] += 1
            self._fail(subscription, notification)
            return
        self._unfinished += 1
        self._queue.put_nowait(_Parcel(subscription, notification, tries, self._first_retry_seconds))

    async def _deliver(self) -> None:
        poster = Poster(TIMEOUT_SECONDS)
        try:
            await self._deliver_by(poster)
        finally:
            poster.close()

    async def _deliver_by(self, poster: Poster) -> None:
        while True:
            parcel = await self._queue.get()
            if not self._subscribers.holds(parcel.subscription):  # removed since it was queued
                self._unfinished -= 1
                continue
            answer = await self._send(poster, parcel)
            if answer is not None and answer.is_success:
                self._unfinished -= 1
                self.counts["acknowledged"] += 1
                self.ledger.add(parcel.notification, parcel.subscription.id, answer.status, answer.content)
            elif parcel.tries_left > 1:
                self._try_later(parcel)
            else:
                self._unfinished -= 1
                self._fail(parcel.subscription, parcel.notification)

    async def _send(self, poster: Poster, parcel: _Parcel) -> Answer | None:
        """Make one attempt at a delivery; return None if there is no answer."""
        subscription, notification = parcel.subscription, parcel.notification
        self.counts["sent"] += 1
        timestamp = notification.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        signs_timestamp = subscription.options.get("includeTimestampInSignature", False)
        signature = sign(
            notification.body,
            subscription.token,
            self._encoding,
            timestamp=timestamp,
            coverage="timestamp.body" if signs_timestamp else "body",
        )
        try:
            answer = await poster.post(
                subscription.callback_url,
                {
                    "content-type": "application/json",
                    "X-Signature": signature,
                    "X-Timestamp": timestamp,
                    "X-Tenant": self._tenant_id,
                    "X-Webhook-Id": str(subscription.id),
                    "X-Webhook-Type": notification.name,
                },
                notification.body,
            )
        except UnreachableError:
            self.counts["unreachable"] += 1
            return None
        if not answer.is_success:
            self.counts["refused"] += 1
        return answer

    def _try_later(self, parcel: _Parcel) -> None:
        due = asyncio.get_running_loop().time() + parcel.wait_seconds
        again = _Parcel(parcel.subscription, parcel.notification, parcel.tries_left - 1, parcel.wait_seconds * 2)
        heapq.heappush(self._retries, (due, next(self._order), again))

    async def _retry(self) -> None:
        """Queue the deliveries whose retry is due."""
        while True:
            await asyncio.sleep(RETRY_TICK_SECONDS)
            now = asyncio.get_running_loop().time()
            while self._retries and self._retries[0][0] <= now:
                self._queue.put_nowait(heapq.heappop(self._retries)[2])

    def _fail(self, subscription: Subscription, notification: Notification) -> None:
        self.counts["failed"] += 1
        if self._subscribers.holds(subscription):
            self._list_failed(subscription, notification)

    def _list_failed(self, subscription: Subscription, notification: Notification) -> None:
        self._failed.setdefault(subscription.id, deque(maxlen=MAX_FAILED)).append(notification)
