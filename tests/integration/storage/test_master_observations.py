"""Observations of master data, and the revisions that they show: what changed, from when on, and what reported it."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Connection, Engine, Numeric, event, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from storage.schema.entities import MIRRORS
from storage.schema.tracked import TRACKED
from storage.state.changes import ChangeSet
from storage.state.fold import BEGINNING, Fact, fact_from_notification, fact_from_read
from storage.write import write_changes, write_state
from tests.support.deployment import Deployment
from tests.support.facts import apply, changes, finished_session, recent, sample
from tests.support.locks import after_waiting
from tests.support.log import accept, execute, query
from tests.support.replay import compared, differences, replayed
from workers.apply.apply import apply_open_batches
from workers.maintenance.rebuild import swap

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

REVISIONS = "SELECT * FROM charging.master_revision ORDER BY kind, entity_id, fact_at, column_group, fact_version"


def revisions(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(text(REVISIONS))]


def changed(connection: Connection) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [(row["column_group"], row["changed_from"], row["changed_to"]) for row in revisions(connection)]


def shown(kind: str, minute: int, group: str = "master", **values: Any) -> Fact:
    """What a read shows of entity 7, which changed some minutes after the beginning."""
    at = NOW + minute * MINUTE
    began_at = at if group == "presence" else at + MINUTE / 2
    return fact_from_read(kind, 7, group, at, values, began_at=began_at)


def read(connection: Connection, *facts: Fact) -> None:
    """Write facts as a read of the API does."""
    write_changes(connection, "t", ChangeSet(facts=list(facts)), skip_confirmed=True)


def boot(minute: int, firmware: str = "4.7.1") -> dict[str, Any]:
    body = sample("BootNotification") | {"timestamp": (NOW + minute * MINUTE).isoformat()}
    body["bootNotification"]["firmware_version"] = firmware
    return body


def location(minute: int, name: str) -> dict[str, Any]:
    body = sample("LocationChangedNotification")
    body["location"] |= {
        "name": [{"locale": "en", "translation": name}],
        "lastUpdatedAt": (NOW + minute * MINUTE).isoformat(),
    }
    return body


def tariff(minute: int, price: float) -> dict[str, Any]:
    body = sample("TariffChangedNotification")
    body["tariff"] |= {"pricing": {"pricePerKwh": price}, "lastUpdatedAt": (NOW + minute * MINUTE).isoformat()}
    return body


@contextmanager
def counted(connection: Connection) -> Iterator[list[str]]:
    """Collect the statements that are executed, by the first table that each names."""
    tables: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        named = re.search(r"(?:INTO|FROM|UPDATE) ((?:charging|analytics|ingest)\.\w+)", statement)
        tables.append(named[1] if named else statement)

    event.listen(connection, "before_cursor_execute", note)
    yield tables
    event.remove(connection, "before_cursor_execute", note)


def two_values(kind: str, column: str) -> tuple[Any, Any]:
    """Return two values of a column's type."""
    match MIRRORS[kind].table.columns[column].type:
        case BigInteger():
            return 1, 2
        case Numeric():
            return Decimal("0.1"), Decimal("0.12345678901234567890123456789")
        case Boolean():
            return True, False
        case JSONB():
            return ["quay"], ["quay", "new"]
        case TIMESTAMP():
            return NOW, NOW + MINUTE
        case _:
            return "before", "after"


GROUPS = [(kind, tracked.group.name) for kind, groups in TRACKED.items() for tracked in groups]


@pytest.mark.parametrize(("kind", "group"), GROUPS)
def test_a_change_of_every_tracked_column_is_kept(connection: Connection, kind: str, group: str) -> None:
    (tracked,) = (each for each in TRACKED[kind] if each.group.name == group)
    values = {column: two_values(kind, column) for column in tracked.columns}
    raws = tuple(dict.fromkeys(tracked.raw_keys, side) | {"other": side} for side in ("before", "after"))
    sides = [
        {column: pair[side] for column, pair in values.items()} | ({"raw": raws[side]} if tracked.raw_keys else {})
        for side in (0, 1)
    ]
    for minute, side in enumerate(sides):
        read(connection, shown(kind, minute, group, **side))
    (revision,) = revisions(connection)
    assert (revision["kind"], revision["entity_id"], revision["column_group"]) == (kind, 7, group)
    assert (revision["fact_at"], revision["source"], revision["notification_id"]) == (NOW + MINUTE, "read", None)
    names = {*tracked.columns, *tracked.raw_keys}
    assert revision["changed_from"].keys() == revision["changed_to"].keys() == names
    # No digit is lost, and each value is what the column held
    exact = "SELECT CAST(changed_to AS text) FROM charging.master_revision"
    written = connection.execute(text(exact)).scalar_one()
    assert all(str(after) in written for _, after in values.values() if isinstance(after, Decimal))


