"""Group commit: notifications that wait at the same time are committed together.

An idle committer commits at once; a busy one then commits everything that arrived during the last commit. Either way a
commit is one round trip, with one statement for each tenant.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from receiver.accept.metrics import COMMIT_FAILURES, COMMIT_SECONDS, COMMITTED_TOGETHER, WAITING
from runtime.background import supervised_task
from runtime.errors import cause
from runtime.logging import get_logger
from storage.clock import clock
from storage.connection import one_transaction, open_async_connection
from storage.database import connection_arguments, is_lost_connection
from storage.inbox.commit import CommitGroup, Entry, commit_groups
from storage.inbox.partitions import make_partitions_async

logger = get_logger(__name__)

#: Most notifications of one commit: enough to spread its cost, few enough that the statement stays small and the next
#: group does not wait long.
MAX_ENTRIES = 500

#: Most body bytes of one commit, so that 500 bodies of a megabyte are not one statement.
MAX_BYTES = 16 * 1024 * 1024

#: Delays between two attempts while Postgres is down: short at first, then one second.
FIRST_RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 1.0

#: How long this process reports that it cannot commit after a failed commit, unless one succeeds. Nothing may be left
#: to commit in that time, because a sender that was refused sends again later.
FAILURE_COUNTS_SECONDS = 5.0

#: If a notification has no partition and its time differs from now by this much, it was dated by a clock that was set
#: since then.
FAR_FROM_NOW = timedelta(hours=1)

#: How often waiting notifications are counted, and those that waited too long are refused.
EXPIRY_INTERVAL_SECONDS = 0.25


class NotCommittedError(Exception):
    """A notification was not committed in time, so it must not be acknowledged."""


class OverloadedError(NotCommittedError):
    """The waiting room is full."""


@dataclass(slots=True)
class _Pending:
    entry: Entry
    committed: asyncio.Future[None]
    deadline: float


class GroupCommitter:
    """Commits entries in groups over one connection of its own.

    Parameters:
        database_url: the URL of Postgres; the connection is made when it is first needed.
        on_commit: called with the groups of each commit.
        commit_timeout: longest wait of an entry.
        waiting_room: most entries that wait, including those of the running commit.
        waiting_bytes: most bytes of bodies that wait.
    """

    def __init__(
        self,
        database_url: str,
        on_commit: Callable[[Sequence[CommitGroup]], None],
        *,
        commit_timeout: timedelta,
        waiting_room: int,
        waiting_bytes: int,
    ) -> None:
        self._on_commit = on_commit
        self._timeout = commit_timeout.total_seconds()
        milliseconds = str(int(self._timeout * 1000))
        # It is the only connection, so nothing may block it for longer than a commit may take.
        self._arguments = connection_arguments(database_url, "ampeco-receiver accept")
        self._arguments["tcp_user_timeout"] = milliseconds
        self._settings = {"statement_timeout": f"'{milliseconds}'"}
        self._room = waiting_room
        self._room_bytes = waiting_bytes
        self._bytes = 0
        self._waiting: deque[_Pending] = deque()
        self._committing: list[_Pending] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: psycopg.AsyncConnection[Any] | None = None
        #: Why the last commit failed, and until when that is reported.
        self._failure: tuple[str, float] | None = None

    def start(self) -> None:
        """Start the tasks that commit and refuse entries."""
        self._tasks = [supervised_task("committer", self._run), supervised_task("expiry", self._expire)]

    async def stop(self) -> None:
        """Commit the waiting entries, then end the tasks."""
        self._stopping = True
        self._wake.set()
        runner, expiry = self._tasks
        await runner
        expiry.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await expiry
        await self._disconnect()

    async def commit(self, entry: Entry) -> None:
        """Add an entry to the waiting room, and return after it is committed.

        Raises:
            OverloadedError: the waiting room is full.
            NotCommittedError: Postgres could not commit in time. The entry may still be committed later; the sender
                will send it again, which changes nothing.
        """
        size = len(entry.body)
        if self.is_full or self._bytes + size > self._room_bytes:
            raise OverloadedError(f"{self.waiting} notifications of {self._bytes} bytes wait for a commit already")
        loop = asyncio.get_running_loop()
        pending = _Pending(entry, loop.create_future(), loop.time() + self._timeout)
        self._waiting.append(pending)
        self._bytes += size
        self._wake.set()
        try:
            await pending.committed
        finally:
            self._bytes -= size

    @property
    def is_full(self) -> bool:
        """Whether the waiting room has no space left."""
        return self.waiting >= self._room

    @property
    def waiting(self) -> int:
        """The number of entries that wait for a commit."""
        return len(self._waiting) + len(self._committing)

    @property
    def trouble(self) -> str | None:
        """Why the next notification would probably not be committed; None if nothing is known to prevent it.

        It may be read from any thread.
        """
        failure = self._failure
        if any(task.done() for task in self._tasks):
            return "the task that commits has ended"
        if self.is_full or self._bytes >= self._room_bytes:
            return f"the waiting room is full: {self.waiting:,} notifications of {self._bytes:,} bytes"
        if failure is not None and time.monotonic() < failure[1]:
            return f"the last commit failed: {failure[0]}"
        return None

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._committing = self._next_entries()
            try:
                await self._commit_entries()
            finally:
                for pending in self._committing:
                    if not pending.committed.done():
                        pending.committed.set_exception(NotCommittedError("committing failed"))
                self._committing = []

    def _next_entries(self) -> list[_Pending]:
        entries: list[_Pending] = []
        size = 0
        while self._waiting and len(entries) < MAX_ENTRIES and size < MAX_BYTES:
            pending = self._waiting.popleft()
            if not pending.committed.done():  # its time may have run out
                entries.append(pending)
                size += len(pending.entry.body)
        return entries

    async def _commit_entries(self) -> None:
        groups = _group_by_tenant([pending.entry for pending in self._committing])
        if not groups:
            return
        delay = FIRST_RETRY_SECONDS
        # The groups keep their ids over every attempt, so that a commit whose answer was lost is not made twice.
        while not all(pending.committed.done() for pending in self._committing):
            try:
                with COMMIT_SECONDS.time():
                    connection = await self._connected()
                    await commit_groups(connection, groups, self._settings)
            except Exception as error:
                COMMIT_FAILURES.labels(type(error).__name__).inc()
                is_ours = not isinstance(error, psycopg.Error | OSError)
                logger.warning("commit failed", error=cause(error), waiting=self.waiting, exc_info=is_ours)
                self._failure = cause(error), time.monotonic() + FAILURE_COUNTS_SECONDS
                if is_ours or is_lost_connection(error):
                    await self._disconnect()
                if not await self._repair(error, groups):
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, MAX_RETRY_SECONDS)
            else:
                self._failure = None
                break
        else:
            return
        COMMITTED_TOGETHER.observe(len(self._committing))
        for group in groups if logger.is_enabled_for(logging.DEBUG) else ():
            for entry in group.entries:
                logger.debug(
                    "committed",
                    tenant=group.tenant,
                    request_id=entry.notification_id,
                    batch_id=group.batch_id,
                    notification_type=entry.notification_type,
                )
        for pending in self._committing:
            if not pending.committed.done():
                pending.committed.set_result(None)
        self._on_commit(groups)

    async def _repair(self, error: Exception, groups: Sequence[CommitGroup]) -> bool:
        """Remove the cause of a failed commit if we can; return whether to try again at once."""
        if isinstance(error, psycopg.errors.CheckViolation):
            return await self._provide_partitions(groups)
        if isinstance(error, psycopg.DataError) or not isinstance(error, psycopg.Error | OSError):
            # The search columns are useful, but not necessary; the body itself always fits.
            for group in groups:
                for entry in group.entries:
                    entry.drop_search_columns()
        return False

    async def _provide_partitions(self, groups: Sequence[CommitGroup]) -> bool:
        """Make missing partitions, and date notifications far from now again; return whether any was dated again.

        It is needed if all processes that make partitions ahead of time were down for a week, or if Postgres's clock
        was set.
        """
        try:
            connection = await self._connected()
            await clock.measure_async(connection)
            async with one_transaction(connection, self._settings):
                await make_partitions_async(connection)
        except (psycopg.Error, OSError) as error:
            logger.warning("partitions could not be made", error=cause(error))
            return False
        # No entry of these groups was committed, because their partition is missing, so they may get other ids.
        misdated = [group for group in groups if not all(map(_is_dated_now, group.entries))]
        for group in misdated:
            group.stamp()
        if misdated:
            logger.warning(
                "a clock was set: notifications dated again by Postgres's clock",
                notifications=sum(len(group.entries) for group in misdated),
                wall_clock_ahead_seconds=round(clock.wall_offset_seconds()),
            )
        return bool(misdated)

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await open_async_connection(self._arguments, self._settings)
            await clock.measure_async(self._connection)
            for pending in (*self._committing, *self._waiting):
                if not pending.entry.is_timed:  # nor committed, because there was no connection
                    pending.entry.stamp()
        return self._connection

    async def _disconnect(self) -> None:
        """Close the connection, so that the next commit opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_SECONDS)
            WAITING.set(self.waiting)
            now = loop.time()
            # Waiting entries whose time is over leave the waiting room, oldest first. Otherwise, after a commit that
            # hung, there would be no room for new ones.
            late = [pending for pending in self._committing if pending.deadline <= now]
            while self._waiting and self._waiting[0].deadline <= now:
                late.append(self._waiting.popleft())
            for pending in late:
                if not pending.committed.done():
                    pending.committed.set_exception(NotCommittedError(f"not committed within {self._timeout:g} s"))


def _is_dated_now(entry: Entry) -> bool:
    return abs(clock.now() - entry.received_at) < FAR_FROM_NOW


def _group_by_tenant(entries: Sequence[Entry]) -> list[CommitGroup]:
    by_tenant: dict[str, list[Entry]] = {}
    for entry in entries:
        by_tenant.setdefault(entry.tenant, []).append(entry)
    return [CommitGroup(tenant, own) for tenant, own in sorted(by_tenant.items())]
