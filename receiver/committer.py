"""Group commit: notifications that wait together are committed together.

An idle committer commits at once; a busy one takes whatever has gathered while the last
commit was under way. Either way a commit is one statement and one round trip.
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

from receiver.metrics import COMMIT_FAILURES, COMMIT_SECONDS, COMMITTED_TOGETHER, WAITING
from storage.clock import clock
from storage.database import connection_arguments, is_lost_connection
from storage.inbox import CommitGroup, Entry, commit_groups
from storage.partitions import make_partitions_async
from storage.session import one_transaction, open_async_connection
from workers.background import supervised_task
from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: Most notifications of one commit: enough to spread its cost, few enough that the
#: statement stays small and the next group does not wait long.
MAX_ENTRIES = 500

#: Most body bytes of one commit, so that 500 bodies of a megabyte are not one statement.
MAX_BYTES = 16 * 1024 * 1024

#: Waits between two tries while Postgres is away: soon at first, then once a second.
FIRST_RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 1.0

#: For so long after a failed commit, without one that succeeded since, this process says that it cannot commit.
#: Nothing may be left to try it with: a sender that was refused comes back later.
FAILURE_COUNTS_SECONDS = 5.0
#: A notification that has no partition and is dated so far from now was dated by a clock that was set since.
FAR_FROM_NOW = timedelta(hours=1)

#: How often waiting notifications are counted, and checked for having waited too long.
EXPIRY_INTERVAL_SECONDS = 0.25


class NotCommittedError(Exception):
    """A notification was not committed in time, so it must not be acknowledged."""


class OverloadedError(NotCommittedError):
    """Too many notifications wait already."""


@dataclass(slots=True)
class _Pending:
    entry: Entry
    committed: asyncio.Future[None]
    deadline: float


class GroupCommitter:
    """Commits entries in groups over one connection of its own.

    Parameters:
        database_url: Postgres; the connection is made when it is first needed.
        on_commit: called with the groups of each commit.
        commit_timeout: longest wait of an entry.
        waiting_room: most entries that wait, those in hand included.
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
        # It is the only connection: nothing may hold it for longer than a commit may take.
        self._arguments = connection_arguments(database_url, "ampeco-receiver accept")
        self._arguments["tcp_user_timeout"] = milliseconds
        self._settings = {"statement_timeout": f"'{milliseconds}'"}
        self._room = waiting_room
        self._room_bytes = waiting_bytes
        self._bytes = 0
        self._waiting: deque[_Pending] = deque()
        self._in_hand: list[_Pending] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: psycopg.AsyncConnection[Any] | None = None
        #: Why the last commit failed, and until when that counts.
        self._failure: tuple[str, float] | None = None

    def start(self) -> None:
        self._tasks = [supervised_task("committer", self._run), supervised_task("expiry", self._expire)]

    async def stop(self) -> None:
        """Commit what waits, then leave."""
        self._stopping = True
        self._wake.set()
        runner, expiry = self._tasks
        await runner
        expiry.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await expiry
        await self._disconnect()

    async def commit(self, entry: Entry) -> None:
        """Return once the entry is committed.

        Raises:
            OverloadedError: the waiting room is full.
            NotCommittedError: Postgres could not commit in time. The entry may still be committed
                later; the sender will repeat it, which changes nothing.
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
        """Whether the waiting room has no place left."""
        return self.waiting >= self._room

    @property
    def waiting(self) -> int:
        """How many entries wait for a commit."""
        return len(self._waiting) + len(self._in_hand)

    @property
    def trouble(self) -> str | None:
        """Why the next notification would not be committed, as far as is known; None where nothing speaks against it.

        Any thread may ask.
        """
        failure = self._failure
        if any(task.done() for task in self._tasks):
            return "the task that commits has ended"
        if self.is_full or self._bytes >= self._room_bytes:
            return f"{self.waiting:,} notifications of {self._bytes:,} bytes wait for a commit, as many as may"
        if failure is not None and time.monotonic() < failure[1]:
            return f"the last commit failed: {failure[0]}"
        return None

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._in_hand = self._take()
            try:
                await self._commit_in_hand()
            finally:
                for pending in self._in_hand:
                    if not pending.committed.done():
                        pending.committed.set_exception(NotCommittedError("committing failed"))
                self._in_hand = []

    def _take(self) -> list[_Pending]:
        taken: list[_Pending] = []
        size = 0
        while self._waiting and len(taken) < MAX_ENTRIES and size < MAX_BYTES:
            pending = self._waiting.popleft()
            if not pending.committed.done():  # its time may have run out
                taken.append(pending)
                size += len(pending.entry.body)
        return taken

    async def _commit_in_hand(self) -> None:
        groups = _group_by_tenant([pending.entry for pending in self._in_hand])
        if not groups:
            return
        delay = FIRST_RETRY_SECONDS
        # The groups keep their ids over every try, so that one whose answer was lost is
        # not committed twice.
        while not all(pending.committed.done() for pending in self._in_hand):
            try:
                with COMMIT_SECONDS.time():
                    connection = await self._connected()
                    async with one_transaction(connection, self._settings):
                        await commit_groups(connection, groups)
            except Exception as error:
                COMMIT_FAILURES.labels(type(error).__name__).inc()
                is_ours = not isinstance(error, psycopg.Error | OSError)
                logger.warning("commit failed", error=cause(error), waiting=self.waiting, exc_info=is_ours)
                self._failure = cause(error), time.monotonic() + FAILURE_COUNTS_SECONDS
                if is_ours or is_lost_connection(error):
                    await self._disconnect()
                if not await self._mend(error, groups):
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, MAX_RETRY_SECONDS)
            else:
                self._failure = None
                break
        else:
            return
        COMMITTED_TOGETHER.observe(len(self._in_hand))
        for group in groups if logger.is_enabled_for(logging.DEBUG) else ():
            for entry in group.entries:
                logger.debug(
                    "committed",
                    tenant=group.tenant,
                    request_id=entry.notification_id,
                    batch_id=group.batch_id,
                    notification_type=entry.notification_type,
                )
        for pending in self._in_hand:
            if not pending.committed.done():
                pending.committed.set_result(None)
        self._on_commit(groups)

    async def _mend(self, error: Exception, groups: Sequence[CommitGroup]) -> bool:
        """Remove the cause where it is ours to remove; returns whether to try again at once."""
        if isinstance(error, psycopg.errors.CheckViolation):
            return await self._find_partitions(groups)
        if isinstance(error, psycopg.DataError) or not isinstance(error, psycopg.Error | OSError):
            # What we read beside the body is a help, not a duty; the body itself always fits.
            for group in groups:
                for entry in group.entries:
                    entry.drop_search_columns()
        return False

    async def _find_partitions(self, groups: Sequence[CommitGroup]) -> bool:
        """Make the partitions that are missing, and date again what is far from now; return whether to try at once.

        Everything that makes partitions ahead of time was down for a week, or Postgres's clock was set.
        """
        try:
            connection = await self._connected()
            await clock.measure_async(connection)
            async with one_transaction(connection, self._settings):
                await make_partitions_async(connection)
        except (psycopg.Error, OSError) as error:
            logger.warning("partitions not made", error=cause(error))
            return False
        # Nothing of these groups was committed, or else their partitions would be there: they may have other ids.
        astray = [group for group in groups if not all(map(_is_dated_now, group.entries))]
        for group in astray:
            group.stamp()
        if astray:
            logger.warning(
                "notifications dated by Postgres's clock, as a clock was set",
                notifications=sum(len(group.entries) for group in astray),
                wall_clock_ahead_seconds=round(clock.wall_offset_seconds()),
            )
        return bool(astray)

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await open_async_connection(self._arguments, self._settings)
            await clock.measure_async(self._connection)
            for pending in (*self._in_hand, *self._waiting):
                if not pending.entry.is_timed:  # nor committed, as there was no connection
                    pending.entry.stamp()
        return self._connection

    async def _disconnect(self) -> None:
        """Let the next commit open a connection, where one is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL_SECONDS)
            WAITING.set(self.waiting)
            now = loop.time()
            # Those that wait leave the room, in the order in which they came; a commit that
            # hangs would else leave no room for what comes once it ends.
            late = [pending for pending in self._in_hand if pending.deadline <= now]
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
