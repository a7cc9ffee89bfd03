"""The hardware of roaming partners is synced only where the tenant's setting asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from simulator.fleet.build import FIRST_FOREIGN
from tests.support.tenant import Tenant, tenant

FOREIGN = f"charging.evse WHERE evse_id >= {FIRST_FOREIGN} AND deleted_at IS NULL"


@pytest.fixture
def provider(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    start = datetime(2026, 3, 4, 7, tzinfo=UTC)
    with tenant(database_url, redis_url, tmp_path, start=start, foreign_evses=35) as made:
        yield made


def sync(provider: Tenant, *, roaming: bool) -> int:
    """Sync everything in full, and return how many calls the EVSEs cost."""
    settings = provider.context.tenants["demo"].model_copy(update={"roaming": roaming})
    provider.context.tenants["demo"] = settings
    before = provider.simulator.guard.calls["GET /public-api/resources/evses/v2.1 200"]
    provider.sync_run(full=True)
    return provider.simulator.guard.calls["GET /public-api/resources/evses/v2.1 200"] - before


def test_only_the_tenants_own_hardware_is_listed_by_default(provider: Tenant) -> None:
    calls = sync(provider, roaming=False)
    assert provider.service.count(FOREIGN) == 0
    assert provider.service.count("charging.evse") == len(provider.simulator.fleet.tenant.live_evses()) > 0
    # And its cost does not depend on the partners
    assert sync(provider, roaming=True) > calls
    assert provider.service.count(FOREIGN) == 35


def test_partners_hardware_that_is_no_longer_listed_does_not_count_as_absent(provider: Tenant) -> None:
    sync(provider, roaming=True)
    sync(provider, roaming=False)
    requested = f"ingest.refresh_request WHERE kind IN ('evse', 'charge_point') AND entity_id >= {FIRST_FOREIGN}"
    assert provider.service.count(requested) == 0
    assert provider.service.count(FOREIGN) == 35
