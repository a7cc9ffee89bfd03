"""Erase: remove a person from the log, the state and its history, and keep the person out.

1. The person's id tags and e-mail addresses are looked up in the state.
2. The person is put on the suppression list (:mod:`storage.erasure.suppression`); later data is stored without
   the person.
3. The person is removed from the log, one chunk at a time; a run that was killed continues after its last chunk.
4. The person is removed from history and state in one transaction, which ends the erasure.
"""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from runtime.logging import get_logger
from storage.clock import clock
from storage.database import WHOLE_TABLES, set_statement_timeout
from storage.erasure import log, state
from storage.erasure.log import Chunk, Erasure
from storage.erasure.person import Person
from storage.log.read import log_begins
from storage.log.scope import Position, position_before
from workers.apply.apply import MAX_BYTES
from workers.maintenance.replay import patiently

logger = get_logger(__name__)

#: Limit of a chunk: only the length is read of most notifications, so a chunk is larger than those of apply.
MAX_NOTIFICATIONS = 5_000

#: Rounds of the look-up: a tag leads to an address, and the address to another tag. No person's data needs more.
MAX_ROUNDS = 4

#: How far a receiver's clock may be ahead of ours.
CLOCK_DIFFERENCE = timedelta(minutes=5)

Result = TypeVar("Result")


class EraseError(Exception):
    """A person cannot be erased now; the message says why."""


def require_owner(engine: Engine) -> None:
    """Fail if the database user may not change all tables.

    Raises:
        EraseError: the user does not own the tables.
    """
    with engine.begin() as connection:
        if not log.owns_the_tables(connection):
            raise EraseError(
                "DATABASE_URL: erasing changes the log and the history, which only the owner of the tables may;"
                " run it as the user who runs `ampeco-receiver migrate`."
            )


def look_up(engine: Engine, tenant: str, person: Person) -> Counter[str]:
    """Count the rows of the state and its history that name the person, by table, and add to the person's identities.

    The id tags and e-mail addresses that these rows contain are added to ``person``.
    """
    rows: Counter[str] = Counter()
    with engine.begin() as connection:
        set_statement_timeout(connection, WHOLE_TABLES)
        for _ in range(MAX_ROUNDS):
            identities = person.identities
            rows = state.find(connection, tenant, person)
            if person.identities == identities:
                break
    return rows


def is_listed(engine: Engine, tenant: str, person: Person) -> bool:
    """Return whether the person is on the suppression list."""
    with engine.begin() as connection:
        return log.is_listed(connection, tenant, person.user_id)


def begin(engine: Engine, tenant: str, person: Person) -> Erasure:
    """Put the person on the suppression list.

    Raises:
        EraseError: a transaction that writes, or that reads the table of keys, does not end.
    """
    requested_by = _requested_by(engine)

    def attempt() -> Erasure:
        with engine.begin() as connection:
            return log.begin(connection, tenant, person, requested_by)

    return _wait_for_writers(attempt)


def _wait_for_writers(attempt: Callable[[], Result]) -> Result:
    try:
        return patiently(attempt)
    except OperationalError as error:
        if type(error.orig).__name__ != "LockNotAvailable":
            raise
        raise EraseError(
            "Postgres: a transaction that began earlier, such as a backup by pg_dump, does not end."
            " Run the same command again after it has ended."
        ) from None


def go_through_log(
    engine: Engine,
    tenant: str,
    person: Person,
    under_way: Erasure | None = None,
    *,
    limit: int = MAX_NOTIFICATIONS,
) -> Iterator[Chunk]:
    """Remove the person from the log, yielding each chunk after its commit.

    Parameters:
        under_way: the erasure; None to only count what would be changed.
        limit: most notifications of a chunk.
    """
    with engine.begin() as connection:
        begins = log_begins(connection, tenant)
    until = clock.now() + CLOCK_DIFFERENCE
    position = under_way.reached if under_way is not None else None
    if position is None and begins is not None:
        position = position_before(begins)
    while position is not None:
        chunk = patiently(partial(_chunk, engine, tenant, person, position, until, under_way, limit))
        if chunk is None:
            return
        yield chunk
        position = chunk.last


def _chunk(
    engine: Engine,
    tenant: str,
    person: Person,
    after: Position,
    until: datetime,
    under_way: Erasure | None,
    limit: int,
) -> Chunk | None:
    with engine.begin() as connection:
        return log.next_chunk(
            connection,
            tenant,
            person,
            after,
            until,
            limit=limit,
            max_bytes=MAX_BYTES,
            erasure_id=under_way.erasure_id if under_way is not None else None,
        )


def finish(engine: Engine, tenant: str, person: Person, under_way: Erasure) -> dict[str, int]:
    """Remove the person from the state and its history; return the rows that the erasure changed, by table."""

    def await_writers() -> None:
        with engine.begin() as connection:
            log.await_writers(connection)

    def attempt() -> dict[str, int]:
        with engine.begin() as connection:
            return state.finish(connection, tenant, person, under_way.erasure_id)

    # Transactions that read a body before it was changed in the log have to end first.
    _wait_for_writers(await_writers)
    changed = patiently(attempt)
    # The line does not name the person: the logs of a process are kept elsewhere, and longer.
    logger.info(
        "person erased",
        tenant=tenant,
        erasure_id=str(under_way.erasure_id),
        requested_by=_requested_by(engine),
        rows=sum(changed.values()),
    )
    return changed


def _requested_by(engine: Engine) -> str:
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        login = "unknown"
    with engine.begin() as connection:
        user = connection.execute(text("SELECT session_user")).scalar_one()
    return f"{user} ({login})"