def test_the_tracked_columns_are_those_of_master_data_and_none_of_a_person() -> None:
    tracked = {(kind, each.group.name): {*each.columns, *each.raw_keys} for kind, each in _each_group()}
    assert {"location", "charge_point", "evse", "connector", "tariff", "parking_space"} == set(TRACKED)
    assert {"status", "name", "location_id", "partner_id"} <= tracked["charge_point", "master"]
    assert {"status", "charge_point_id", "tariff_group_id"} <= tracked["evse", "master"]
    assert {"price_per_kwh", "pricing"} <= tracked["tariff", "master"]
    assert tracked["parking_space", "master"] == {"occupancyStatus", "status"}
    assert not {"raw", "owner_user_id", "user_id", "id_tag"} & set[str]().union(*tracked.values())


def _each_group() -> Iterator[tuple[str, Any]]:
    return ((kind, each) for kind, groups in TRACKED.items() for each in groups)


def test_only_the_columns_that_changed_are_in_a_revision(connection: Connection) -> None:
    read(connection, shown("evse", 0, status="enabled", label="A", charge_point_id=1))
    read(connection, shown("evse", 1, status="out_of_order", label="A", charge_point_id=1))
    read(connection, shown("evse", 2, status="enabled", label="A", charge_point_id=2))
    assert changed(connection) == [
        ("master", {"status": "enabled"}, {"status": "out_of_order"}),
        ("master", {"status": "out_of_order", "charge_point_id": 1}, {"status": "enabled", "charge_point_id": 2}),
    ]


def test_a_notification_that_changes_master_data_is_named(connection: Connection) -> None:
    apply(connection, location(0, "Quay"), tariff(0, 0.45))
    applied = apply(connection, location(1, "Quayside"), tariff(1, 0.49))
    by_kind = {key.kind: notification_id for key, notification_id in applied.source_notifications.items()}
    found = {row["kind"]: row for row in revisions(connection)}
    assert found["location"]["changed_from"] == {"name": "Quay"}
    assert found["location"]["changed_to"] == {"name": "Quayside"}
    assert found["tariff"]["changed_from"] == {"price_per_kwh": 0.45, "pricing": {"pricePerKwh": 0.45}}
    assert found["tariff"]["changed_to"] == {"price_per_kwh": 0.49, "pricing": {"pricePerKwh": 0.49}}
    for kind, row in found.items():
        assert (row["source"], row["notification_id"]) == ("notification", by_kind[kind])


def test_prices_by_the_hour_are_kept_although_they_have_no_column(connection: Connection) -> None:
    night, day = {"pricePeriods": [{"from": "22:00"}]}, {"pricePeriods": [{"from": "21:00"}]}
    read(connection, shown("tariff", 0, name="DC", raw={"pricing": night}))
    read(connection, shown("tariff", 1, name="DC", raw={"pricing": day, "note": "unlike"}))
    read(connection, shown("tariff", 2, name="DC", raw={"pricing": day, "note": "else"}))
    assert changed(connection) == [("master", {"pricing": night}, {"pricing": day})]


def test_the_occupancy_of_a_parking_space_is_kept_as_it_is_read(deployment: Deployment) -> None:
    for minute, status in enumerate(("occupied", "available", "available")):
        deployment.ampeco.resources["parking-spaces/v1.0/51"] = {
            "id": 51,
            "occupancyStatus": status,
            "status": "enabled",
            "label": f"P{minute}",
            "lastUpdatedAt": (NOW + minute * MINUTE).isoformat(),
        }
        deployment.deliver(recent("parkingSpace.occupancyStatus.changed"))
        deployment.refresh()
    (revision,) = query(deployment.service.engine, REVISIONS)
    assert (revision["kind"], revision["entity_id"], revision["source"]) == ("parking_space", 51, "read")
    assert (revision["changed_from"], revision["changed_to"]) == (
        {"occupancyStatus": "occupied"},
        {"occupancyStatus": "available"},
    )
    assert revision["fact_at"] == NOW + MINUTE


