"""Whatever stands at a tenant's address and answers: it costs that one thing, bounded time and memory."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from ampeco.api.transport import MAX_ANSWER_BYTES
from storage.sync import absent_entities, sync_runs
from tests.support.ampeco import FakeAmpeco, shown
from tests.support.deployment import Deployment
from tests.support.facts import sample
from tests.support.service import eventually, running, serving
from workers.api.context import create_context
from workers.api.pause import paused_for
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import sync_pages

EVSE = "evses/v2.1/902"
CHARGE_POINT = "charge-points/v2.0/418"

Answers = Callable[[Request], Response]


def as_json(content: bytes) -> Answers:
    return lambda _request: Response(content, headers={"content-type": "application/json"})


async def without_end() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65_536
        await asyncio.sleep(0)


@cache
def gzip_bomb() -> Response:
    """Some kilobytes that unpack to four times what an answer may have."""
    packer, mebibyte = zlib.compressobj(wbits=31), 1 << 20  # 31: in the form of gzip
    blanks = [packer.compress(b" " * mebibyte) for _ in range(4 * MAX_ANSWER_BYTES // mebibyte)]
    content = b"".join([*blanks, packer.flush()])
    return Response(content, headers={"content-type": "application/json", "content-encoding": "gzip"})


#: Unusable answers about one EVSE, and a part of the error that each one gives.
HOSTILE: dict[str, tuple[Answers, str]] = {
    "a gzip bomb": (lambda _: gzip_bomb(), "more than 32 MiB"),
    "no end": (lambda _: StreamingResponse(without_end(), media_type="application/json"), "more than 32 MiB"),
    "10,000 deep": (as_json(b"[" * 10_000), "should be JSON"),
    "NaN": (as_json(b'{"data": {"id": 902, "maxPower": NaN}}'), "should be JSON"),
    "cut off": (as_json(b'{"data": {"id": 902'), "should be JSON"),
    "no object": (as_json(b'{"data": [1, 2]}'), "not an object"),
    "a number": (as_json(b"17"), "not an object"),
    "nothing": (as_json(b""), "not an object"),
    "another one": (as_json(json.dumps({"data": shown("evse_read") | {"id": 903}}).encode()), "about evse 903"),
    "beyond bigint": (as_json(json.dumps({"data": shown("evse_read") | {"id": 2**70}}).encode()), "id"),
    "a teapot": (lambda _: JSONResponse({"message": "no" * 5_000, "errors": {"id": [None, {"a": []}]}}, 418), "418"),
    "an error of its own": (lambda _: JSONResponse({"message": "Server Error"}, 500), "500"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_unusable_answer_affects_only_its_own_entity(deployment: Deployment, name: str) -> None:
    # Given an EVSE of which AMPECO answers something hostile, and its charge point
    answers, error = HOSTILE[name]
    deployment.ampeco.answers[EVSE] = answers
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    # When both are read, each when it is due
    tracemalloc.start()
    eventually(lambda: deployment.refresh(due=False) or deployment.service.count("charging.charge_point"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Then the charge point is known, and the EVSE waits with what was wrong
    assert deployment.row("charge_point")["name"] == "Quayside 1"
    (waiting,) = deployment.service.query("SELECT * FROM ingest.refresh_request WHERE kind = 'evse'")
    assert error in waiting["last_error"]
    assert len(waiting["last_error"]) < 500
    assert waiting["attempts"] >= 1
    assert deployment.service.count("charging.evse WHERE evse_id = 903") == 0
    assert peak < 5 * MAX_ANSWER_BYTES
    # And once it is answered soundly, all is settled
    del deployment.ampeco.answers[EVSE]
    while deployment.refresh():
        pass
    assert deployment.row("evse")["physical_reference"] == "QC-418-1"


@pytest.mark.parametrize(
    "answers",
    [
        lambda _: RedirectResponse("http://127.0.0.1:1/elsewhere"),
        lambda _: Response("<html>maintenance</html>", media_type="text/html"),
        lambda _: Response("<html>not here</html>", 404, media_type="text/html"),
    ],
    ids=["a redirect", "a page", "a proxy's 404"],
)
def test_what_is_no_answer_of_ampecos_pauses_the_tenant_and_deletes_nothing(
    deployment: Deployment, answers: Answers
) -> None:
    deployment.ampeco.answers[EVSE] = deployment.ampeco.answers[CHARGE_POINT] = answers
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    assert 0 < paused_for(deployment.context.redis, "demo") <= 300
    assert deployment.row("evse")["deleted_at"] is None


@pytest.mark.parametrize(
    "asked", ["1000000000000", "-1000000000000", "Fri, 31 Dec 9999 23:59:59 GMT", "NaN", "1e400", "soon", "\u0663"]
)
def test_no_delay_that_is_asked_for_silences_a_tenant_for_good(deployment: Deployment, asked: str) -> None:
    headers = {"Retry-After": asked.encode("latin-1", "replace").decode("latin-1"), "X-RateLimit-Reset": "9" * 40}
    deployment.ampeco.answers[EVSE] = lambda _: JSONResponse({"message": "slower"}, 429, headers=headers)
    deployment.ampeco.answers[CHARGE_POINT] = deployment.ampeco.answers[EVSE]
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    assert 0 < paused_for(deployment.context.redis, "demo") <= 3_600


def test_an_answer_that_drips_is_given_up(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b" "
            await asyncio.sleep(0.1)

    ampeco = FakeAmpeco()
    ampeco.answers[EVSE] = lambda _: StreamingResponse(drip(), media_type="application/json")
    with (
        running(ampeco.app) as api_url,
        serving(database_url, redis_url, tmp_path, api_url=api_url, api_timeout=0.5) as service,
        create_context(service.settings, process="tests") as context,
    ):
        deployment = Deployment(service, context, ampeco)
        deployment.deliver(sample("HardwareStatusNotification.evse"))
        began = time.monotonic()
        deployment.refresh()
        assert time.monotonic() - began < 30
        assert paused_for(context.redis, "demo") > 0


def listing(*pages: dict[str, Any]) -> Answers:
    """Pages in turn, and then from the first again."""
    given = iter(range(10**9))
    return lambda _request: JSONResponse(pages[next(given) % len(pages)])


def page(number: int, following: str | None, *users: int) -> dict[str, Any]:
    data = [{"id": user, "status": "enabled", "lastUpdatedAt": "2026-03-04T07:00:00+00:00"} for user in users]
    return {"data": data, "links": {"next": following and f"https://elsewhere.example/{number}?cursor={following}"}}


@pytest.mark.parametrize(
    ("pages", "error"),
    [
        ([page(1, "a", 1), page(2, "b", 2), page(3, "a", 3)], "leads back"),
        ([page(1, "a", 1), page(2, "a", 2)], "leads back"),
        ([{"data": {"id": 1}}], "without a list"),
        ([{"data": [], "links": {"next": 7}, "meta": {"next_cursor": "x"}}], None),
    ],
    ids=["a loop", "the page itself", "no list", "a link that is none"],
)
def test_a_listing_without_end_ends(deployment: Deployment, pages: list[dict[str, Any]], error: str | None) -> None:
    deployment.ampeco.answers["users/v1.1"] = listing(*pages)
    with deployment.service.engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "demo", "user", "backfill", None)
    assert sync_run is not None
    if error is None:
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
        return
    with pytest.raises(CallDeferredError, match=error):
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
    assert deployment.ampeco.calls["users/v1.1"] < 10
    assert paused_for(deployment.context.redis, "demo") == 0
    (left,) = deployment.service.query("SELECT last_error FROM ingest.sync_run")
    assert error in left["last_error"]


def test_a_listing_that_fails_holds_up_no_other_kind(deployment: Deployment) -> None:
    deployment.ampeco.answers["users/v1.1"] = lambda _: JSONResponse({"message": "Server Error"}, 500)
    with deployment.service.engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "demo", "user", "backfill", None)
    assert sync_run is not None
    with pytest.raises(CallDeferredError) as held:
        list(sync_pages(deployment.context, sync_run, reason="backfill"))
    assert held.value.is_final
    assert paused_for(deployment.context.redis, "demo") == 0


def test_a_listing_that_shows_nothing_asks_for_a_few_and_deletes_no_one(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given four users that are known and there
    for user_id in range(1, 5):
        deployment.deliver(sample("userBalance.changed") | {"userId": user_id, "transactionId": None})
        deployment.ampeco.resources[f"users/v1.1/{user_id}"] = page(1, None, user_id)["data"][0]
    deployment.refresh()
    # When their whole listing shows none of them
    monkeypatch.setattr(absent_entities, "MAX_ABSENT", 2)
    deployment.ampeco.answers["users/v1.1"] = listing(page(1, None))
    with deployment.service.engine.begin() as connection:
        sync_run = sync_runs.begin(connection, "demo", "user", "reconcile", None)
        connection.execute(text("UPDATE charging.resource SET first_seen_at = first_seen_at - interval '1 hour'"))
        for group in ("presence", "master"):
            connection.execute(text(f"UPDATE charging.resource SET {group}_at = {group}_at - interval '1 hour'"))
    assert sync_run is not None
    list(sync_pages(deployment.context, sync_run, reason="reconcile"))
    # Then a few are asked for by themselves, and as they are there, they stay
    assert deployment.waiting() == 2
    del deployment.ampeco.answers["users/v1.1"]
    deployment.refresh()
    assert deployment.service.count("charging.resource WHERE deleted_at IS NULL") == 4
    assert deployment.waiting() == 0


def test_a_page_that_lists_one_twice_settles_it_once(deployment: Deployment) -> None:
    for user_id in range(1, 5):
        deployment.deliver(sample("userBalance.changed") | {"userId": user_id, "transactionId": None})
    users = page(1, None, 1, 2, 2, 3, 4, 4)
    deployment.ampeco.answers["users/v1.1"] = listing(users)
    assert deployment.refresh() == 4
    assert deployment.waiting() == 0
