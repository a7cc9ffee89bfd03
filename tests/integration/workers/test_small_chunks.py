"""A wake-up applies everything that is open, and asks for all kinds of entities at once."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event, text

from tests.support.batches import commit, group
from tests.support.facts import SAMPLES
from workers.apply import apply
from workers.apply.apply import apply_open_batches

BODIES = [path.read_bytes() for path in sorted(SAMPLES.glob("*.json")) if path.name != "_headers.json"]


def still_open(engine: Engine) -> int:
    with engine.connect() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM ingest.batch WHERE applied_at IS NULL")).scalar_one()
    return count


def test_one_wake_up_applies_the_batches_of_all_tenants_however_many_there_are(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given three times as many batches of a tenant as one claim takes, and some of other tenants
    monkeypatch.setattr(apply, "MAX_BATCHES", 2)
    for tenant in ("a", "b", "a", "a", "c", "a", "a", "a"):
        commit(database_url, group(tenant, BODIES[0]))
    # When
    applied = apply_open_batches(engine)
    # Then
    assert (applied, still_open(engine)) == (8, 0)


def test_all_kinds_that_notifications_name_are_looked_up_by_one_statement(database_url: str, engine: Engine) -> None:
    # Given notifications that name entities of many kinds, none of which is stored
    commit(database_url, group("a", *BODIES))
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _1, _2, statement, *_: statements.append(statement))
    # When
    apply_open_batches(engine)
    # Then
    looked_up = [statement for statement in statements if "AS mentioned" in statement]
    assert len(looked_up) == 1
    assert looked_up[0].count("UNION ALL") >= 3
    with engine.connect() as connection:
        requested = connection.execute(
            text("SELECT DISTINCT kind FROM ingest.refresh_request WHERE reason = 'unknown'")
        )
        assert len(requested.all()) >= 3


def test_statements_that_are_made_for_a_table_are_made_once(database_url: str, engine: Engine) -> None:
    # Given that notifications of these types were applied before
    commit(database_url, group("a", *BODIES))
    apply_open_batches(engine)
    clauses: list[set[int]] = []
    event.listen(engine, "before_execute", lambda _connection, clause, *_: clauses[-1].add(id(clause)))
    # When more of them are applied
    for tenant in ("b", "c"):
        commit(database_url, group(tenant, *BODIES))
        clauses.append(set())
        apply_open_batches(engine)
    # Then the same objects are executed, so that none is searched for its parameters again
    assert clauses[0] == clauses[1]