def test_neither_the_first_row_nor_what_is_not_tracked_makes_a_revision(connection: Connection) -> None:
    # An EVSE is known by its status first, and then by a read
    apply(connection, sample("HardwareStatusNotification.evse"), sample("NetworkStatusNotification.offline"))
    read(connection, fact_from_read("evse", 902, "master", NOW, {"label": "A", "raw": {"a": 1}}, began_at=NOW))
    read(
        connection,
        fact_from_read("evse", 902, "master", NOW + MINUTE, {"label": "A", "raw": {"a": 2}}, began_at=NOW + MINUTE),
        shown("charge_point", 0, owner_user_id=5511),
        shown("user", 0, raw={"name": "Ana"}),
        shown("id_tag", 0, raw={"status": "enabled"}),
    )
    read(
        connection,
        shown("charge_point", 1, owner_user_id=5512),
        shown("evse", 1, "presence", deleted_at=NOW),
        shown("user", 1, raw={"name": "Anna"}),
        shown("id_tag", 1, raw={"status": "disabled"}),
    )
    read(connection, shown("evse", 2, "presence", deleted_at=None))
    apply(connection, sample("HardwareStatusNotification.faulted"), sample("NetworkStatusNotification.available"))
    assert revisions(connection) == []


def test_a_fact_without_a_time_of_its_own_makes_no_revision(connection: Connection) -> None:
    for parent in (1, 2):
        fact = fact_from_notification("evse", 7, "master", BEGINNING, {"charge_point_id": parent}, partial=True)
        write_state(connection, "t", ChangeSet(facts=[fact]))
    read(connection, shown("evse", 0, charge_point_id=3, status="enabled"))
    assert revisions(connection) == []


def test_repeated_and_older_facts_add_nothing(connection: Connection) -> None:
    bodies = [location(minute, name) for minute, name in enumerate(("A", "B", "C"))] + [boot(0), boot(5), boot(9)]
    reads = [shown("evse", 0, status="enabled"), shown("evse", 3, status="disabled")]
    for body in bodies:
        apply(connection, body)
    for fact in reads:
        read(connection, fact)
    before = revisions(connection)
    assert len(before) == 2 + 2 + 1
    for body in random.Random(3).sample(bodies * 3, 18):
        apply(connection, body)
    for fact in reads * 2:
        read(connection, fact)
    # A read later shows the same, by its own time or by a later one
    at = NOW + 3 * MINUTE
    read(connection, fact_from_read("evse", 7, "master", at, {"status": "disabled"}, began_at=at + MINUTE))
    read(connection, shown("evse", 8, status="disabled"))
    assert revisions(connection) == before


def test_a_fact_that_arrives_late_takes_its_place_in_the_order_of_the_clocks(connection: Connection) -> None:
    for body in (location(0, "A"), location(4, "C"), boot(0), boot(9, "5")):
        apply(connection, body)
    late = apply(connection, location(2, "B"), boot(7, "6"), location(-1, "Z"))
    assert changed(connection) == [
        ("boot", {"firmware_version": "4.7.1"}, {"firmware_version": "6"}),
        ("boot", {"firmware_version": "6"}, {"firmware_version": "5"}),
        ("master", {"name": "Z"}, {"name": "A"}),
        ("master", {"name": "A"}, {"name": "B"}),
        ("master", {"name": "B"}, {"name": "C"}),
    ]
    by_name = {row["changed_to"].get("name"): row["notification_id"] for row in revisions(connection)}
    assert by_name["B"] in late.source_notifications.values()
    # And the state keeps what is newest
    assert connection.execute(text("SELECT name FROM charging.location")).scalar_one() == "C"


FACTS = [
    *(shown("evse", minute, label=label) for minute, label in enumerate(("A", "B", "B", "A"))),
    fact_from_read("evse", 7, "master", NOW + 3 * MINUTE, {"label": "C"}, began_at=NOW + 9 * MINUTE),
    fact_from_notification("evse", 7, "master", NOW + 2 * MINUTE, {"label": "D"}, partial=True),
]


