"""A tenant behind a real port, with a clock that runs and a receiver that listens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from ampeco.api.client import Client
from ampeco.errors import ApiError, NotFound
from ampeco.signature import SigningToken, verify
from simulator.app import Simulator
from simulator.settings import Faults
from tests.unit.simulator.support import (
    RESOURCES,
    START,
    SUBSCRIPTIONS,
    TOKEN,
    Receiver,
    receiving,
    small,
    subscription,
    until,
)

pytestmark = pytest.mark.process

NAMES = ["SessionUpdateNotification", "session.start.stop.notification"]
RESEND = "/public-api/actions/notifications/v1.0/{}/resend"


@contextlib.asynccontextmanager
async def serving(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a tenant that serves on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(simulator.guard, log_config=None, date_header=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await until(lambda: server.started)
            async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
                yield client
        finally:
            server.should_exit = True
            await task


async def subscribed(client: httpx.AsyncClient, receiver: Receiver, *names: str) -> int:
    answer = await client.post(SUBSCRIPTIONS, json=subscription(receiver.url, *(names or NAMES)))
    assert answer.status_code == 201
    made: int = answer.json()["data"]["id"]
    return made


def test_every_method_of_our_own_client_gets_what_it_asks_for() -> None:
    simulator = Simulator(small(), token=TOKEN)
    simulator.runner.is_paused = True
    tenant = simulator.fleet.tenant

    def ask(url: str) -> None:
        with Client(url, SecretStr(TOKEN), per_page=5, max_attempts=1) as client:
            session, evse, charge_point = next(iter(tenant.sessions)), 10_000, 400
            read = client.session(session).resource
            assert (read.id, read.authorization is not None, bool(read.charging_periods)) == (session, True, True)
            assert client.charge_point(charge_point).resource.last_boot_notification is not None
            assert client.evse(evse).resource.connectors
            assert client.location(60).resource.id == 60
            assert client.evse_hardware_status(evse).resource.status == tenant.evses[evse].status
            assert client.charge_point_hardware_status(charge_point).resource.status == "available"
            assert client.charge_point_network_status(charge_point).resource.status == "available"
            assert [one.resource.id for one in client.sessions()] == list(tenant.sessions)
            assert [one.resource.id for one in client.charge_points()] == list(tenant.charge_points)
            assert [one.resource.id for one in client.evses(charge_point_id=charge_point)] == [10_000, 10_004]
            assert [one.resource.id for one in client.locations(last_updated_before=START)] == [60, 61]
            assert [one.resource.id for one in client.authorizations()] == list(tenant.authorizations)
            made = client.subscribe("https://receiver.test/a?b=c", NAMES)
            assert made.id is not None
            client.update_subscription(made.id, "https://receiver.test/d", NAMES[:1])
            (held,) = client.subscriptions()
            assert (held.id, list(held.notifications)) == (made.id, NAMES[:1])
            client.unsubscribe(made.id)
            assert client.subscriptions() == ()
            with pytest.raises(NotFound):
                client.session(1)
        with Client(url, SecretStr("wrong"), max_attempts=1) as stranger, pytest.raises(ApiError):
            stranger.evse(evse)

    async def scene() -> None:
        async with serving(simulator) as client:
            await asyncio.to_thread(ask, str(client.base_url))

    asyncio.run(scene())


@pytest.mark.parametrize(("resign", "signs"), [(True, "the-new-one"), (False, TOKEN)])
def test_after_a_rotation_deliveries_are_signed_with_the_new_or_the_old_token(resign: bool, signs: str) -> None:
    simulator = Simulator(small(), token=TOKEN)
    simulator.runner.is_paused = True

    async def scene() -> tuple[Receiver, int]:
        async with receiving() as receiver, serving(simulator) as client:
            await subscribed(client, receiver, "evse.changed")
            rotated = {"token": "the-new-one", "resign": resign}
            assert (await client.post("/control/rotate-token", json=rotated)).status_code == 200
            await client.post("/control/emit", json={"notification": "evse.changed", "body": {"evseId": 1}})
            await until(lambda: len(receiver.received) == 1)
            return receiver, (await client.get(SUBSCRIPTIONS)).status_code

    receiver, status = asyncio.run(scene())
    (one,) = receiver.received
    signature = one.headers["x-signature"]
    for token in (TOKEN, "the-new-one"):
        match = verify(one.body, signature, [SigningToken.from_secret(token)])
        assert (match is not None) == (token == signs)
    assert status == 401  # with the old token


def test_given_up_deliveries_are_resent_once_and_refused_again_within_fifteen_minutes() -> None:
    simulator = Simulator(small(), token=TOKEN, max_tries=2, first_retry_seconds=0.01)
    simulator.runner.is_paused = True

    async def scene() -> None:
        async with receiving() as receiver, serving(simulator) as client:
            made = await subscribed(client, receiver, "evse.changed")
            receiver.statuses = [500, 500]
            await client.post("/control/emit", json={"notification": "evse.changed", "body": {"evseId": 1}})
            await until(lambda: simulator.delivery.counts["failed"] == 1)
            assert (await client.get("/control/deliveries")).json()["data"] == []
            resend = {"notifications": ["evse.changed"]}
            assert (await client.post(RESEND.format(made), json=resend)).status_code == 202
            await until(lambda: simulator.delivery.counts["acknowledged"] == 1)
            assert (await client.post(RESEND.format(made), json=resend)).status_code == 409
            simulator.fleet.advance(simulator.fleet.now + timedelta(minutes=15))
            assert (await client.post(RESEND.format(made), json=resend)).status_code == 202
            await until(lambda: simulator.delivery.waiting == 0)
            assert len(receiver.received) == 3  # two refused, one resent; nothing was left to resend
            (entry,) = (await client.get("/control/deliveries")).json()["data"]
            assert (entry["notification"], entry["status"]) == ("evse.changed", 202)

    asyncio.run(scene())


def test_the_ledger_holds_exactly_what_the_receiver_acknowledged() -> None:
    simulator = Simulator(small(), token=TOKEN, speed=14_400)

    async def scene() -> tuple[Receiver, list[dict[str, Any]]]:
        async with receiving() as receiver, serving(simulator) as client:
            await subscribed(client, receiver)
            await until(lambda: len(receiver.received) > 50)
            assert (await client.post("/control/pause")).status_code == 204
            await until(lambda: simulator.delivery.waiting == 0)
            paused = (await client.get("/control/state")).json()
            await asyncio.sleep(0.12)
            again = (await client.get("/control/state")).json()
            assert (paused["paused"], again["now"]) == (True, paused["now"])
            ledger = (await client.get("/control/deliveries")).json()["data"]
            assert (await client.post("/control/resume")).status_code == 204
            await until(lambda: len(receiver.received) > len(ledger))
            return receiver, ledger

    receiver, ledger = asyncio.run(scene())
    # The receiver gives each delivery its number as an id.
    assert sorted(int(entry["id"]) for entry in ledger) == list(range(1, len(ledger) + 1))
    assert {one.headers["x-webhook-type"] for one in receiver.received} == set(NAMES)


def test_a_subscriber_that_never_answers_holds_up_neither_the_clock_nor_the_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("simulator.app.LEAVE_SECONDS", 0.05)
    simulator = Simulator(small(), token=TOKEN, speed=14_400, max_waiting=20)

    async def scene(address: str) -> None:
        async with serving(simulator) as client:
            await subscribed(client, Receiver(url=address))
            await until(lambda: simulator.delivery.counts["overflowed"] > 50)
            begun = simulator.fleet.now
            await until(lambda: simulator.fleet.now > begun + timedelta(hours=1))
            assert (await client.get(f"{RESOURCES}/evses/v2.1")).status_code == 200
            state = (await client.get("/control/state")).json()["deliveries"]
            assert (state["queued"], state["acknowledged"]) == (20, 0)

    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # accepts connections and never reads
        asyncio.run(scene(f"http://127.0.0.1:{silent.getsockname()[1]}/"))


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("fault", ["duplicate", "drop", "reorder", "delay"])
def test_a_share_of_none_changes_nothing_on_the_wire_and_a_share_of_all_everything(fault: str, share: float) -> None:
    settings = Faults.model_validate({fault: share, "reorder_seconds": 1_800, "delay_min_seconds": 1_800})
    simulator = Simulator(small(), token=TOKEN, faults=settings)
    generated = simulator.fleet.advance(START + timedelta(hours=1))
    bodies = [one.body for one in generated if one.name in NAMES]

    async def scene() -> list[bytes]:
        async with receiving() as receiver:
            body = subscription(receiver.url, *NAMES)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            transport = httpx.ASGITransport(simulator.guard)
            async with httpx.AsyncClient(transport=transport, base_url="http://tenant.test", headers=headers) as client:
                assert (await client.post(SUBSCRIPTIONS, json=body)).status_code == 201
            delivering = asyncio.create_task(simulator.delivery.run())
            for quarters in range(1, 10):  # the tenant's clock advances for two hours, and the last hold ends
                at = START + timedelta(minutes=15 * quarters)
                simulator.delivery.post([one for one in generated if at - timedelta(minutes=15) < one.at <= at], at)
                await until(lambda: simulator.delivery.waiting == 0)
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
        return [one.body for one in receiver.received]

    received = asyncio.run(scene())
    times = {"duplicate": 2, "drop": 0}.get(fault, 1) if share else 1
    assert sorted(received) == sorted(bodies * times)
    assert len(bodies) > 20
