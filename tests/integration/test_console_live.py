"""Streams of the console: one question a second for all pages, and no page misses anything."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import Connection, QueuePool, text

from receiver.console.access.sign_in import SignIns
from receiver.console.access.users import Users
from receiver.console.console import STATEMENT_TIMEOUT, Console
from receiver.console.live.poller import KEPT_MESSAGES, MISSED, Message, Poller, Topic
from receiver.console.live.stream import encode
from receiver.console.rendering import create_environment
from receiver.console.replays import Replays
from storage.database import create_database_engine, create_reading_engine
from storage.sync import api_usage
from storage.sync.api_usage import Calls
from tests.support.console import serving_console
from tests.support.page_text import words
from tests.support.service import Service


class Counter:
    """A source that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, connection: Connection) -> Mapping[str, Any]:
        self.count += 1
        return {"count": connection.execute(text("SELECT CAST(:count AS integer)"), {"count": self.count}).scalar_one()}


@pytest.fixture
def console(service: Service) -> Iterator[Console]:
    url = service.settings.required_database_url()
    acting = create_database_engine(url, application_name="tests", pool_size=1)
    made = Console(
        service.settings,
        SignIns(Users({})),
        create_reading_engine(url, application_name="tests", pool_size=2, statement_timeout=STATEMENT_TIMEOUT),
        acting,
        create_environment(),
        Replays(acting),
    )
    yield made
    made.reading.dispose()
    made.acting.dispose()


async def collect(poller: Poller, messages: int, *, after: str | None = None) -> list[Message]:
    collected: list[Message] = []
    async with contextlib.aclosing(poller.follow("count", after)) as followed:
        async for message in followed:
            collected.append(message)
            if len(collected) == messages:
                break
    return collected


def run(console: Console, test: Any, *, is_complete: bool = True) -> Counter:
    """Run a coroutine function with a poller whose topic counts."""
    counter = Counter()
    topic = Topic("live/as_of.html", counter, is_complete)

    async def main() -> None:
        poller = Poller(console, {"count": topic})
        poller.start()
        try:
            with anyio.fail_after(60):
                await test(poller)
        finally:
            await poller.stop()

    anyio.run(main)
    return counter


def test_a_question_that_is_under_way_ends_before_its_connection_is_closed(console: Console) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer_late(connection: Connection) -> Mapping[str, Any]:
        connection.execute(text("SELECT 1"))
        asked.set()
        assert may_answer.wait(30)
        return {}

    async def stop_amid_a_question() -> None:
        poller = Poller(console, {"late": Topic("live/as_of.html", answer_late, followers=1)})
        poller.start()
        await asyncio.to_thread(asked.wait, 30)
        stopping = asyncio.create_task(poller.stop())
        _, waiting = await asyncio.wait({stopping}, timeout=0.2)
        may_answer.set()
        await stopping
        assert waiting, "it stopped in the middle of a question"

    asyncio.run(stop_amid_a_question())
    assert isinstance(console.reading.pool, QueuePool)
    assert console.reading.pool.checkedout() == 0


def test_many_pages_cost_no_more_than_one(console: Console) -> None:
    async def test(poller: Poller) -> None:
        async with anyio.create_task_group() as pages:
            for _ in range(50):
                pages.start_soon(collect, poller, 3)

    assert run(console, test).count <= 4  # one more if a page began between two questions


def test_nothing_is_asked_while_no_page_is_open(console: Console) -> None:
    async def test(poller: Poller) -> None:
        await collect(poller, 1)
        asked = len(poller._topics["count"].messages)
        await anyio.sleep(2.5)
        assert len(poller._topics["count"].messages) == asked

    run(console, test)


def test_a_page_that_returns_gets_what_it_missed(console: Console) -> None:
    async def test(poller: Poller) -> None:
        async with anyio.create_task_group() as pages:
            pages.start_soon(collect, poller, 6)  # another page keeps the topic going
            first, second = await collect(poller, 2)
            await anyio.sleep(1.2)
            missed = await collect(poller, 3, after=first.message_id)
            assert missed[0].message_id == second.message_id
            assert len({message.message_id for message in missed}) == 3

    run(console, test, is_complete=False)


def test_a_page_that_missed_too_much_loads_itself_again(console: Console) -> None:
    async def test(poller: Poller) -> None:
        assert await collect(poller, 1, after="another-process-7") == [MISSED]

    run(console, test, is_complete=False)
    assert KEPT_MESSAGES >= 60


def test_a_message_is_encoded_line_by_line() -> None:
    assert encode(Message("a-1", "", "<p>one\n</p>")) == "id: a-1\ndata: <p>one\ndata: </p>\n\n"
    assert encode(MISSED) == "event: missed\ndata: \n\n"


def test_a_page_shows_that_postgres_does_not_answer_and_recovers(service: Service) -> None:
    with serving_console(service.settings) as running:

        def first_message() -> str:
            with running.looker.stream("GET", "/live/now") as answer:
                lines = answer.iter_lines()
                return next(line for line in lines if line.startswith("data:"))

        assert "Postgres does not answer" not in first_message()
        with service.engine.begin() as connection:
            name = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%console'")
            )
            assert name
        assert running.looker.get("/").status_code == httpx.codes.OK


def test_a_question_that_takes_too_long_is_withdrawn(console: Console) -> None:
    with pytest.raises(Exception, match="statement timeout"), console.reading.begin() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))


def test_a_page_that_takes_too_long_says_so_and_is_there_later(service: Service) -> None:
    with serving_console(service.settings) as running:
        with service.engine.begin() as connection:
            connection.execute(text("LOCK TABLE analytics.finding IN ACCESS EXCLUSIVE MODE"))
            page = running.looker.get("/findings")
        assert page.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "This takes too long" in page.text
        assert "narrow the time or the filter" in words(page.text)
        assert running.looker.get("/findings").status_code == httpx.codes.OK


def test_pages_cannot_write(console: Console) -> None:
    with pytest.raises(Exception, match="read-only transaction"), console.reading.begin() as connection:
        connection.execute(text("DELETE FROM ingest.minute WHERE tenant = 'demo'"))


def test_now_shows_the_calls_that_were_made_today(service: Service) -> None:
    with service.engine.begin() as connection:
        api_usage.add(connection, {("demo", "refresh"): Calls(made=7), ("demo", "reconcile"): Calls(made=5)})
    with serving_console(service.settings) as running:
        page = words(running.looker.get("/").text)
    assert "API calls made today, with failed ones" in page
    assert " 12 other " in page