@pytest.mark.parametrize("seed", range(24))
def test_the_order_and_the_chunks_in_which_facts_arrive_do_not_matter(connection: Connection, seed: int) -> None:
    order = random.Random(seed).sample(FACTS, len(FACTS))
    size = seed % 3 + 1
    for first in range(0, len(order), size):
        write_changes(connection, "t", ChangeSet(facts=order[first : first + size]))
    assert changed(connection) == [
        ("master", {"label": "A"}, {"label": "B"}),
        # Of two reads that show one time of change, the later one counts
        ("master", {"label": "B"}, {"label": "D"}),
        ("master", {"label": "B"}, {"label": "C"}),
    ]


def kept(connection: Connection) -> list[int]:
    """The minutes of the observations."""
    found = connection.execute(text("SELECT fact_at FROM charging.master_observation ORDER BY fact_at")).scalars()
    return [round((at - NOW) / MINUTE) for at in found]


def test_of_reads_that_show_the_same_the_first_and_the_last_are_kept(connection: Connection) -> None:
    for minute, label in enumerate("AAAABBA"):
        read(connection, shown("evse", minute * 2, label=label))
        read(connection, shown("evse", minute * 2, label=label))
    assert kept(connection) == [0, 6, 8, 10, 12]
    # One that is late adds nothing between two that show the same, and else what it shows
    read(connection, shown("evse", 3, label="A"))
    assert kept(connection) == [0, 6, 8, 10, 12]
    read(connection, shown("evse", 5, label="B"))
    assert kept(connection) == [0, 5, 6, 8, 10, 12]
    assert [round((row["fact_at"] - NOW) / MINUTE) for row in revisions(connection)] == [5, 6, 8, 12]


def test_reads_that_show_where_a_connector_belongs_add_nothing_until_it_moves(connection: Connection) -> None:
    for minute, evse_id in enumerate((1, 1, 1, 2, 2, 1)):
        connection.execute(text("DELETE FROM analytics.dirty"))
        read(connection, shown("connector", minute, "presence", evse_id=evse_id))
        marked = connection.execute(text("SELECT count(*) FROM analytics.dirty WHERE kind = 'connector'")).scalar_one()
        assert (marked > 0) == (minute in (0, 3, 5))
    assert kept(connection) == [0, 3, 5]


def test_a_boot_that_a_wrong_clock_dates_is_new_only_if_it_differs(connection: Connection) -> None:
    for minute, firmware in enumerate(("1", "1", "1", "2", "2")):
        at = NOW + minute * MINUTE
        values = {"firmware_version": firmware}
        read(connection, fact_from_read("charge_point", 7, "boot", at, values, began_at=at))
    assert kept(connection) == [0, 3]
    assert changed(connection) == [("boot", {"firmware_version": "1"}, {"firmware_version": "2"})]


def test_a_read_that_is_overtaken_by_another_one_of_its_time_removes_nothing(connection: Connection) -> None:
    for minute, label in enumerate("AAB"):
        read(connection, shown("evse", minute, label=label))
    at = NOW + 2 * MINUTE
    read(connection, fact_from_read("evse", 7, "master", at, {"label": "A"}, began_at=at + MINUTE / 4))
    assert kept(connection) == [0, 1, 2]


def test_what_a_notification_changed_for_a_moment_stays_beside_reads_that_show_the_same(connection: Connection) -> None:
    def notified(minute: int) -> Fact:
        at = NOW + minute * MINUTE
        return fact_from_notification("evse", 7, "master", at, {"label": "B"}, partial=True)

    for each in (shown("evse", 0, label="A"), notified(5), shown("evse", 10, label="A"), notified(12)):
        read(connection, each)
    read(connection, shown("evse", 20, label="A"))
    assert changed(connection) == [("master", {"label": "A"}, {"label": "B"})] * 2


def test_reads_of_one_entity_that_are_written_together_are_all_kept(connection: Connection) -> None:
    for minute in (0, 1, 2):
        read(connection, shown("evse", minute, label="A"))
    read(connection, shown("evse", 2, label="B"), shown("evse", 3, label="B"))
    at = NOW + 2 * MINUTE
    again = fact_from_read("evse", 7, "master", at, {"label": "C"}, began_at=at + MINUTE)
    read(connection, again, shown("evse", 4, label="C"))
    assert changed(connection) == [
        ("master", {"label": "A"}, {"label": "C"}),
        ("master", {"label": "C"}, {"label": "B"}),
        ("master", {"label": "B"}, {"label": "C"}),
    ]


