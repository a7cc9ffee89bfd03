"""Ask Postgres once a second for everything that is shown live, however many pages are open.

Each topic is a query and a template. Its message is rendered once for all pages that follow it; a topic that no page
follows is not asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from receiver.console.console import Console
from runtime.background import supervised_task, to_the_end
from runtime.errors import cause
from runtime.logging import get_logger
from storage.clock import clock

logger = get_logger(__name__)

INTERVAL_SECONDS = 1.0

#: Messages that are kept for pages that return after a short loss of the connection.
KEPT_MESSAGES = 120

#: How long before it follows a topic a page may have been rendered: it also gets the messages of this time.
LOADING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream.

    Attributes:
        message_id: sent as ``id``, from which a page resumes.
        event: the name of an event for scripts; empty: the body is HTML that htmx puts in its place.
        body: HTML, of which each element with ``hx-swap-oob`` replaces the element with its id.
        made_at: when it was made, by the clock of the event loop.
    """

    message_id: str
    event: str
    body: str
    made_at: float = 0.0


#: Makes a page load itself again, because it missed messages.
MISSED = Message("", "missed", "")


class Source(Protocol):
    """Answers what a topic shows now."""

    def __call__(self, connection: Connection) -> Mapping[str, Any] | None:
        """Return what the template shows; None if nothing has changed."""


@dataclass
class Topic:
    """Something that pages follow.

    Attributes:
        template: the template of its messages.
        source: answers what they show.
        is_complete: whether each message shows everything, so that the last one is enough for a page that returns.
    """

    template: str
    source: Source
    is_complete: bool = True
    followers: int = 0
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=KEPT_MESSAGES))


class Poller:
    """Asks for the topics that pages follow, and hands their messages to the streams."""

    def __init__(self, console: Console, topics: Mapping[str, Topic]) -> None:
        self._console = console
        self._topics = topics
        self._run_id = secrets.token_hex(4)
        self._count = 0
        self._asked = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def topics(self) -> frozenset[str]:
        """The names of the topics."""
        return frozenset(self._topics)

    def start(self) -> None:
        """Start to ask."""
        self._task = supervised_task("console", self._run)

    async def stop(self) -> None:
        """Stop to ask."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def follow(self, name: str, last_id: str | None) -> AsyncGenerator[Message, None]:
        """Yield the messages of a topic: first those since ``last_id``, then each when it comes."""
        topic = self._topics[name]
        topic.followers += 1
        try:
            seen = last_id or ""
            if not topic.is_complete and last_id and last_id not in {each.message_id for each in topic.messages}:
                yield MISSED
                return
            if not topic.is_complete and not last_id:
                seen = _last_before(topic, asyncio.get_running_loop().time() - LOADING_SECONDS)
            while True:
                async with self._asked:
                    pending = _after(topic, seen)
                    while not pending:
                        await self._asked.wait()
                        pending = _after(topic, seen)
                for message in pending:
                    seen = message.message_id
                    yield message
        finally:
            topic.followers -= 1

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            followed = {name: topic for name, topic in self._topics.items() if topic.followers}
            if followed:
                await self._ask(followed)
            await asyncio.sleep(max(began + INTERVAL_SECONDS - loop.time(), 0.05))

    async def _ask(self, topics: Mapping[str, Topic]) -> None:
        failure: str | None = None
        shown: dict[str, Mapping[str, Any] | None] = {}
        for name, topic in topics.items():
            # Each in a transaction of its own, so that the failure of one loses no changes of another.
            try:
                shown[name] = await to_the_end(self._console.read(topic.source))
            except SQLAlchemyError as error:
                failure = cause(error)
                logger.warning("live data could not be read", topic=name, error=failure)
                break
        self._count += 1
        for name, topic in topics.items():
            topic.messages.append(self._message(topic, shown.get(name), failure))
        async with self._asked:
            self._asked.notify_all()

    def _message(self, topic: Topic, values: Mapping[str, Any] | None, failure: str | None) -> Message:
        shown = {"as_of": clock.now(), "failure": failure}
        body = self._console.render("live/as_of.html", shown)
        if values is not None:
            body += self._console.render(topic.template, shown | dict(values))
        return Message(f"{self._run_id}-{self._count}", "", body, asyncio.get_running_loop().time())


def _last_before(topic: Topic, moment: float) -> str:
    """Return the id of the last message before a moment; empty if there is none."""
    return next((message.message_id for message in reversed(topic.messages) if message.made_at < moment), "")


def _after(topic: Topic, message_id: str) -> list[Message]:
    """Return the messages after one; of a topic whose messages are complete only the last."""
    if not topic.messages or topic.messages[-1].message_id == message_id:
        return []
    if topic.is_complete:
        return [topic.messages[-1]]
    ids = [message.message_id for message in topic.messages]
    start = ids.index(message_id) + 1 if message_id in ids else 0
    return list(topic.messages)[start:]
