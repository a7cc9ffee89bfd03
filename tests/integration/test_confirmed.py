"""A read that finds what is stored writes nothing: ``updated_at`` moves where something changed, and there alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from storage.schema.entities import MIRRORS
from storage.sync import sync_runs
from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import recent, sample
from tests.support.tenant import Tenant, tenant
from workers.sync.reconcile import sync_pages


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 8, tzinfo=UTC), size=5) as made:
        yield made


def written(service: Any) -> dict[tuple[str, Any], tuple[Any, Any]]:
    """By kind and id: the transaction that wrote the row, and its own time."""
    found = {}
    for table in {mirror.name: mirror for mirror in MIRRORS.values()}.values():
        for row in service.query(f"SELECT *, CAST(xmin AS text) AS written_by FROM charging.{table.name}"):
            found[row.get("kind", table.name), row[table.key]] = (row["written_by"], row["updated_at"])
    return found


def test_a_reconcile_writes_the_rows_that_changed_and_no_other(living: Tenant) -> None:
    # Given a tenant that is known whole
    living.sync_run(full=True)
    living.settle()
    living.live(1)
    living.deliver(1.0, Random(1), in_order=True)
    living.reconcile()
    before = written(living.service)
    # When three EVSEs are edited, and everything is reconciled
    edited = living.simulator.fleet.tenant.live_evses()[:3]
    for evse in edited:
        evse.label += " (new)"
        evse.changed_at = living.now.replace(microsecond=0)
    living.reconcile()
    # Then their rows, and those of their connectors, which go by their clock, were written, and no others
    after = written(living.service)
    changed = {entity for entity, row in after.items() if row != before.get(entity)}
    assert {entity_id for kind, entity_id in changed if kind == "evse"} == {evse.id for evse in edited}
    assert {entity_id for kind, entity_id in changed if kind == "connector"} <= {one.connector_id for one in edited}
    assert {kind for kind, _ in changed} <= {"evse", "connector"}
    assert living.differences()[1] == []
    # And nothing was taken for deleted
    assert living.service.count("ingest.refresh_request") == 0
    assert living.service.query("SELECT sum(absent) AS absent FROM ingest.sync_run") == [{"absent": 0}]
    assert living.service.count("ingest.sync_run_page") == 0


def test_a_status_that_moved_since_is_no_news_of_the_rest(deployment: Deployment) -> None:
    # Given an EVSE that was read, and whose status then changes by a notification
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    deployment.refresh()
    body = sample("HardwareStatusNotification.evse")
    deployment.deliver(body | {"hardwareStatus": "finishing", "timestamp": "2026-03-04T07:30:00+00:00"})
    before = written(deployment.service)
    # When it is read again, and its own JSON shows the new status
    deployment.ampeco.resources["evses/v2.1/902"] = shown("evse_read") | {"hardwareStatus": "finishing"}
    deployment.deliver(recent("evse.changed"))
    deployment.refresh()
    # Then nothing is written
    assert written(deployment.service) == before
    # But anything else that is new in there is
    deployment.ampeco.resources["evses/v2.1/902"]["emi3Id"] = "BG*QC1*E1"
    deployment.deliver(recent("evse.changed"))
    deployment.refresh()
    assert deployment.row("evse")["raw"]["emi3Id"] == "BG*QC1*E1"


def test_what_has_no_time_of_its_own_is_as_old_as_the_first_read_that_showed_it_so(deployment: Deployment) -> None:
    # Given a circuit without a time, and a tariff without one
    resources = deployment.ampeco.resources
    resources |= {
        "circuits/v2.0/9": {"id": 9, "name": "Garage"},
        "tariffs/v1.0/12": {"id": 12, "name": "DC", "lastUpdatedAt": None},
    }

    def read() -> None:
        with deployment.service.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
                    " VALUES ('demo', 'circuit', 9, 'changed'), ('demo', 'tariff', 12, 'changed')"
                )
            )
        while deployment.refresh():
            pass

    read()
    before = written(deployment.service)
    read()
    assert written(deployment.service) == before
    # When they change, then they are newer
    resources["circuits/v2.0/9"] = {"id": 9, "name": "Roof"}
    resources["tariffs/v1.0/12"] = {"id": 12, "name": "DC", "lastUpdatedAt": None, "type": "standard"}
    at = deployment.service.query("SELECT master_at FROM charging.tariff")[0]["master_at"]
    read()
    assert deployment.service.query("SELECT raw ->> 'name' AS name FROM charging.resource") == [{"name": "Roof"}]
    assert deployment.row("tariff")["type"] == "standard"
    assert deployment.row("tariff")["master_at"] > at


def test_a_read_that_only_confirms_a_notification_still_settles_it(deployment: Deployment) -> None:
    # Given a tariff of a notification, which is provisional, and that AMPECO shows with the same values
    body = sample("TariffChangedNotification")
    deployment.ampeco.resources["tariffs/v1.0/12"] = body["tariff"] | {"lastUpdatedAt": body["lastUpdatedAt"]}
    deployment.deliver(body)
    deployment.refresh()
    assert deployment.row("tariff")["master_version"].startswith("1")
    assert deployment.waiting() == 0


def test_a_whole_sync_run_looks_for_what_none_of_its_pages_showed(deployment: Deployment) -> None:
    # Given four users, of which a whole listing, in two pages, shows three
    for user_id in range(1, 5):
        deployment.ampeco.resources[f"users/v1.1/{user_id}"] = {"id": user_id, "lastUpdatedAt": "2026-03-04T07:00:00Z"}
        deployment.deliver(sample("userBalance.changed") | {"userId": user_id, "transactionId": None})
    deployment.refresh()
    with deployment.service.engine.begin() as connection:
        connection.execute(text("UPDATE charging.resource SET first_seen_at = first_seen_at - interval '1 hour'"))
    for _ in range(2):
        shown_ones = [deployment.ampeco.resources[f"users/v1.1/{user_id}"] for user_id in (1, 2, 4)]
        deployment.ampeco.everything["users/v1.1"] = shown_ones
        with deployment.service.engine.begin() as connection:
            sync_run = sync_runs.begin(connection, "demo", "user", "reconcile", None)
        assert sync_run is not None
        list(sync_pages(deployment.context, sync_run, reason="reconcile"))
        # Then that one is asked for, and no other
        assert deployment.service.query("SELECT entity_id FROM ingest.refresh_request") == [{"entity_id": 3}]
        assert deployment.service.count("ingest.sync_run_page") == 0
        deployment.refresh()