def test_what_comes_back_in_reads_that_are_written_together_is_a_version_of_its_own(connection: Connection) -> None:
    for minute in (0, 9):
        read(connection, shown("evse", minute, label="A"))
    read(connection, shown("connector", 0, "presence", evse_id=1))
    read(connection, *(shown("evse", minute, label=label) for minute, label in ((3, "B"), (5, "A"))))
    read(connection, *(shown("connector", minute, "presence", evse_id=evse_id) for minute, evse_id in ((3, 2), (5, 1))))
    times = [round((row["fact_at"] - NOW) / MINUTE) for row in revisions(connection)]
    assert times == [3, 5] * 2


def test_a_connector_that_moves_and_comes_back_has_two_revisions(connection: Connection) -> None:
    for minute, evse_id in enumerate((1, 2, 1)):
        read(connection, shown("connector", minute, "presence", evse_id=evse_id))
    assert changed(connection) == [
        ("presence", {"evse_id": 1}, {"evse_id": 2}),
        ("presence", {"evse_id": 2}, {"evse_id": 1}),
    ]


def test_a_read_that_confirms_a_notification_adds_nothing(connection: Connection) -> None:
    apply(connection, boot(0))
    apply(connection, boot(5))
    values = {"boot_vendor": "Voltmark", "boot_model": "QC-50", "firmware_version": "4.7.1", "meter_type": "MID-3P"}
    values |= {"charge_point_serial_number": "VM50-000731", "iccid": "8935901740002211345"}
    at = NOW + 5 * MINUTE
    read(connection, fact_from_read("charge_point", 418, "boot", at, values, began_at=at + MINUTE))
    assert changed(connection) == [("boot", {}, {})]


def test_each_boot_is_a_revision_even_if_it_changes_nothing(connection: Connection) -> None:
    applied = [apply(connection, body) for body in (boot(0), boot(5), boot(9, "4.8.0"))]
    assert changed(connection) == [
        ("boot", {}, {}),
        ("boot", {"firmware_version": "4.7.1"}, {"firmware_version": "4.8.0"}),
    ]
    sources = [notification_id for each in applied[1:] for notification_id in each.source_notifications.values()]
    assert [row["notification_id"] for row in revisions(connection)] == sources
    assert [row["fact_at"] for row in revisions(connection)] == [NOW + 5 * MINUTE, NOW + 9 * MINUTE]


BOOTS = [boot(minute, firmware) for minute, firmware in enumerate(("1", "2", "2", "3"))]


@pytest.mark.parametrize("cuts", [cuts for n in range(4) for cuts in itertools.combinations((1, 2, 3), n)])
def test_boots_that_arrive_in_order_are_kept_however_they_are_chunked(
    connection: Connection, cuts: tuple[int, ...]
) -> None:
    for low, high in itertools.pairwise((0, *cuts, len(BOOTS))):
        # Within a chunk the order does not matter
        apply(connection, *reversed(BOOTS[low:high]), BOOTS[low])
    assert changed(connection) == [
        ("boot", {"firmware_version": "1"}, {"firmware_version": "2"}),
        ("boot", {}, {}),
        ("boot", {"firmware_version": "2"}, {"firmware_version": "3"}),
    ]


def test_what_one_chunk_changes_is_a_revision_for_each_fact(connection: Connection) -> None:
    apply(connection, location(0, "A"))
    apply(connection, location(1, "B"), location(2, "C"))
    assert changed(connection) == [("master", {"name": "A"}, {"name": "B"}), ("master", {"name": "B"}, {"name": "C"})]


def test_a_conflict_that_a_read_resolves_is_one_revision(connection: Connection) -> None:
    apply(connection, location(0, "A"))
    apply(connection, location(1, "B"))
    at = NOW + MINUTE
    fact = fact_from_read("location", 66, "master", at, {"name": "C"}, began_at=at + MINUTE)
    assert write_state(connection, "t", ChangeSet(facts=[fact])) == []
    assert [(row["source"], row["changed_to"].get("name")) for row in revisions(connection)] == [
        ("notification", "B"),
        ("read", "C"),
    ]


SETTLED = "SELECT * FROM charging.master_revision WHERE fact_version !~ '^0.0:' ORDER BY fact_at"


