"""Two transactions, of which the second waits for a lock of the first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text

from tests.support.service import eventually

Result = TypeVar("Result")

_WAITING = text("""
SELECT count(*)
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND wait_event_type = 'Lock'
""")


def after_waiting(engine: Engine, first: Callable[[Connection], Any], then: Callable[[Connection], Result]) -> Result:
    """Return the result of ``then`` in a transaction that has to wait for another one, which runs ``first``.

    The first transaction commits when Postgres shows that the second waits for a lock.
    """

    def run() -> Result:
        with engine.begin() as connection:
            return then(connection)

    def is_waiting() -> bool:
        with engine.connect() as observer:
            return bool(observer.execute(_WAITING).scalar_one())

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            first(connection)
            late = pool.submit(run)
            eventually(lambda: late.done() or is_waiting())
            assert not late.done(), f"it did not wait, and returned {late.result()}"
        return late.result()
