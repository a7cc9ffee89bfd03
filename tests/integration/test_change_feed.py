"""The change feed: a reader that follows the numbers misses nothing, whatever writers do at the same time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from analytics import contract
from analytics.derive import derive_round
from storage.database import create_database_engine
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.write import write_changes

START = datetime(2026, 3, 4, 7, tzinfo=UTC)
WRITERS, CHANGES = 5, 30


class RolledBackError(Exception):
    """A writer gives up its transaction."""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=WRITERS + 4)
    yield made
    made.dispose()


def store_evses(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO ingest.uptime VALUES (:began_at, now())"), {"began_at": START - timedelta(1)}
        )
        values: dict[str, Any] = {"charge_point_id": None, "raw": {}}
        facts = [
            fact_from_read("evse", evse_id, "master", START, values, began_at=START)
            for evse_id in range(1, WRITERS + 1)
        ]
        write_changes(connection, "t", ChangeSet(facts=facts))


def write(engine: Engine, evse_id: int, chance: random.Random) -> None:
    """Write statuses of one EVSE, each in a transaction that is slow, or that is given up."""
    for number in range(CHANGES):
        changes = ChangeSet()
        status = ("available", "charging")[number % 2]
        at = START + timedelta(minutes=number)
        observed = {"evse_id": evse_id, "hardware_status": status, "observed_at": at, "source": "notification"}
        changes.observe("evse_status_observation", observed)
        for gives_up in (*[True] * (chance.random() < 0.3), False):
            try:
                with engine.begin() as connection:
                    write_changes(connection, "t", changes)
                    time.sleep(chance.uniform(0, 0.01))
                    if gives_up:
                        raise RolledBackError
            except RolledBackError:
                continue


def changes_since(connection: Connection, number: int) -> list[int]:
    numbered = [table.fullname for table in contract.tables() if "change_number" in table.columns]
    every = " UNION ALL ".join(f"SELECT tenant, change_number FROM {name}" for name in numbered)
    statement = text(
        f"SELECT change_number FROM ({every}) AS every WHERE tenant = 't' AND change_number > :number ORDER BY 1"
    )
    return list(connection.execute(statement, {"number": number}).scalars())


def test_a_reader_that_follows_the_numbers_misses_and_repeats_nothing(engine: Engine) -> None:
    store_evses(engine)
    is_written = threading.Event()
    copy: dict[tuple[int, datetime], str] = {}

    def keep_deriving() -> None:
        is_done = False
        while not (is_written.is_set() and is_done):
            done = derive_round(engine, "t")
            is_done = done is not None and done.is_done

    def follow() -> None:
        """Copy the table by its numbers, while others write."""
        number = 0
        while True:
            ends = not deriving.is_alive()
            with engine.connect() as connection:
                rows = connection.execute(
                    text(
                        "SELECT evse_id, began_at, state, change_number FROM analytics.evse_state_interval"
                        " WHERE tenant = 't' AND change_number > :number ORDER BY change_number LIMIT 20"
                    ),
                    {"number": number},
                ).all()
            for row in rows:
                assert row.change_number > number
                number = row.change_number
                copy[row.evse_id, row.began_at] = row.state
            if ends and not rows:
                return

    deriving = threading.Thread(target=keep_deriving)
    writers = [
        threading.Thread(target=write, args=(engine, evse_id, random.Random(evse_id)))
        for evse_id in range(1, WRITERS + 1)
    ]
    following = threading.Thread(target=follow)
    for thread in (*writers, deriving, following):
        thread.start()
    for thread in writers:
        thread.join()
    is_written.set()
    deriving.join()
    following.join()
    with engine.connect() as connection:
        table = {
            (row.evse_id, row.began_at): row.state
            for row in connection.execute(text("SELECT evse_id, began_at, state FROM analytics.evse_state_interval"))
        }
        last = connection.execute(text("SELECT last_change_number FROM analytics.feed")).scalar_one()
        numbers = changes_since(connection, 0)
    assert len(table) == WRITERS * CHANGES
    assert copy == table
    # Each number was given once, and the last one is the counter's
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == last


def test_a_reader_that_follows_times_would_miss_rows(engine: Engine) -> None:
    # Given two transactions of which the earlier one commits later, as any two writers may
    store_evses(engine)
    with engine.connect() as slow, engine.connect() as fast:
        for connection, evse_id in ((slow, 1), (fast, 2)):
            connection.execute(text("UPDATE charging.evse SET updated_at = now() WHERE evse_id = :id"), {"id": evse_id})
        fast.commit()
        # When a reader takes what is new by now, and continues from there
        with engine.connect() as reader:
            seen = reader.execute(text("SELECT max(updated_at) FROM charging.evse WHERE evse_id = 2")).scalar_one()
        slow.commit()
        with engine.connect() as reader:
            later = reader.execute(
                text("SELECT count(*) FROM charging.evse WHERE updated_at > :seen AND evse_id = 1"), {"seen": seen}
            ).scalar_one()
    # Then it never sees the row of the slow one: this is why derived rows have numbers
    assert later == 0


def test_a_restored_database_has_another_epoch(engine: Engine) -> None:
    store_evses(engine)
    derive_round(engine, "t")
    with engine.begin() as connection:
        before = connection.execute(text("SELECT epoch FROM analytics.feed")).scalar_one()
        connection.execute(text("UPDATE analytics.feed SET origin = 'another server'"))
    derive_round(engine, "t")
    with engine.connect() as connection:
        after, origin = connection.execute(text("SELECT epoch, origin FROM analytics.feed")).one()
    assert after != before
    assert origin != "another server"