def settled(connection: Connection) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    found = connection.execute(text(SETTLED)).mappings()
    return [(row["changed_from"], row["changed_to"]) for row in found]


def shown_location(minute: int, name: str, **values: Any) -> Fact:
    at = NOW + minute * MINUTE
    return fact_from_read("location", 66, "master", at, {"name": name, **values}, began_at=at + MINUTE)


def test_what_a_provisional_fact_lacks_is_no_change_once_a_read_completes_it(connection: Connection) -> None:
    # Given a location that was read, in the vocabulary of the API
    kept = {"status": "enabled", "region": "Varna"}
    read(connection, shown_location(0, "A", **kept))
    # When a notification in an older vocabulary reports a change, another one follows, and then a read
    apply(connection, location(1, "B"))
    assert settled(connection) == []
    apply(connection, location(2, "C"))
    read(connection, shown_location(2, "C", **kept))
    # Then what is not provisional is a history of its own
    assert settled(connection) == [({"name": "A"}, {"name": "C"})]
    # And the next change begins where it ended
    apply(connection, location(3, "C"))
    read(connection, shown_location(3, "C", **kept))
    assert len(settled(connection)) == 1
    apply(connection, location(4, "D"))
    read(connection, shown_location(4, "D", **kept | {"status": "disabled"}))
    assert settled(connection)[1:] == [({"name": "C", "status": "enabled"}, {"name": "D", "status": "disabled"})]


def test_a_read_that_confirms_every_column_of_a_provisional_fact_settles_its_change(connection: Connection) -> None:
    read(connection, shown("tariff", 0, name="A"))
    at = NOW + MINUTE
    notified = fact_from_notification("tariff", 7, "master", at, {"name": "B"}, partial=True)
    write_state(connection, "t", ChangeSet(facts=[notified]))
    read(connection, fact_from_read("tariff", 7, "master", at, {"name": "B"}, began_at=at))
    assert settled(connection) == [({"name": "A"}, {"name": "B"})]
    assert len(revisions(connection)) == 2


def test_a_price_with_another_number_of_decimals_has_not_changed(connection: Connection) -> None:
    for minute, price in enumerate(("0.45", "0.450", "4.5e-1")):
        read(connection, shown("tariff", minute, price_per_kwh=Decimal(price)))
    assert revisions(connection) == []


def test_a_status_or_a_session_costs_no_statement_more(connection: Connection) -> None:
    bodies = [sample("HardwareStatusNotification.evse"), sample("NetworkStatusNotification.offline")]
    bodies += [finished_session(0), sample("SessionMeterValuesNotification")]
    for body in bodies:
        apply(connection, body)

    def cost(*bodies: dict[str, Any]) -> list[str]:
        found = changes(*bodies)
        with counted(connection) as tables:
            write_state(connection, "t", found)
        history = ("charging.master_observation", "charging.session_revision")
        return [table for table in tables if table in history or ("observation" not in table and "charging" in table)]

    later = [body | {"timestamp": (NOW + 60 * MINUTE).isoformat()} for body in bodies[:2]]
    assert cost(*later) == ["charging.charge_point", "charging.evse"]
    assert cost(*later) == ["charging.charge_point", "charging.evse"]
    # A session that has stopped is locked, written, and gets revisions of its own
    session = finished_session(9, receiptId=5)
    assert cost(session).count("charging.session") == 2
    assert "charging.master_observation" not in cost(session, *later)


def test_what_each_fact_costs_in_statements(connection: Connection) -> None:
    def cost(*facts: Fact) -> list[str]:
        with counted(connection) as tables:
            write_state(connection, "t", ChangeSet(facts=list(facts)), skip_confirmed=True)
        return tables

    mirror, history, mark = "charging.evse", "charging.master_observation", "analytics.dirty"
    status = fact_from_notification("evse", 7, "hardware", NOW, {"hardware_status": "faulted"})
    placeholder = fact_from_notification("evse", 7, "master", BEGINNING, {"charge_point_id": 1}, partial=True)
    assert cost(status, placeholder) == [mirror, mark], "a status"
    assert cost(shown("evse", 0, status="enabled")) == [mirror, history, mark], "the first read of a known row"
    assert cost(shown("evse", 1, status="disabled")) == [mirror, history, mark], "a change"
    assert cost(shown("evse", 1, status="disabled")) == [mirror, history], "the same again"
    assert cost(shown("evse", 0, status="enabled")) == [mirror, history], "an older fact that is known"


