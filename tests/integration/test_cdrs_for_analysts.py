"""Analysts see each CDR once, with the session that names it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, text

from tests.support.analytics import at, derive, fact, gone, session_facts, write


def cdrs(engine: Engine, *columns: str) -> list[tuple[Any, ...]]:
    derive(engine)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {', '.join(columns)} FROM analytics.cdr ORDER BY cdr_id"))
        return [tuple(row) for row in rows]


def naming(session_id: int, *cdr_ids: Any) -> list[Any]:
    """Return the facts of a session that names CDRs."""
    return session_facts(session_id, 0, raw={"roaming": {"cdrIds": list(cdr_ids)}}, started_at=at(0), status="finished")


def test_a_cdr_has_its_operator_and_the_session_that_names_it(engine: Engine) -> None:
    write(engine, fact("roaming_operator", 7, 0, business_name="Other & Co"))
    write(
        engine, fact("cdr", 70, 0, operator_id=7, energy_wh=12_500, amount_without_tax=4, currency="EUR", is_local=True)
    )
    write(engine, fact("cdr", 71, 0, operator_id=8))
    write(engine, *naming(1, 70, "no id", None), *naming(2))
    shown = cdrs(
        engine, "cdr_id", "session_id", "roaming_operator_name", "energy_kwh", "amount_without_tax", "is_local"
    )
    assert shown == [(70, 1, "Other & Co", 12.5, 4, True), (71, None, None, None, None, None)]


def test_a_cdr_that_several_sessions_name_is_shown_once(engine: Engine) -> None:
    write(engine, fact("cdr", 70, 0, energy_wh=1_000), *naming(5, 70), *naming(3, 70, 71), *naming(4, 170))
    assert cdrs(engine, "cdr_id", "session_id") == [(70, 3)]


def test_a_cdr_that_is_gone_stays_and_shows_since_when(engine: Engine) -> None:
    write(engine, fact("cdr", 70, 0, energy_wh=1_000))
    write(engine, gone("cdr", 70, 60))
    assert cdrs(engine, "cdr_id", "removed_at") == [(70, at(60))]


def test_a_number_that_cannot_be_is_null(engine: Engine) -> None:
    write(engine, fact("cdr", 70, 0, energy_wh=Decimal("1e30"), amount_without_tax=Decimal("-1e20")))
    assert cdrs(engine, "energy_wh", "energy_kwh", "amount_without_tax") == [(None, None, None)]
