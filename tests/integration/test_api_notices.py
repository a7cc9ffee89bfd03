"""What AMPECO's answers say beside their resources: limits, deprecated endpoints and the tenant's release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from pydantic import HttpUrl, SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ampeco.api.answer_headers import AnswerHeaders
from ampeco.tenants import Tenant as TenantSettings
from receiver.commands.status_tables import deprecated_lines, release_lines
from storage.sync.api_notices import deprecated_endpoints, releases
from storage.sync.api_usage import CallReason
from tests.support.deployment import Deployment
from tests.support.facts import recent, sample
from tests.support.tenant import Tenant, tenant
from workers.api import daily_quota
from workers.api.api_notices import ApiNotices
from workers.api.rate_limit import CallDeferredError, RateLimiter, Usage
from workers.broker import create_redis

REASONS: tuple[CallReason, ...] = (
    "backfill",
    "reconcile",
    "consumption",
    "status_log",
    "refresh",
    "subscription_monitor",
    "manual",
)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with create_redis(redis_url) as made:
        yield made


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    with tenant(database_url, redis_url, tmp_path, start=datetime(2026, 3, 4, 7, tzinfo=UTC)) as made:
        yield made


def allowed(client: redis.Redis) -> set[CallReason]:
    """The reasons for which a call may be made now."""
    settings = TenantSettings(
        name="t",
        base_url=HttpUrl("http://127.0.0.1"),
        token=SecretStr("x"),
        calls_per_minute=6_000,
        calls_per_day=1_000,
    )
    passed: set[CallReason] = set()
    for reason in REASONS:
        try:
            RateLimiter(client, Usage(), settings, reason, max_wait_seconds=0)()
        except CallDeferredError:
            continue
        passed.add(reason)
    return passed


@pytest.mark.parametrize(
    ("calls", "stopped"),
    [
        (799, set()),
        (800, {"backfill", "reconcile", "consumption"}),
        (900, {"backfill", "reconcile", "consumption", "status_log"}),
        (1_000, {"backfill", "reconcile", "consumption", "status_log", "refresh"}),
    ],
)
def test_what_is_not_urgent_leaves_the_rest_of_the_day_to_the_others(
    client: redis.Redis, calls: int, stopped: set[CallReason]
) -> None:
    client.set(daily_quota.key("t"), calls)
    assert set(REASONS) - allowed(client) == stopped


def test_only_calls_that_succeed_count_and_a_deferred_one_says_when_to_come_back(client: redis.Redis) -> None:
    notices = ApiNotices()
    for is_success in (True, False, True):
        notices.see(client, "t", AnswerHeaders("users/v1.1", is_success))
    assert daily_quota.calls_today(client, "t") == 2
    assert 86_400 < client.ttl(daily_quota.key("t")) <= 2 * 86_400
    delay = daily_quota.delay(client, "t", "refresh", 2)
    assert delay is not None
    assert 0 < delay <= daily_quota.MAX_DELAY_SECONDS


@pytest.mark.parametrize(
    ("remaining", "stopped"),
    [(100, set()), (99, {"backfill", "reconcile", "consumption"}), (0, set(REASONS))],
)
def test_calls_slow_down_before_the_tenants_own_limit(
    client: redis.Redis, remaining: int, stopped: set[CallReason]
) -> None:
    ApiNotices().see(client, "t", AnswerHeaders("users/v1.1", True, limit=1_000, remaining=remaining))
    assert set(REASONS) - allowed(client) == stopped


def test_a_429_pauses_for_as_long_as_it_says_and_no_longer(client: redis.Redis) -> None:
    ApiNotices().see(client, "t", AnswerHeaders("users/v1.1", False, limit=1_000, remaining=0))
    assert allowed(client) == set(REASONS)


def test_a_tenant_of_an_older_release_is_read_by_the_older_version_and_that_is_named(living: Tenant) -> None:
    # Given a tenant that lacks the newer version of users
    living.set_faults(api_unrouted=["users/v1.1"])
    living.sync_run(full=True)
    # Then its users are there, and the newer version was asked for once
    assert living.service.count("charging.resource WHERE kind = 'user'") == len(living.simulator.fleet.tenant.users) > 0
    assert living.simulator.guard.calls["GET /public-api/resources/users/v1.1 404"] == 1
    # And status names what AMPECO will remove, and the release of the tenant
    living.context.write_usage()
    with living.service.engine.connect() as connection:
        (line,) = deprecated_lines(deprecated_endpoints(connection))
        (release,) = release_lines(releases(connection))
    assert line.startswith("demo: AMPECO will remove users/v1.0 on 2027-03-01")
    assert "AMPECO 3.251.0" in release


def test_a_release_is_written_again_only_when_it_changes(living: Tenant) -> None:
    def written(version: str) -> str:
        living.context.notices.see(living.context.redis, "demo", AnswerHeaders("x", True, app_version=version))
        living.context.write_usage()
        (row,) = living.service.query("SELECT app_version, xmin::text FROM ingest.ampeco_release")
        assert row["app_version"] == version
        return str(row["xmin"])

    first = written("3.250.0")
    assert written("3.250.0") == first
    assert written("3.251.0") != first


def test_an_entity_is_read_by_the_older_version_where_a_404_does_not_say_what_is_missing(
    deployment: Deployment,
) -> None:
    def nothing(_request: Request) -> Response:
        return JSONResponse({"message": "Not Found"}, 404)

    deployment.ampeco.answers |= {"users/v1.1/5511": nothing, "users/v1.1": nothing}
    deployment.ampeco.resources["users/v1.0/5511"] = {"id": 5511, "lastUpdatedAt": "2026-03-04T09:00:00+00:00"}
    deployment.deliver(sample("UserChangedNotification"))
    deployment.refresh()
    (user,) = deployment.service.query("SELECT resource_id, deleted_at FROM charging.resource WHERE kind = 'user'")
    assert (user["resource_id"], user["deleted_at"]) == (5511, None)


def test_an_older_version_that_a_release_removes_gives_way_to_the_newest_at_once(deployment: Deployment) -> None:
    # Given a tenant of which the older version is used
    def unknown(_request: Request) -> Response:
        return JSONResponse({"message": "The route could not be found."}, 404)

    deployment.ampeco.answers |= {"users/v1.1/5511": unknown, "users/v1.1": unknown}
    deployment.ampeco.resources["users/v1.0/5511"] = {"id": 5511, "lastUpdatedAt": "2026-03-04T09:00:00+00:00"}
    deployment.deliver(sample("UserChangedNotification"))
    deployment.refresh()
    assert deployment.service.count("charging.resource") == 1
    # When its new release has the newest version, and no longer the older one
    deployment.ampeco.answers = {"users/v1.0/5511": unknown, "users/v1.0": unknown}
    newer = {"id": 5511, "firstName": "Ada", "lastUpdatedAt": "2026-03-04T10:00:00+00:00"}
    deployment.ampeco.resources["users/v1.1/5511"] = newer
    deployment.deliver(recent("UserChangedNotification"))
    deployment.refresh()
    # Then the kind stays accessible
    assert deployment.service.count("ingest.inaccessible_kind") == 0
    assert deployment.ampeco.calls["users/v1.1/5511"] == 2


def test_the_listing_of_an_older_version_proves_nothing_about_a_404_of_the_newest(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a tenant with the older version alone, and a day that ends between the reads of two entities
    now = [1_000.0]
    monkeypatch.setattr("ampeco.api.offered.time", SimpleNamespace(monotonic=lambda: now[0]))

    def nothing(_request: Request) -> Response:
        monkeypatch.setattr("ampeco.api.offered.TRY_NEWEST_AFTER_SECONDS", 86_400.0)
        return JSONResponse({"message": "Not Found"}, 404)

    def user(request: Request) -> Response:
        monkeypatch.setattr("ampeco.api.offered.TRY_NEWEST_AFTER_SECONDS", 0.0)
        now[0] += 100_000.0
        shown = {"id": int(request.url.path.rpartition("/")[2]), "lastUpdatedAt": "2026-03-04T09:00:00+00:00"}
        return JSONResponse({"data": shown})

    deployment.ampeco.answers |= {f"users/v1.1{below}": nothing for below in ("", "/5511", "/5512")}
    deployment.ampeco.answers |= {f"users/v1.0/{user_id}": user for user_id in (5511, 5512)}
    body = sample("UserChangedNotification")
    other = json.loads(json.dumps(body).replace("5511", "5512"))
    # When both are read
    deployment.deliver(body, other)
    deployment.refresh()
    # Then neither counts as gone
    users = deployment.service.query("SELECT resource_id, deleted_at FROM charging.resource ORDER BY resource_id")
    assert [(row["resource_id"], row["deleted_at"]) for row in users] == [(5511, None), (5512, None)]
