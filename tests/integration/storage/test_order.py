"""Order, duplicates and loss do not matter: the same facts end in the same rows."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from storage.state.facts import presence
from storage.state.fold import Fold, fact_from_notification, fact_from_read
from storage.state.upsert import upsert
from tests.support.facts import apply, changes, rows, sample
from tests.support.strategies import BEGAN, fleet_notifications, session_notifications, times

TABLES = (
    "session",
    "charging_period",
    "authorization",
    "evse",
    "connector",
    "charge_point",
    "location",
    "evse_status_observation",
    "charge_point_hardware_observation",
    "charge_point_network_observation",
    "meter_value",
)


def everything(engine: Engine, arrivals: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The state after chunks of notifications, one after the other."""
    with engine.connect() as connection, connection.begin() as transaction:
        for chunk in arrivals:
            apply(connection, *chunk)
        state = {table: rows(connection, table) for table in TABLES}
        transaction.rollback()
    return state


@st.composite
def two_arrivals(
    draw: st.DrawFn, notifications: st.SearchStrategy[dict[str, Any]]
) -> tuple[list[list[dict[str, Any]]], list[list[dict[str, Any]]]]:
    """The same notifications twice: one by one in one order, and in chunks, repeated, in another."""
    bodies = draw(st.lists(notifications, min_size=1, max_size=7))
    repeated = bodies + draw(st.lists(st.sampled_from(bodies), max_size=3))
    shuffled = draw(st.permutations(repeated))
    cuts = sorted(draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    edges = [0, *cuts, len(shuffled)]
    chunks = [shuffled[low:high] for low, high in itertools.pairwise(edges) if low < high]
    return [[one] for one in bodies], chunks


@settings(max_examples=60)
@given(arrivals=two_arrivals(session_notifications()))
def test_any_order_and_repetition_of_a_sessions_notifications_ends_in_the_same_rows(
    shared_engine: Engine, arrivals: tuple[list[list[dict[str, Any]]], list[list[dict[str, Any]]]]
) -> None:
    one_by_one, in_chunks = arrivals
    assert everything(shared_engine, one_by_one) == everything(shared_engine, in_chunks)


@settings(max_examples=60)
@given(arrivals=two_arrivals(fleet_notifications()))
def test_any_order_and_repetition_of_a_fleets_notifications_ends_in_the_same_rows(
    shared_engine: Engine, arrivals: tuple[list[list[dict[str, Any]]], list[list[dict[str, Any]]]]
) -> None:
    one_by_one, in_chunks = arrivals
    assert everything(shared_engine, one_by_one) == everything(shared_engine, in_chunks)


@st.composite
def facts(draw: st.DrawFn, *, reads: bool = True) -> Any:
    moment = BEGAN + timedelta(seconds=draw(times))
    values = {"name": draw(st.sampled_from(["a", "b"])), "status": None}
    if reads and draw(st.booleans()):
        began_at = BEGAN + timedelta(seconds=draw(times))
        return fact_from_read("location", 1, "master", moment, values, began_at=began_at)
    return fact_from_notification(
        "location", 1, "master", moment, values, final=draw(st.booleans()), partial=draw(st.booleans())
    )


def standing(row: dict[str, Any]) -> dict[str, Any]:
    """What stands; whether it is conflicting may depend on whether a read came before or after the doubt."""
    return {name: value for name, value in row.items() if not name.endswith("_conflicting")}


@given(unordered=st.lists(facts(), min_size=1, max_size=6), data=st.data())
def test_a_fold_keeps_the_same_facts_in_any_order(unordered: list[Any], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(unordered))
    (one,), (other,) = Fold(unordered).rows("location"), Fold(shuffled).rows("location")
    assert standing(one) == standing(other)


@given(unordered=st.lists(facts(reads=False), min_size=1, max_size=6), data=st.data())
def test_notifications_conflict_in_the_same_way_in_any_order(unordered: list[Any], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(unordered))
    assert Fold(unordered).rows("location") == Fold(shuffled).rows("location")


@st.composite
def chunks_of_facts(draw: st.DrawFn) -> list[list[Any]]:
    """Facts as they are written together: several of notifications, or each by itself if there are reads.

    With a read, only the greatest of the facts that were folded is compared.
    """
    chunk = draw(st.sampled_from([st.lists(facts(reads=False), min_size=1, max_size=3), st.tuples(facts()).map(list)]))
    return draw(st.lists(chunk, min_size=1, max_size=5))


@settings(max_examples=150)
@given(chunks=chunks_of_facts())
def test_the_guard_in_the_upsert_is_the_rule_of_the_fold(shared_engine: Engine, chunks: list[list[Any]]) -> None:
    # Given the same facts, folded at once, and written in chunks
    (folded,) = Fold(itertools.chain.from_iterable(chunks)).rows("location")
    with shared_engine.connect() as connection, connection.begin() as transaction:
        for chunk in chunks:
            upsert(connection, "t", Fold(chunk))
        (stored,) = rows(connection, "location")
        transaction.rollback()
    # Then every column agrees, the doubt included
    assert {name: stored[name] for name in folded if name != "raw"} == {
        name: value for name, value in folded.items() if name != "raw"
    }


@st.composite
def reads_and_notifications(draw: st.DrawFn) -> list[Any]:
    """Facts of one location: reads in the order in which they began, and among them notifications in any."""
    began, written = BEGAN, []
    for _ in range(draw(st.integers(1, 7))):
        moment, name = BEGAN + timedelta(seconds=draw(times)), draw(st.sampled_from(["a", "b"]))
        values = {"name": name, "status": None, "raw": {"name": name, "number": draw(st.integers(0, 1))}}
        if draw(st.booleans()):
            written.append(fact_from_notification("location", 1, "master", moment, values, partial=draw(st.booleans())))
            continue
        # No two reads of an entity begin in the same microsecond; the facts of one read are always written together.
        began += timedelta(seconds=draw(st.integers(0, 1)), microseconds=1)
        written.append(fact_from_read("location", 1, "master", moment, values, began_at=began))
        written.append(presence("location", 1, began_at=began, gone=draw(st.booleans())))
    return written


@settings(max_examples=100)
@given(written=reads_and_notifications())
def test_a_confirmed_fact_that_a_read_does_not_write_decides_nothing(shared_engine: Engine, written: list[Any]) -> None:
    # Given facts that are written one by one, but for what reads merely confirm, and all of them folded
    (folded,) = Fold(written).rows("location")
    with shared_engine.connect() as connection, connection.begin() as transaction:
        for fact in written:
            upsert(connection, "t", Fold([fact]), skip_confirmed=True)
        (stored,) = rows(connection, "location")
        transaction.rollback()
    # Then both say the same and leave the same in doubt, the clocks that decide nothing aside
    unwritten = {"master_version", "presence_version", "presence_at", "deleted_at"}
    if folded.get("deleted_at") is None:
        unwritten.discard("deleted_at")
    assert {name: stored[name] for name in folded if name not in unwritten} == {
        name: value for name, value in folded.items() if name not in unwritten
    }
    assert (stored["deleted_at"] is None) == (folded.get("deleted_at") is None)
    # And no clock is ahead of the fold's, nor does a notification take the place of a read
    for group in ("master", "presence"):
        at, version = folded.get(f"{group}_at"), folded.get(f"{group}_version")
        if at is not None and version is not None:
            assert (stored[f"{group}_at"], stored[f"{group}_version"]) <= (at, version)
            assert stored[f"{group}_version"][:3] == version[:3]


def test_findings_of_a_snapshot_hold_no_secret() -> None:
    body = sample("ChargePointChangedNotification")
    body["chargePoint"] |= {"networkPassword": "hush", "pin": "secret-pin", "sharingCode": "abcd"}
    assert "hush" not in repr(changes(body))
    assert "secret-pin" not in repr(changes(body))
    assert "abcd" not in repr(changes(body))
