"""Every kind of the registry: what its notification and its read contain is replayed, rebuilt and erased."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from ampeco.api.client import Answer
from ampeco.notifications.parsing import parse
from ampeco.privacy.redaction import redact
from ampeco.resources.kind import ReadRule
from ampeco.resources.kinds import KINDS
from ampeco.resources.read_rules import named_ids
from storage.erasure.suppression import remove_suppressed_from_changes
from storage.schema.entities import MIRRORS
from storage.state.stored import StoredEntity
from storage.write import write_state
from tests.support.erasing import CARD, EMAIL, NAME, TAG, USER, erase, in_their_place, left
from tests.support.facts import sample
from tests.support.hostile import NAMES
from tests.support.log import accept, everything, execute, query
from tests.support.replay import compared, differences, replayed
from workers.apply.apply import apply_open_batches
from workers.maintenance.rebuild import swap
from workers.sync.reads import EntityRead, changes_from_answer

#: What a read shows beside the id and the clock, of kinds that it shows in parts.
PARTS: dict[str, dict[str, Any]] = {
    "session": {"status": "finished", "chargingPeriods": [{"id": 5, "energy": 1}], "userId": 5511},
    "evse": {"connectors": [{"id": 1305, "type": "ccs2"}]},
    "cdr": {"roamingId": "8f0e5a0e-6d3c-4f9d-9d8f-1f8f0a2b7711"},
}


#: What a read shows of a person.
PERSON = {
    "userId": USER,
    "idTag": TAG,
    "idTagUid": TAG,
    "email": EMAIL,
    "firstName": NAME,
    "vehicleNo": f"{NAME}-1",
    "paymentMethodId": CARD,
}


#: The kinds that a notification names.
NOTIFIED = [name for name, kind in KINDS.items() if kind.read_rules]


def notification_of(kind: str) -> dict[str, Any]:
    """A notification that asks for the read of a kind."""
    rule = mark_of(kind)
    return next(sample(name) for name in NAMES if sample(name)["notification"] == rule.notification)


def mark_of(kind: str) -> ReadRule:
    return next(rule for rule in KINDS[kind].read_rules if rule.urgency != "unusable")


def id_in(kind: str, body: dict[str, Any]) -> int:
    """The id of the entity that a notification names; of a kind that is known by a reference, some id."""
    if KINDS[kind].reference_filter is not None:
        return 3001
    return int(named_ids(parse(body), mark_of(kind))[0])


def store_read(engine: Engine, kind: str, entity_id: int, **fields: Any) -> None:
    """Write what a read of an entity says, as a worker does."""
    began_at = datetime.now(UTC)
    raw = {"id": entity_id, "lastUpdatedAt": "2026-03-04T09:00:00+00:00", **PARTS.get(kind, {}), **fields}
    answer = Answer(KINDS[kind].model.model_validate(raw), redact(raw), began_at)
    found = changes_from_answer(kind, None, answer, EntityRead(entity_id, StoredEntity(kind, {}), set()))  # type: ignore[arg-type]
    with engine.begin() as connection:
        remove_suppressed_from_changes(connection, "t", [found])
        write_state(connection, "t", found)


def deliver(engine: Engine, *kinds: str) -> None:
    """Accept and apply a notification of each kind that notifications name."""
    for kind in (kind for kind in kinds if kind in NOTIFIED):
        accept(engine, in_their_place(notification_of(kind)))
    apply_open_batches(engine)


def read(engine: Engine, *kinds: str) -> None:
    """Write what a read of each kind's entity says, with a person in it."""
    for kind in kinds:
        data = {key: value for key, value in PERSON.items() if kind != "user" or key != "userId"}
        named = id_in(kind, in_their_place(notification_of(kind))) if kind in NOTIFIED else 3001
        store_read(engine, kind, named, **data)


def state(engine: Engine, *, own_times: bool = True) -> dict[str, list[str]]:
    found = everything(engine, own_times=own_times)
    return {table: rows for table, rows in found.items() if table.startswith("charging.")}


def rows_of(engine: Engine, kind: str) -> list[dict[str, Any]]:
    matches = MIRRORS[kind].matches("known", tenant="'t'")
    return query(engine, f"SELECT * FROM charging.{MIRRORS[kind].name} AS known WHERE {matches}")


@pytest.mark.parametrize("kind", NOTIFIED)
def test_a_replayed_notification_is_still_applied_and_changes_nothing(engine: Engine, kind: str) -> None:
    # Given an entity that a notification named, and that was read, at once and long after
    deliver(engine, kind)
    read(engine, kind)
    assert len(rows_of(engine, kind)) == 1
    for later in (timedelta(0), timedelta(minutes=10)):
        execute(engine, f"UPDATE charging.{MIRRORS[kind].name} SET presence_at = presence_at + :later", later=later)
        before = state(engine)
        # When the notification is replayed
        result = replayed(engine)
        # Then it is still applied, and nothing changed
        assert query(engine, "SELECT error FROM ingest.outcome") == []
        assert (result.applied, result.failed) == (1, 0)
        assert state(engine) == before
        # And it asks for no read that was made since
        if mark_of(kind).urgency != "unknown" and KINDS[kind].reference_filter is None:
            asked = query(engine, "SELECT * FROM ingest.refresh_request WHERE kind = :kind", kind=kind)
            assert bool(asked) == (not later)
        execute(engine, "DELETE FROM ingest.refresh_request")


def test_a_rebuild_makes_the_same_rows_of_every_kind(engine: Engine) -> None:
    # Given what notifications contain
    deliver(engine, *KINDS)
    accept(engine, sample("NetworkStatusNotification.offline"), sample("HardwareStatusNotification.faulted"))
    apply_open_batches(engine)
    by_notifications = state(engine, own_times=False)
    lost = {kind: (len(rows_of(engine, kind)), 0, 0) for kind in MIRRORS if rows_of(engine, kind)}
    assert {"location", "evse", "user", "tariff", "session", "charge_point"} <= set(lost)
    # When the rows are lost, then a rebuild makes them again
    for table in {mirror.name for mirror in MIRRORS.values()}:
        execute(engine, f"DELETE FROM charging.{table}")
    assert differences(compared(engine)) == lost
    swap(engine, "t")
    assert state(engine, own_times=False) == by_notifications
    # And what reads add is carried over as it stands
    read(engine, *KINDS)
    assert all(rows_of(engine, kind) for kind in KINDS)
    before = state(engine)
    assert differences(compared(engine)) == {}
    assert swap(engine, "t").rows == 0
    assert state(engine) == before


def test_nothing_is_left_of_an_erased_person_in_any_kind(engine: Engine) -> None:
    # Given entities of every kind that name a person, from notifications and from reads
    deliver(engine, *KINDS)
    read(engine, *KINDS)
    for kind in KINDS:
        assert any(str(USER) in str(row) or str(PERSON["email"]) in str(row) for row in rows_of(engine, kind)), kind
    # When the person is erased
    erase(engine, "t")
    # Then nothing is left, and neither a replay nor a read brings the person back
    assert left(engine) == []
    after = state(engine, own_times=False)
    assert replayed(engine).failed == 0
    assert state(engine, own_times=False) == after
    execute(engine, "DELETE FROM ingest.refresh_request")
    read(engine, *KINDS)
    assert left(engine) == []
    assert differences(compared(engine)) == {}
