"""Forget: a person is taken out of the log, the state and its history, and does not come back.

1. What the person is known by is looked up in the state: id tags and e-mail addresses.
2. The person is put on the list of :mod:`storage.suppression`; from then on nothing is written of them.
3. The log is gone through, a chunk at a time; a run that was killed goes on from its last chunk.
4. History and state follow in one transaction, which ends it.
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

from storage import erasure as log
from storage import erasure_state as state
from storage.clock import clock
from storage.erasure import Chunk, Erasure
from storage.person import Person
from storage.replay import Position, log_begins
from workers.apply import MAX_BYTES
from workers.logs import get_logger
from workers.replay import patiently

logger = get_logger(__name__)

#: Of most notifications nothing but their length is read, so a chunk is larger than one of apply's.
MAX_NOTIFICATIONS = 5_000

#: A tag leads to an address, and that to another tag; further than this nobody's data goes.
MAX_ROUNDS = 4

#: A receiver's clock may be ahead of ours by this much.
CLOCK_DIFFERENCE = timedelta(minutes=5)

Result = TypeVar("Result")


class EraseError(Exception):
    """Somebody cannot be forgotten."""


def require_owner(engine: Engine) -> None:
    """Refuse a user of the database who may not change everything.

    Raises:
        ForgetError: it does not own the tables.
    """
    with engine.begin() as connection:
        if not log.owns_the_tables(connection):
            raise EraseError(
                "DATABASE_URL: forgetting changes the log and the history, which only the owner of the tables may;"
                " run it as the user who runs `ampeco-receiver migrate`."
            )


def look_up(engine: Engine, tenant: str, person: Person) -> Counter[str]:
    """Count the rows of the state and its history that name the person, and learn what they are known by."""
    found: Counter[str] = Counter()
    with engine.begin() as connection:
        state.take_time(connection)
        for _ in range(MAX_ROUNDS):
            known = person.identities
            found = state.find(connection, tenant, person)
            if person.identities == known:
                break
    return found


def is_listed(engine: Engine, tenant: str, person: Person) -> bool:
    """Whether the person was put on the list before."""
    with engine.begin() as connection:
        return log.is_listed(connection, tenant, person.user_id)


def begin(engine: Engine, tenant: str, person: Person) -> Erasure:
    """Put the person on the list.

    Raises:
        ForgetError: somebody goes on writing, or reads the table of keys, and does not end.
    """

    requested_by = _asked_by(engine)

    def attempt() -> Erasure:
        with engine.begin() as connection:
            return log.begin(connection, tenant, person, requested_by)

    return _past_writers(attempt)


def _past_writers(attempt: Callable[[], Result]) -> Result:
    try:
        return patiently(attempt)
    except OperationalError as error:
        if type(error.orig).__name__ != "LockNotAvailable":
            raise
        raise EraseError(
            "Postgres: a transaction that began earlier does not end, such as a backup by pg_dump."
            " Run the same command again once that has ended."
        ) from None


def go_through_log(
    engine: Engine,
    tenant: str,
    person: Person,
    under_way: Erasure | None = None,
    *,
    limit: int = MAX_NOTIFICATIONS,
) -> Iterator[Chunk]:
    """Take the person out of the log, yielding each chunk after its commit; only count where none is under way."""
    with engine.begin() as connection:
        begins = log_begins(connection, tenant)
    until = clock.now() + CLOCK_DIFFERENCE
    position = under_way.reached if under_way is not None else None
    if position is None and begins is not None:
        position = log.before(begins)
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
    """Take the person out of the state and its history; returns the rows that this forgetting changed, by table."""

    def pass_writers() -> None:
        with engine.begin() as connection:
            log.await_writers(connection)

    def attempt() -> dict[str, int]:
        with engine.begin() as connection:
            return state.finish(connection, tenant, person, under_way.erasure_id)

    # Whoever has a body in hand that was read before the log was done ends first.
    _past_writers(pass_writers)
    changed = patiently(attempt)
    # Never whom: the log of a process is kept elsewhere, and longer.
    logger.info(
        "forgotten",
        tenant=tenant,
        erasure_id=str(under_way.erasure_id),
        requested_by=_asked_by(engine),
        rows=sum(changed.values()),
    )
    return changed


def _asked_by(engine: Engine) -> str:
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        login = "unknown"
    with engine.begin() as connection:
        user = connection.execute(text("SELECT session_user")).scalar_one()
    return f"{user} ({login})"
