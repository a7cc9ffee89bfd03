"""Children follow their parents: connectors their EVSE, charging periods their session, wherever they move."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

import migrations
from ampeco.resources.kinds import KINDS
from storage.database import create_database_engine
from storage.schema.entities import CHILDREN, MIRRORS
from storage.sync import sync_runs
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import sample
from workers.sync.reconcile import sync_pages

#: A later change than that of any other parent here.
LATE, EARLY = "2026-03-04T09:00:00+00:00", "2026-03-04T08:00:00+00:00"


@dataclass(frozen=True)
class Family:
    """A kind whose children may move: two parents, and a child."""

    kind: str
    answer: dict[str, Any]
    part: str
    ids: tuple[int, int]

    @property
    def child(self) -> str:
        return CHILDREN[self.kind]

    def parent(self, parent_id: int, changed_at: str, *children: dict[str, Any]) -> dict[str, Any]:
        own = {"id": parent_id, "lastUpdatedAt": changed_at, self.part: list(children)}
        return {name: value for name, value in self.answer.items() if name != "authorization"} | own

    @property
    def one_child(self) -> dict[str, Any]:
        found: dict[str, Any] = self.answer[self.part][0]
        return found


LOCATION = {"id": 31, "chargingZones": [{"id": 7, "name": "Upper deck", "locationId": 31, "status": "enabled"}]}

FAMILIES = [
    Family("evse", shown("evse_read"), "connectors", (902, 903)),
    Family("session", shown("session_read"), "chargingPeriods", (77120, 77121)),
    Family("location", LOCATION, "chargingZones", (31, 32)),
]


@pytest.fixture(params=FAMILIES, ids=[family.kind for family in FAMILIES])
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


def show(deployment: Deployment, family: Family, *parents: dict[str, Any]) -> None:
    """Let AMPECO show these parents, and no others."""
    kind = KINDS[family.kind]
    for path in [path for path in deployment.ampeco.resources if path.startswith(f"{kind.path}/")]:
        del deployment.ampeco.resources[path]
    deployment.ampeco.resources |= {kind.path_of(int(parent["id"])): parent for parent in parents}
    deployment.ampeco.everything[kind.path] = list(parents)


def sync_run(deployment: Deployment, kind: str) -> None:
    """Reconcile a kind, and read what that asks for."""
    with deployment.service.engine.begin() as connection:
        begun = sync_runs.begin(connection, "demo", kind, "reconcile", None)
        connection.execute(text(f"UPDATE charging.{kind} SET first_seen_at = first_seen_at - interval '1 hour'"))
    assert begun is not None
    list(sync_pages(deployment.context, begun, reason="reconcile"))
    deployment.refresh()


def read(deployment: Deployment, kind: str, *ids: int) -> None:
    """Read entities one by one, in this order."""
    for entity_id in ids:
        with deployment.service.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                    f" VALUES ('demo', '{kind}', {entity_id}, 'changed')"
                )
            )
        deployment.refresh()


def child(deployment: Deployment, family: Family) -> tuple[int, bool]:
    """The parent of the only child, and whether it is there."""
    row = deployment.row(family.child)
    return row[f"{family.kind}_id"], row["deleted_at"] is None


@pytest.mark.parametrize("changed_at", [(LATE, EARLY), (EARLY, LATE)], ids=["to an older", "to a younger"])
@pytest.mark.parametrize("way", [(0, 1), (1, 0)], ids=["up", "down"])
def test_a_child_that_moves_is_there_and_stays_there_at_every_sync_run(
    deployment: Deployment, family: Family, way: tuple[int, int], changed_at: tuple[str, str]
) -> None:
    # Given two parents, and a child of the one
    source, target = family.ids[way[0]], family.ids[way[1]]
    show(
        deployment, family, family.parent(source, changed_at[0], family.one_child), family.parent(target, changed_at[1])
    )
    sync_run(deployment, family.kind)
    assert child(deployment, family) == (source, True)
    # When it moves to the other, whichever of the two changed last
    show(
        deployment, family, family.parent(source, changed_at[0]), family.parent(target, changed_at[1], family.one_child)
    )
    # Then it is there after every walk
    for _ in range(3):
        sync_run(deployment, family.kind)
        assert child(deployment, family) == (target, True)


@pytest.mark.parametrize("order", list(itertools.permutations((0, 1))), ids=["from, to", "to, from"])
def test_of_two_parents_the_later_read_wins_whichever_changed_last(
    deployment: Deployment, family: Family, order: tuple[int, int]
) -> None:
    source, target = family.ids
    show(deployment, family, family.parent(source, LATE, family.one_child), family.parent(target, EARLY))
    sync_run(deployment, family.kind)
    show(deployment, family, family.parent(source, LATE), family.parent(target, EARLY, family.one_child))
    for _ in range(2):
        read(deployment, family.kind, *(family.ids[one] for one in order))
        assert child(deployment, family) == (target, True)
    # And once no parent shows it, it is gone
    show(deployment, family, family.parent(source, LATE), family.parent(target, EARLY))
    read(deployment, family.kind, source)
    assert child(deployment, family) == (target, True)
    read(deployment, family.kind, target)
    assert child(deployment, family) == (target, False)


def test_children_are_gone_with_their_parent_and_there_again_with_it(deployment: Deployment, family: Family) -> None:
    parent_id = family.ids[0]
    parent = family.parent(parent_id, EARLY, family.one_child)
    show(deployment, family, parent)
    read(deployment, family.kind, parent_id)
    assert child(deployment, family) == (parent_id, True)
    # When the parent is read and not found, then its children are as gone as it is
    show(deployment, family)
    read(deployment, family.kind, parent_id)
    assert child(deployment, family) == (parent_id, False)
    assert deployment.row(family.child)["deleted_at"] == deployment.row(family.kind)["deleted_at"]
    # And they are back when it is back
    show(deployment, family, parent)
    read(deployment, family.kind, parent_id)
    assert child(deployment, family) == (parent_id, True)
    assert deployment.row(family.kind)["deleted_at"] is None


def test_a_child_that_moved_before_its_parent_went_stays(deployment: Deployment, family: Family) -> None:
    source, target = family.ids
    show(deployment, family, family.parent(source, LATE, family.one_child), family.parent(target, EARLY))
    sync_run(deployment, family.kind)
    # When the child moves, and then its former parent is gone, in whichever order the two are read
    show(deployment, family, family.parent(target, EARLY, family.one_child))
    read(deployment, family.kind, source, target)
    assert child(deployment, family) == (target, True)
    read(deployment, family.kind, target, source)
    assert child(deployment, family) == (target, True)


def test_a_reconcile_buries_the_children_that_outlived_their_parent(deployment: Deployment, family: Family) -> None:
    # Given a parent that is gone, and a child that is not, as an older release left them
    parent_id, other = family.ids
    show(deployment, family, family.parent(parent_id, EARLY, family.one_child))
    read(deployment, family.kind, parent_id)
    show(deployment, family, family.parent(other, EARLY))
    gone_at = datetime(2026, 3, 4, 7, tzinfo=UTC)
    with deployment.service.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE charging.{family.kind} SET deleted_at = :at, presence_at = now()"), {"at": gone_at}
        )
    # When the kind is reconciled
    sync_run(deployment, family.kind)
    # Then it is gone, too, and since its parent is
    assert child(deployment, family) == (parent_id, False)
    assert deployment.row(family.child)["deleted_at"] == gone_at


def test_a_child_that_a_late_notification_adds_is_marked_as_deleted_as_well(deployment: Deployment) -> None:
    # Given a session that AMPECO has deleted, and a notification of it that comes late
    family = FAMILIES[1]
    show(deployment, family)
    read(deployment, "session", 77120)
    assert deployment.row("session")["deleted_at"] is not None
    deployment.deliver(sample("SessionUpdateNotification.active"))
    assert child(deployment, family) == (77120, True)
    # When sessions are reconciled, then its period is gone
    sync_run(deployment, "session")
    assert child(deployment, family) == (77120, False)


def test_the_evses_of_a_charge_point_that_is_gone_are_asked_for(deployment: Deployment) -> None:
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    # When a charge point is gone with its EVSE, and AMPECO notifies of the charge point alone
    del deployment.ampeco.resources["charge-points/v2.0/418"], deployment.ampeco.resources["evses/v2.1/902"]
    deployment.deliver(sample("chargePoint.changed") | {"action": "deleted"})
    deployment.refresh()
    deployment.refresh()
    # Then its EVSE and that one's connector are gone, too
    for table in ("charge_point", "evse", "connector"):
        assert deployment.row(table)["deleted_at"] is not None, table


def test_an_evse_that_moves_to_another_charge_point_stays_when_its_former_one_goes(deployment: Deployment) -> None:
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    deployment.ampeco.resources["evses/v2.1/902"] |= {"chargePointId": 419, "lastUpdatedAt": LATE}
    del deployment.ampeco.resources["charge-points/v2.0/418"]
    deployment.deliver(sample("chargePoint.changed") | {"action": "deleted"})
    deployment.refresh()
    deployment.refresh()
    evse = deployment.row("evse")
    assert (evse["charge_point_id"], evse["deleted_at"]) == (419, None)
    assert deployment.row("connector")["deleted_at"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_gone_when_a_read_does_not_find_it_and_back_when_one_does(
    deployment: Deployment, kind: str
) -> None:
    path = KINDS[kind].path_of(7)
    fields = {"id": 7, "lastUpdatedAt": EARLY}
    family = next((one for one in FAMILIES if one.kind == kind), None)
    resource = fields if family is None else family.parent(7, EARLY, family.one_child)
    mirror = MIRRORS[kind]

    def is_gone() -> bool:
        matches = mirror.matches("known", tenant="known.tenant")
        (row,) = deployment.service.query(
            f"SELECT deleted_at FROM charging.{mirror.name} AS known WHERE {matches} AND {mirror.key} = 7"
        )
        return row["deleted_at"] is not None

    for is_shown in (True, False, True):
        if is_shown:
            deployment.ampeco.resources[path] = resource
        else:
            del deployment.ampeco.resources[path]
        read(deployment, kind, 7)
        assert is_gone() is not is_shown
        if family is not None:
            assert child(deployment, family) == (7, is_shown)


def test_a_database_in_use_is_repaired(empty_database_url: str) -> None:
    # Given what an older release left: children of parents that are gone, and one that moved before that
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    migrations.upgrade(engine, "0009")
    families = {"evse": "connector", "session": "charging_period"}  # of that release
    gone, read_before, read_after = (f"2026-03-04T0{hour}:00:00Z" for hour in (8, 7, 9))
    version = "'1' || repeat('0', 20) || ':' || repeat('0', 16)"
    with engine.begin() as connection:
        for kind, child_kind in families.items():
            connection.execute(
                text(f"""
                    INSERT INTO charging.{kind} (tenant, {kind}_id, deleted_at, presence_at, presence_version)
                    VALUES ('t', 1, '{gone}', '{gone}', {version}), ('t', 2, NULL, '{gone}', {version});
                    INSERT INTO charging.{child_kind}
                           (tenant, {child_kind}_id, {kind}_id, presence_at, presence_version, updated_at)
                    VALUES ('t', 10, 1, '{read_before}', {version}, '{read_before}'),
                           ('t', 11, 1, NULL, NULL, '{read_before}'),
                           ('t', 12, 1, '{read_after}', {version}, '{read_before}'),
                           ('t', 13, 2, '{read_before}', {version}, '{read_before}'),
                           ('other', 10, 1, '{read_before}', {version}, '{read_before}')
                    """)
            )
    # When it is migrated
    migrations.upgrade(engine)
    # Then those are gone since their parents are, and no other changed
    gone_at = datetime.fromisoformat(gone)
    with engine.connect() as connection:
        for child_kind in families.values():
            rows = connection.execute(
                text(
                    f"SELECT tenant, {child_kind}_id, deleted_at, updated_at > now() - interval '1 hour'"
                    f" FROM charging.{child_kind} ORDER BY 1, 2"
                )
            ).all()
            assert rows == [
                ("other", 10, None, False),
                ("t", 10, gone_at, True),
                ("t", 11, gone_at, True),
                ("t", 12, None, False),
                ("t", 13, None, False),
            ]
    engine.dispose()