def test_several_kinds_are_recorded_by_one_statement(connection: Connection) -> None:
    apply(connection, location(0, "A"), tariff(0, 1), boot(0))
    with counted(connection) as tables:
        apply(connection, location(1, "B"), tariff(1, 2), boot(1))
    assert tables.count("charging.master_observation") == 1
    assert len(revisions(connection)) == 3


@pytest.mark.parametrize("is_known", [True, False], ids=["a known entity", "a new entity"])
def test_of_two_writers_each_adds_its_change_once(engine: Engine, is_known: bool) -> None:
    if is_known:
        with engine.begin() as connection:
            read(connection, shown("evse", 0, status="a"))
    after_waiting(
        engine,
        lambda connection: read(connection, shown("evse", 1, status="b")),
        lambda connection: read(connection, shown("evse", 2, status="c")),
    )
    found = [(row["changed_from"]["status"], row["changed_to"]["status"]) for row in query(engine, REVISIONS)]
    assert found == ([("a", "b")] if is_known else []) + [("b", "c")]


def test_of_two_writers_of_one_fact_one_adds_it(engine: Engine) -> None:
    with engine.begin() as connection:
        read(connection, shown("evse", 0, status="a"))
    newer = shown("evse", 1, status="b")
    after_waiting(engine, lambda connection: read(connection, newer), lambda connection: read(connection, newer))
    assert [row["changed_to"] for row in query(engine, REVISIONS)] == [{"status": "b"}]


def test_the_older_of_two_facts_that_waits_takes_its_place(engine: Engine) -> None:
    with engine.begin() as connection:
        read(connection, shown("evse", 0, status="a"))
    after_waiting(
        engine,
        lambda connection: read(connection, shown("evse", 2, status="c")),
        lambda connection: read(connection, shown("evse", 1, status="b")),
    )
    assert [row["changed_to"] for row in query(engine, REVISIONS)] == [{"status": "b"}, {"status": "c"}]


def test_the_other_groups_of_a_row_that_changes_are_written_in_the_same_transaction(connection: Connection) -> None:
    apply(connection, boot(0), sample("NetworkStatusNotification.available"))
    later = sample("NetworkStatusNotification.offline") | {"timestamp": "2026-03-04T11:00:00+00:00"}
    apply(connection, boot(1, "5"), later)
    columns = "firmware_version, network_status, first_seen_at IS NOT NULL, updated_at = now()"
    row = connection.execute(text(f"SELECT {columns} FROM charging.charge_point")).one()
    assert tuple(row) == ("5", "temporarily_unavailable", True, True)


def logged(engine: Engine) -> None:
    """A log in which a location, a tariff and a charge point change."""
    for bodies in ([location(0, "A"), tariff(0, 1), boot(0)], [location(1, "B"), tariff(1, 2), boot(1)]):
        accept(engine, *bodies)
        apply_open_batches(engine)


def test_replaying_the_log_adds_no_revision_of_master_data(engine: Engine) -> None:
    logged(engine)
    before = query(engine, REVISIONS)
    assert len(before) == 3
    replayed(engine, limit=1)
    replayed(engine)
    assert query(engine, REVISIONS) == before


OBSERVATIONS = "SELECT * FROM charging.master_observation ORDER BY kind, entity_id, fact_at, column_group"


def test_a_rebuild_adds_the_observations_that_are_missing_and_corrects_those_of_an_earlier_release(
    engine: Engine,
) -> None:
    logged(engine)
    with engine.begin() as connection:
        read(connection, shown("tariff", 0, name="of a read"))
    before = query(engine, OBSERVATIONS)
    # Given an observation that is missing, and one in which another release read a notification otherwise
    execute(engine, "DELETE FROM charging.master_observation WHERE kind = 'tariff' AND source = 'notification'")
    execute(engine, "UPDATE charging.master_observation SET tracked = '{}', digest = 'x' WHERE kind = 'location'")
    assert differences(compared(engine)) == {"master_observation": (4, 2, 0)}
    swap(engine, "t")
    # Then all are as the log has them, what was read stays, and another rebuild finds nothing to do
    after = query(engine, OBSERVATIONS)
    assert [row | {"recorded_at": None} for row in after] == [row | {"recorded_at": None} for row in before]
    assert differences(compared(engine)) == {}
