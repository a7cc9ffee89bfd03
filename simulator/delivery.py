"""Delivery: signed POSTs to the subscribers, with retries and a list of what failed."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ampeco.signature import Encoding, sign
from simulator.fault_injector import FaultInjector
from simulator.fleet import Notification
from simulator.ledger import Ledger
from simulator.posting import Answer, Poster, UnreachableError

if TYPE_CHECKING:
    from simulator.subscriptions import Subscription, Subscriptions

#: Deliveries under way at once.
CONNECTIONS = 16

#: Deliveries that are not settled yet, most: a subscriber that is away for long costs so
#: much memory (some 2 kB each) and no more.
MAX_WAITING = 20_000

#: Failed deliveries that are kept for the resend action, most for one subscription.
MAX_FAILED = 100_000

#: Tries of one delivery, and the real seconds before the second; doubled each time after.
#: AMPECO publishes neither.
MAX_TRIES = 6
FIRST_RETRY_SECONDS = 0.5

#: Real seconds between two looks at whose turn to be tried again has come.
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
    """Sends notifications to whoever subscribed to them, and to nobody else.

    The fleet's clock never waits for it: what finds no room, or keeps failing, goes to its
    subscription's list of failed deliveries.

    Parameters:
        tenant_id: what ``X-Tenant`` says.
        encoding: the form of ``X-Signature``.
        max_tries: tries of one delivery, the first included.
        first_retry_seconds: real seconds before the second try; doubled each time after.
    """

    def __init__(
        self,
        subscriptions: Subscriptions,
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
        self._subscriptions = subscriptions
        self._tenant_id = tenant_id
        self._encoding = encoding
        self._max_tries = max_tries
        self._first_retry_seconds = first_retry_seconds
        self._max_waiting = max_waiting
        self._queue: asyncio.Queue[_Parcel] = asyncio.Queue()  # bounded by what is unsettled
        self._retries: list[tuple[float, int, _Parcel]] = []
        self._order = itertools.count()
        self._unsettled = 0
        self._failed: dict[int, deque[Notification]] = {}

    @property
    def waiting(self) -> int:
        """Deliveries that are queued, under way or between two tries."""
        return self._unsettled

    def post(self, notifications: Iterable[Notification], now: datetime) -> None:
        """Take what the fleet told until ``now``, by the tenant's clock."""
        for notification in self.fault_injector.pass_on(notifications, now):
            self._address(notification)

    def release_held(self) -> None:
        """Send at once what is held back."""
        for notification in self.fault_injector.let_go():
            self._address(notification)

    def emit(self, notification: Notification, subscriptions: Iterable[Subscription]) -> int:
        """Send a notification past all faults; returns to how many subscriptions."""
        chosen = list(subscriptions)
        for subscription in chosen:
            self._enqueue(subscription, notification, self._max_tries)
        return len(chosen)

    def resend(self, subscription: Subscription, names: set[str], start: datetime | None, end: datetime | None) -> None:
        """Send what failed once more; what fails again is listed as failed again."""
        for notification in self._failed.pop(subscription.id, ()):
            timely = (start is None or notification.at >= start) and (end is None or notification.at <= end)
            if notification.name in names and timely:
                self._enqueue(subscription, notification, 1)
            else:
                self._list_failed(subscription, notification)

    def forget(self, subscription_id: int) -> None:
        """Let go of what is kept for a subscription that is gone."""
        self._failed.pop(subscription_id, None)

    def state(self) -> dict[str, Any]:
        """Counts of deliveries, by what became of them."""
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
            "failed_by_subscription": {str(key): len(failed) for key, failed in self._failed.items()},  # JSON's keys
        }

    async def settle(self, max_seconds: float) -> None:
        """Wait until nothing waits, or for so many real seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max_seconds):
                while self.waiting:  # noqa: ASYNC110 - only when stopping, and not for long
                    await asyncio.sleep(RETRY_TICK_SECONDS)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._retry())
            for _ in range(CONNECTIONS):
                group.create_task(self._deliver())

    def _address(self, notification: Notification) -> None:
        for subscription in self._subscriptions.wanting(notification.name):
            self._enqueue(subscription, notification, self._max_tries)

    def _enqueue(self, subscription: Subscription, notification: Notification, tries: int) -> None:
        if self._unsettled >= self._max_waiting:
            self.counts["overflowed"] += 1
            self._fail(subscription, notification)
            return
        self._unsettled += 1
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
            if not self._subscriptions.holds(parcel.subscription):  # unsubscribed meanwhile
                self._unsettled -= 1
                continue
            answer = await self._send(poster, parcel)
            if answer is not None and answer.is_success:
                self._unsettled -= 1
                self.counts["acknowledged"] += 1
                self.ledger.add(parcel.notification, parcel.subscription.id, answer.status, answer.content)
            elif parcel.tries_left > 1:
                self._try_later(parcel)
            else:
                self._unsettled -= 1
                self._fail(parcel.subscription, parcel.notification)

    async def _send(self, poster: Poster, parcel: _Parcel) -> Answer | None:
        """One try; None where nobody answered."""
        subscription, notification = parcel.subscription, parcel.notification
        self.counts["sent"] += 1
        try:
            answer = await poster.post(
                subscription.callback_url,
                {
                    "content-type": "application/json",
                    "X-Signature": sign(notification.body, subscription.token, self._encoding),
                    "X-Timestamp": notification.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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
        """Queue what is due to be tried again."""
        while True:
            await asyncio.sleep(RETRY_TICK_SECONDS)
            now = asyncio.get_running_loop().time()
            while self._retries and self._retries[0][0] <= now:
                self._queue.put_nowait(heapq.heappop(self._retries)[2])

    def _fail(self, subscription: Subscription, notification: Notification) -> None:
        self.counts["failed"] += 1
        if self._subscriptions.holds(subscription):
            self._list_failed(subscription, notification)

    def _list_failed(self, subscription: Subscription, notification: Notification) -> None:
        self._failed.setdefault(subscription.id, deque(maxlen=MAX_FAILED)).append(notification)
