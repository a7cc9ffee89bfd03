"""Commit and apply notifications as the service does, but without HTTP, and without other processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from psycopg import AsyncConnection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from bench.signed import TENANT
from storage.inbox.commit import CommitGroup, Entry, commit_groups
from workers.apply.apply import apply_open_batches

#: Notifications of a commit under load. A receiver with little load commits each one by itself, which adds a
#: row of `ingest.batch` for each.
TOGETHER = 25

#: Commits before each round of applying.
COMMITS = 40

_HEADERS = {"X-Timestamp": "2026-03-04T07:04:01.215334Z", "X-Tenant": "42", "X-Webhook-Id": "12"}


async def load(
    connection: AsyncConnection[Any], engine: Engine, bodies: Iterator[bytes], advance: Callable[[int], object]
) -> int:
    """Commit and apply all bodies in turns.

    Parameters:
        advance: called after each turn with the number of notifications that it applied.

    Returns:
        The bytes of all bodies together.
    """
    size = 0
    while chunk := list(islice(bodies, TOGETHER * COMMITS)):
        await commit(connection, chunk)
        apply(engine)
        size += sum(map(len, chunk))
        advance(len(chunk))
    return size


async def commit(connection: AsyncConnection[Any], bodies: Sequence[bytes]) -> None:
    """Commit bodies in groups, as a receiver under load does."""
    for first in range(0, len(bodies), TOGETHER):
        entries = [Entry(TENANT, body, _HEADERS, "0123abcd", "hex") for body in bodies[first : first + TOGETHER]]
        await commit_groups(connection, [CommitGroup(TENANT, entries)])


def apply(engine: Engine) -> None:
    """Apply everything that is committed."""
    while apply_open_batches(engine):
        pass


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a long load on a terminal; yield a function that takes what was done since its last call."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)
