"""Delivery: signed, repeated until acknowledged, listed when it failed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from ampeco.signature import Encoding, SigningToken, verify
from simulator.app import Simulator
from simulator.delivery.subscribers import Subscription
from simulator.fleet.fleet import Notification
from simulator.settings import Faults
from tests.unit.simulator.support import START, TOKEN, Receiver, delivering, receiving, small, until

pytestmark = pytest.mark.process

NAME = "HardwareStatusNotification"


def notification(number: int, name: str = NAME) -> Notification:
    body = orjson.dumps({"notification": name, "number": number})
    return Notification(name, START + timedelta(seconds=number, microseconds=215_334), body)


def subscribe(simulator: Simulator, url: str, *names: str, number: int = 21) -> Subscription:
    made = Subscription(number, url, list(names or (NAME,)), TOKEN)
    simulator.subscribers.by_id[made.id] = made
    return made


def delivered(
    scene: Callable[[Simulator, Receiver, Subscription], Coroutine[Any, Any, None]], **changes: Any
) -> tuple[Simulator, Receiver]:
    """Play a scene with a tenant that delivers and one receiver that subscribed to one name."""
    options = {"first_retry_seconds": 0.01, **changes}
    simulator = Simulator(options.pop("settings", small()), token=TOKEN, **options)

    async def play() -> Receiver:
        async with receiving() as receiver, delivering(simulator):
            await scene(simulator, receiver, subscribe(simulator, receiver.url))
        return receiver

    return simulator, asyncio.run(play())


async def settled(simulator: Simulator) -> None:
    await until(lambda: simulator.delivery.waiting == 0)


@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_delivery_is_signed_with_the_token_that_subscribed(encoding: Encoding) -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    _, receiver = delivered(scene, settings=small(signature_encoding=encoding, tenant_id="a-tenant"))
    (one,) = receiver.received
    match = verify(one.body, one.headers["x-signature"], [SigningToken.from_secret(TOKEN)], (encoding,))
    assert match is not None
    assert one.body == notification(1).body
    assert one.headers["x-timestamp"] == "2026-03-04T00:00:01.215334Z"
    assert one.headers["x-tenant"] == "a-tenant"
    assert one.headers["x-webhook-id"] == "21"
    assert one.headers["x-webhook-type"] == NAME
    assert one.headers["content-type"] == "application/json"


def test_only_what_was_subscribed_to_is_sent_once_for_each_subscription() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        subscribe(simulator, receiver.url, number=22)
        simulator.delivery.post([notification(1), notification(2, "evse.changed")], START)
        await settled(simulator)

    _, receiver = delivered(scene)
    assert [one.body for one in receiver.received] == [notification(1).body] * 2
    assert {one.headers["x-webhook-id"] for one in receiver.received} == {"21", "22"}


def test_a_delivery_is_repeated_until_it_is_acknowledged() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        receiver.statuses = [503, 401, 302, 500]
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    simulator, receiver = delivered(scene)
    assert [one.body for one in receiver.received] == [notification(1).body] * 5
    state = simulator.delivery.state()
    assert (state["sent"], state["refused"], state["acknowledged"], state["failed"]) == (5, 4, 1, 0)


def test_what_keeps_failing_is_listed_and_a_resend_sends_it_once_more() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        receiver.statuses = [503] * 2 * 3
        simulator.delivery.post([notification(1), notification(2)], START)
        await settled(simulator)
        assert simulator.delivery.state()["failed_by_subscription"] == {"21": 2}
        receiver.received.clear()
        receiver.statuses = [503]  # the first of the two fails again
        simulator.delivery.resend(made, {NAME}, None, None)
        await settled(simulator)
        assert len(receiver.received) == 2
        assert simulator.delivery.state()["failed_by_subscription"] == {"21": 1}

    delivered(scene, max_tries=3)


def test_a_resend_is_limited_to_names_and_times() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        receiver.statuses = [503] * 3
        simulator.delivery.post([notification(number) for number in (1, 2, 3)], START)
        await settled(simulator)
        receiver.received.clear()
        at: Callable[[int], datetime] = lambda number: notification(number).at  # noqa: E731
        simulator.delivery.resend(made, {"evse.changed"}, None, None)
        simulator.delivery.resend(made, {NAME}, at(2), at(2))
        await settled(simulator)
        assert [one.body for one in receiver.received] == [notification(2).body]
        assert simulator.delivery.state()["failed_by_subscription"] == {"21": 2}

    delivered(scene, max_tries=1)


def test_an_unreachable_subscriber_fails_its_own_deliveries_alone() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        subscribe(simulator, "http://127.0.0.1:9/unreachable", number=22)
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    simulator, receiver = delivered(scene, max_tries=2)
    assert len(receiver.received) == 1
    state = simulator.delivery.state()
    assert (state["unreachable"], state["failed_by_subscription"]) == (2, {"22": 1})


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".test"])
def test_a_name_that_cannot_be_looked_up_is_unreachable_and_nothing_worse(host: str) -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        subscribe(simulator, f"http://{host}/", number=22)
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    simulator, receiver = delivered(scene, max_tries=1)
    assert len(receiver.received) == 1
    assert simulator.delivery.state()["failed_by_subscription"] == {"22": 1}


def test_a_full_queue_fails_what_finds_no_room_and_blocks_nothing() -> None:
    simulator = Simulator(small(), token=TOKEN, max_waiting=10)
    subscribe(simulator, "http://127.0.0.1:9/unreachable")
    simulator.delivery.post([notification(number) for number in range(25)], START)
    state = simulator.delivery.state()
    assert (state["queued"], state["overflowed"], state["failed"]) == (10, 15, 15)
    assert state["failed_by_subscription"] == {"21": 15}


def test_what_waits_for_a_removed_subscription_is_let_go() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        simulator.delivery.post([notification(1)], START)
        del simulator.subscribers.by_id[made.id]
        await settled(simulator)
        assert receiver.received == []

    delivered(scene)


def test_the_ledger_holds_each_acknowledged_delivery_with_its_answered_id() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        receiver.statuses = [503]
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    simulator, _ = delivered(scene)
    digest = hashlib.sha256(notification(1).body).hexdigest()
    entry = {"number": 1, "subscription_id": 21, "notification": NAME, "sha256": digest, "status": 202, "id": "2"}
    assert simulator.delivery.ledger.page(0) == {"data": [entry], "meta": {"total": 1, "dropped": 0}}
    assert simulator.delivery.ledger.page(1)["data"] == []


@pytest.mark.parametrize(("faults", "times"), [(Faults(drop=1), 0), (Faults(duplicate=1), 2)])
def test_faults_reach_the_wire(faults: Faults, times: int) -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        simulator.delivery.post([notification(1)], START)
        await settled(simulator)

    _, receiver = delivered(scene, faults=faults)
    assert [one.body for one in receiver.received] == [notification(1).body] * times


def test_a_thousand_notifications_arrive_whole() -> None:
    async def scene(simulator: Simulator, receiver: Receiver, made: Subscription) -> None:
        simulator.delivery.post([notification(number) for number in range(1_000)], START)
        await settled(simulator)

    _, receiver = delivered(scene)
    assert sorted(one.body for one in receiver.received) == sorted(notification(n).body for n in range(1_000))
