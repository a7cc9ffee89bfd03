"""Revisions: what was known of a stopped session before it was corrected, and who corrected it."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from ampeco.resources.charging import Session
from storage.state.changes import ChangeSet
from storage.state.facts import read_fact_factory, session_facts
from storage.state.fold import Fold
from storage.state.upsert import upsert
from tests.support.facts import SESSION_BEGAN, apply, changes, finished_session, row, sample


def revisions(connection: Connection) -> list[dict[str, Any]]:
    found = connection.execute(text("SELECT * FROM charging.session_revision ORDER BY fact_at, column_group"))
    return [dict(one._mapping) for one in found]


def test_a_correction_of_a_stopped_session_is_kept_with_the_old_values_and_its_source(connection: Connection) -> None:
    apply(connection, finished_session(0, billingStatus="pending"))
    applied = apply(
        connection, finished_session(5, billingStatus="completed", totalAmount={"withTax": 12.5, "withoutTax": 10})
    )
    (revision,) = revisions(connection)
    assert revision["column_group"] == "detail"
    assert revision["fact_at"] == SESSION_BEGAN + timedelta(minutes=5)
    assert (revision["source"], revision["notification_id"]) == (
        "notification",
        next(iter(applied.source_notifications.values())),
    )
    assert revision["changed_from"].keys() == revision["changed_to"].keys()
    assert revision["changed_from"]["billing_status"] == "pending"
    assert revision["changed_to"]["billing_status"] == "completed"
    assert revision["changed_to"]["amount_with_tax"] == 12.5


def test_a_running_session_makes_no_revision_nor_does_its_stop(connection: Connection) -> None:
    for name in ("session.start.stop.notification.start", "SessionUpdateNotification.active"):
        apply(connection, sample(name))
    apply(connection, finished_session(0))
    assert revisions(connection) == []


def test_an_older_fact_and_one_that_changes_no_column_make_no_revision(connection: Connection) -> None:
    apply(connection, finished_session(5))
    apply(connection, finished_session(0, billingStatus="pending"))
    apply(connection, finished_session(6))
    apply(connection, finished_session(7, energyConsumption={"total": 23410.0, "grid": 23410}))
    assert revisions(connection) == []


def test_repeating_every_notification_in_any_order_adds_no_revision(connection: Connection) -> None:
    bodies = [finished_session(minute, receiptId=minute) for minute in range(4)]
    for body in bodies:
        apply(connection, body)
    before = revisions(connection)
    assert len(before) == 3
    for body in reversed(bodies):
        apply(connection, body)
    apply(connection, *bodies)
    assert revisions(connection) == before


def test_what_one_chunk_changes_is_one_revision(connection: Connection) -> None:
    apply(connection, finished_session(0, receiptId=1))
    apply(connection, finished_session(1, receiptId=2), finished_session(2, receiptId=3))
    (revision,) = revisions(connection)
    assert (revision["changed_from"]["receipt_id"], revision["changed_to"]["receipt_id"]) == (1, 3)


def test_a_read_that_corrects_says_that_it_was_one(connection: Connection) -> None:
    apply(connection, finished_session(0))
    shown = Session.model_validate(finished_session(9, status="failed")["session"])
    found = ChangeSet()
    session_facts(found, shown, {}, read_fact_factory(SESSION_BEGAN + timedelta(hours=1)))
    upsert(connection, "t", Fold(found.facts))
    (revision,) = revisions(connection)
    assert (revision["column_group"], revision["source"], revision["notification_id"]) == ("state", "read", None)
    assert (revision["changed_from"], revision["changed_to"]) == ({"status": "finished"}, {"status": "failed"})


def test_no_digit_of_an_amount_is_lost_on_the_way(connection: Connection) -> None:
    exact = "12345678901234567890.123456789"
    apply(connection, finished_session(0, electricityCost=exact))
    apply(connection, finished_session(1, electricityCost=1))
    kept = "SELECT CAST(changed_from ->> 'electricity_cost' AS numeric) FROM charging.session_revision"
    assert connection.execute(text(kept)).scalar() == Decimal(exact)


@settings(max_examples=30)
@given(amounts=st.lists(st.integers(0, 3), min_size=2, max_size=6), data=st.data())
def test_a_session_is_shown_as_it_was_known_at_every_moment(
    shared_engine: Engine, amounts: list[int], data: st.DataObject
) -> None:
    # Given corrections, in chunks, each learned a day after the other
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(amounts)), max_size=3))) | {len(amounts)})
    chunks = [amounts[low:high] for low, high in itertools.pairwise([0, *cuts]) if low < high]
    known, minute = [], 0
    with shared_engine.connect() as connection, connection.begin() as transaction:
        for day, chunk in enumerate(chunks):
            bodies = []
            for amount in chunk:
                minute += 1
                bodies.append(finished_session(minute, receiptId=amount, totalAmount={"withTax": amount}))
            apply(connection, *bodies)
            moment = SESSION_BEGAN + timedelta(days=day)
            age = {"moment": moment}
            connection.execute(
                text("UPDATE charging.session_revision SET learned_at = :moment WHERE learned_at = now()"), age
            )
            connection.execute(
                text("UPDATE charging.session SET first_seen_at = :moment WHERE first_seen_at = now()"), age
            )
            known.append((moment, row(connection, "session")))
        # Then each day shows what was known on it
        for moment, then in known:
            (shown,) = connection.execute(
                text("SELECT * FROM charging.session_as_known_at('t', :moment)"), {"moment": moment}
            ).mappings()
            columns = ("status", "receipt_id", "amount_with_tax", "energy_wh", "stopped_at", "currency")
            assert {name: shown[name] for name in columns} == {name: then[name] for name in columns}
        before = {"moment": SESSION_BEGAN - timedelta(days=1)}
        assert not connection.execute(text("SELECT * FROM charging.session_as_known_at('t', :moment)"), before).all()
        transaction.rollback()


def test_a_change_set_keeps_the_first_notification_of_a_fact() -> None:
    found = changes(finished_session(0), finished_session(0))
    first = {fact: source for fact, source in found.source_notifications.items() if fact.group == "state"}
    assert len(first) == 1
