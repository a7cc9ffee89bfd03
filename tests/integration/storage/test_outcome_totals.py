"""The totals of a tenant are what a recount of its outcomes gives, however many connections write them at the same time."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import Engine

from storage.ids import uuid7
from storage.inbox.batches import Outcome, record_outcomes
from storage.inbox.commit import Entry
from storage.rebuild.replayed import clear_outcomes
from tests.support.log import accept, query

WRITERS = 4
ROUNDS = 60


def outcome(entry: Entry, batch_id: UUID, state: str, error: str | None = None) -> Outcome:
    return Outcome(batch_id, entry.notification_id, entry.received_at, state, "a reason", error)  # type: ignore[arg-type]


def recounted(engine: Engine) -> list[dict[str, object]]:
    return query(
        engine,
        "SELECT count(*) FILTER (WHERE state = 'ignored') AS ignored,"
        " count(*) FILTER (WHERE state = 'failed') AS failed FROM ingest.outcome",
    )


def test_totals_stay_right_while_several_writers_record_change_and_clear_the_same_outcomes(engine: Engine) -> None:
    entries = accept(engine, *[b"x"] * 12)
    batch_id = uuid7()

    def write(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(ROUNDS):
            some = chosen.sample(entries, chosen.randint(1, len(entries)))
            with engine.begin() as connection:
                if chosen.random() < 0.4:
                    clear_outcomes(connection, "t", [entry.notification_id for entry in some])
                else:
                    states = [chosen.choice(("ignored", "failed")) for _ in some]
                    record_outcomes(
                        connection,
                        "t",
                        [outcome(entry, batch_id, state, state) for entry, state in zip(some, states, strict=True)],
                    )

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write, seed) for seed in range(WRITERS)]:
            done.result()
    assert query(engine, "SELECT ignored, failed FROM ingest.total") == recounted(engine)
