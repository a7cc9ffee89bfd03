"""Sessions whose meter values never arrived: their consumption is read from AMPECO, once, within the calls there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from storage.sync import consumption_reads
from storage.sync.consumption_reads import RETRY_AFTER
from tests.support.deployment import Deployment
from tests.support.facts import SAMPLES, sample
from tests.support.service import eventually
from tests.support.tenant import Tenant, tenant
from workers.api import daily_quota
from workers.api.lease import LEASE_MS
from workers.api.pause import paused_for
from workers.sync.consumption import read_consumption

SEARCHED = "ampeco-receiver:consumption-searched:demo"


def ago(hours: float) -> datetime:
    """A time of the recent past; AMPECO's clock is ours here."""
    return (datetime.now(UTC) - timedelta(hours=hours)).replace(microsecond=0)


def path(session_id: int) -> str:
    return f"sessions/v1.0/{session_id}/consumption-stats"


def deliver_session(
    deployment: Deployment, session_id: int = 77120, *, stopped_hours_ago: float | None = 2, **fields: Any
) -> None:
    """Deliver a session that lasted half an hour, or that runs."""
    stopped_at = None if stopped_hours_ago is None else ago(stopped_hours_ago)
    started_at = ago(3) if stopped_at is None else stopped_at - timedelta(minutes=30)
    session = sample("SessionUpdateNotification.finished")["session"] | {
        "id": str(session_id),
        "startedAt": started_at.isoformat(),
        "stoppedAt": stopped_at and stopped_at.isoformat(),
        "status": "active" if stopped_at is None else "finished",
        "lastUpdatedAt": (stopped_at or started_at).isoformat(),
    }
    session.pop("chargingPeriods", None)
    deployment.deliver({"notification": "SessionUpdateNotification", "session": session | fields})


def show(deployment: Deployment, *points: dict[str, Any], session_id: int = 77120) -> None:
    """Let AMPECO show these points of a session's consumption."""
    deployment.ampeco.answers[path(session_id)] = lambda _: JSONResponse({"data": list(points)})


def refuse(deployment: Deployment, status: int, body: dict[str, Any], session_id: int = 77120) -> None:
    """Let AMPECO answer so when it is asked for a session's consumption."""

    def answer(_: Request) -> Response:
        return JSONResponse(body, status)

    deployment.ampeco.answers[path(session_id)] = answer


def read(deployment: Deployment, *, again: bool = False) -> int:
    """Read what is due, as if the last search was an hour ago; with ``again`` also what was postponed."""
    last = deployment.context.redis.get(SEARCHED)
    if isinstance(last, bytes):
        earlier = datetime.fromisoformat(last.decode()) - timedelta(hours=1)
        deployment.context.redis.set(SEARCHED, earlier.isoformat())
    if again:
        execute(deployment, "UPDATE ingest.consumption_read SET due_at = now()")
    return read_consumption(deployment.context)


def points(deployment: Deployment, session_id: int = 77120) -> list[tuple[Any, ...]]:
    rows = deployment.service.query(
        "SELECT measured_at, energy_wh, power_w FROM charging.consumption_point"
        f" WHERE tenant = 'demo' AND session_id = {session_id} ORDER BY measured_at"
    )
    return [tuple(row.values()) for row in rows]


def record(deployment: Deployment) -> dict[str, Any]:
    """What is recorded of the only session that was found."""
    (row,) = deployment.service.query("SELECT * FROM ingest.consumption_read WHERE tenant = 'demo'")
    return row


def execute(deployment: Deployment | Tenant, statement: str) -> None:
    with deployment.service.engine.begin() as connection:
        connection.execute(text(statement))


def counted(result: str) -> float:
    labels = {"tenant": "demo", "result": result}
    return REGISTRY.get_sample_value("ampeco_consumption_reads_total", labels) or 0.0


STATS: list[dict[str, Any]] = json.loads((SAMPLES / "rest" / "session_consumption_stats.json").read_text())["data"]


def test_a_finished_session_without_meter_values_is_read_once(deployment: Deployment) -> None:
    deliver_session(deployment)
    show(deployment, *STATS)
    before = counted("points")
    # When it is searched for again and again
    assert [read(deployment) for _ in range(3)] == [1, 0, 0]
    # Then its points are stored as AMPECO shows them, for one call
    assert points(deployment) == [
        (datetime(2026, 3, 4, 7, 4, tzinfo=UTC), Decimal(0), Decimal(0)),
        (datetime(2026, 3, 4, 7, 10, tzinfo=UTC), Decimal(5230), Decimal(43_100)),
    ]
    assert deployment.ampeco.calls[path(77120)] == 1
    assert counted("points") == before + 1
    row = record(deployment)
    assert (row["points"], row["failures"], row["last_error"]) == (2, 0, None)
    assert row["finished_at"] is not None
    # And the call counts as made for this reason
    deployment.context.write_usage()
    usage = deployment.service.query("SELECT reason, calls FROM ingest.api_usage WHERE reason = 'consumption'")
    assert usage == [{"reason": "consumption", "calls": 1}]


def meter_values(deployment: Deployment) -> None:
    deliver_session(deployment)
    deployment.deliver(sample("SessionMeterValuesNotification"))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(meter_values, id="with meter values"),
        pytest.param(lambda one: deliver_session(one, stopped_hours_ago=None), id="running"),
        pytest.param(lambda one: deliver_session(one, status="active"), id="stopped and not in a final state"),
        pytest.param(lambda one: deliver_session(one, stopped_hours_ago=0.5), id="stopped half an hour ago"),
        pytest.param(lambda one: deliver_session(one, stopped_hours_ago=9 * 24), id="of more than a week ago"),
        pytest.param(
            lambda one: deliver_session(one, energy=0, energyConsumption={"total": 0, "grid": 0}), id="without energy"
        ),
    ],
)
def test_no_other_session_is_read(deployment: Deployment, given: Callable[[Deployment], None]) -> None:
    given(deployment)
    assert deployment.service.count("charging.session") == 1
    show(deployment, *STATS)
    assert read(deployment) == 0
    assert deployment.ampeco.calls[path(77120)] == 0
    assert deployment.service.count("ingest.consumption_read") == 0


def test_a_session_that_is_found_days_late_is_read(deployment: Deployment) -> None:
    assert read(deployment) == 0
    deliver_session(deployment, stopped_hours_ago=6 * 24)
    show(deployment, *STATS)
    assert read(deployment) == 1
    assert len(points(deployment)) == 2


def test_sessions_are_searched_once_an_hour(deployment: Deployment) -> None:
    assert read(deployment) == 0
    deliver_session(deployment)
    show(deployment, *STATS)
    assert read_consumption(deployment.context) == 0
    assert read(deployment) == 1


def test_a_search_continues_where_the_last_one_ended_and_begins_again_without_redis(deployment: Deployment) -> None:
    assert read(deployment) == 0
    # Given sessions that became ready since, and before: by their ends, and by when they changed here
    for number, (stopped_hours_ago, changed_hours_ago) in enumerate([(2, 48), (24, 0), (24, 48)]):
        deliver_session(deployment, 77120 + number, stopped_hours_ago=stopped_hours_ago)
        show(deployment, *STATS, session_id=77120 + number)
        changed_at = ago(changed_hours_ago).isoformat()
        execute(
            deployment,
            f"UPDATE charging.session SET updated_at = '{changed_at}' WHERE session_id = {77120 + number}",
        )
    assert read(deployment) == 2
    assert deployment.ampeco.calls[path(77122)] == 0
    # When Redis loses how far that came, then all sessions of the time are searched
    deployment.context.redis.flushdb()
    assert read(deployment) == 1
    assert len(points(deployment, 77122)) == 2


def test_a_tenant_may_do_without(deployment: Deployment) -> None:
    off = deployment.context.tenants["demo"].model_copy(update={"consumption_stats": False})
    deployment.context.tenants["demo"] = off
    deliver_session(deployment)
    show(deployment, *STATS)
    assert read(deployment) == 0
    assert deployment.service.count("ingest.consumption_read") == 0


def test_a_session_of_which_ampeco_shows_nothing_is_not_read_again(deployment: Deployment) -> None:
    deliver_session(deployment)
    show(deployment)
    assert [read(deployment, again=True) for _ in range(2)] == [1, 0]
    assert deployment.ampeco.calls[path(77120)] == 1
    row = record(deployment)
    assert (row["points"], row["last_error"]) == (0, None)
    assert row["finished_at"] is not None


@pytest.mark.parametrize(
    ("status", "body", "calls"),
    [(404, {"message": "The record is not found"}, 1), (500, {"message": "Server Error"}, 2)],
)
def test_a_session_that_cannot_be_read_is_tried_a_few_times_and_then_given_up(
    deployment: Deployment, status: int, body: dict[str, Any], calls: int
) -> None:
    deliver_session(deployment)
    deliver_session(deployment, 77121)
    refuse(deployment, status, body)
    show(deployment, *STATS, session_id=77121)
    before = counted("failed"), counted("given_up")
    # Its failure does not concern the session after it, nor the tenant
    read(deployment)
    assert len(points(deployment, 77121)) == 2
    assert not paused_for(deployment.context.redis, "demo")
    execute(deployment, "DELETE FROM ingest.consumption_read WHERE session_id = 77121")
    execute(deployment, "UPDATE charging.session SET energy_wh = 0 WHERE session_id = 77121")
    # It waits longer each time
    for failures, delay in enumerate(RETRY_AFTER, 1):
        row = record(deployment)
        assert (row["failures"], row["finished_at"]) == (failures, None)
        waits = row["due_at"] - datetime.now(UTC)
        assert delay - timedelta(minutes=1) < waits <= delay
        assert read(deployment) == 0
        assert deployment.ampeco.calls[path(77120)] == calls * failures
        read(deployment, again=True)
    # And in the end the reason is kept, and it is not tried again
    row = record(deployment)
    assert row["finished_at"] is not None
    assert (row["failures"], row["points"]) == (len(RETRY_AFTER) + 1, None)
    assert f"answered {status}" in row["last_error"]
    made = deployment.ampeco.calls[path(77120)]
    assert made == calls * (len(RETRY_AFTER) + 1)
    assert read(deployment, again=True) == 0
    assert deployment.ampeco.calls[path(77120)] == made
    assert (counted("failed") - before[0], counted("given_up") - before[1]) == (len(RETRY_AFTER), 1)


def test_a_session_that_failed_once_is_read_later(deployment: Deployment) -> None:
    deliver_session(deployment)
    refuse(deployment, 500, {"message": "Server Error"})
    read(deployment)
    assert points(deployment) == []
    show(deployment, *STATS)
    assert read(deployment, again=True) == 1
    assert len(points(deployment)) == 2
    row = record(deployment)
    assert (row["points"], row["failures"], row["last_error"]) == (2, 1, None)


def test_a_tenant_that_is_down_is_left_alone(deployment: Deployment) -> None:
    for session_id in (77120, 77121):
        deliver_session(deployment, session_id)
        refuse(deployment, 502, {"message": "Bad gateway"}, session_id)
    assert read(deployment) == 0
    assert paused_for(deployment.context.redis, "demo")
    assert deployment.ampeco.calls[path(77121)] == 0
    assert read(deployment, again=True) == 0
    assert deployment.service.count("ingest.consumption_read WHERE failures = 0") == 1


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (403, "This action is unauthorized.", "forbidden"),
        (404, "The route public-api/resources/sessions could not be found.", "not_offered"),
    ],
)
def test_a_tenant_that_offers_no_consumption_is_asked_once_an_hour(
    deployment: Deployment, status: int, message: str, reason: str
) -> None:
    for session_id in (77120, 77121):
        deliver_session(deployment, session_id)
        refuse(deployment, status, {"message": message}, session_id)
    assert [read(deployment, again=True) for _ in range(3)] == [0, 0, 0]
    assert sum(deployment.ampeco.calls[path(one)] for one in (77120, 77121)) == 1
    (row,) = deployment.service.query("SELECT kind, reason FROM ingest.inaccessible_kind")
    assert row == {"kind": "consumption_stats", "reason": reason}
    # No session is given up because of that: once it is offered, all are read
    for session_id in (77120, 77121):
        show(deployment, *STATS, session_id=session_id)
    execute(deployment, "UPDATE ingest.inaccessible_kind SET ask_again_at = now()")
    refuse(deployment, 429, {"message": "Too Many Attempts."}, 77120)
    assert read(deployment) == 0
    show(deployment, *STATS, session_id=77120)
    deployment.context.redis.flushdb()
    assert read(deployment) == 2
    assert deployment.service.count("ingest.inaccessible_kind") == 0


def test_a_point_that_cannot_be_read_takes_no_other_with_it(deployment: Deployment) -> None:
    deliver_session(deployment)
    show(
        deployment, {"energy": 1, "power": 1, "timestamp": "never"}, {"energy": None, "power": "x"} | STATS[1], STATS[0]
    )
    assert read(deployment) == 1
    assert len(points(deployment)) == 2
    assert "1 of the listed resources cannot be read" in record(deployment)["last_error"]


def test_the_quota_defers_what_it_does_not_allow(deployment: Deployment) -> None:
    # Given a tenant with ten calls in ten seconds, of which a tenth is for this
    for session_id in range(77120, 77124):
        deliver_session(deployment, session_id)
        show(deployment, *STATS, session_id=session_id)
    deployment.context.max_wait_seconds = 0
    limited = deployment.context.tenants["demo"].model_copy(update={"calls_per_minute": 60, "calls_per_day": 1_000})
    deployment.context.tenants["demo"] = limited
    assert [read(deployment) for _ in range(2)] == [1, 0]
    assert deployment.service.count("ingest.consumption_read WHERE finished_at IS NULL AND failures = 0") == 3
    # When four fifths of the day's calls are used up, then none is left for this
    deployment.context.redis.flushdb()
    deployment.context.redis.set(daily_quota.key("demo"), 799)
    assert [read(deployment) for _ in range(2)] == [1, 0]
    deployment.context.redis.flushdb()
    deployment.context.redis.set(daily_quota.key("demo"), 800)
    assert read(deployment) == 0
    assert deployment.service.count("ingest.consumption_read WHERE finished_at IS NULL AND failures = 0") == 2


def test_the_lease_of_a_killed_worker_ends_and_its_session_is_read_again(deployment: Deployment) -> None:
    deliver_session(deployment)
    show(deployment, *STATS)

    # Given a worker that read a session's points, and was killed before it recorded that
    assert read(deployment) == 1
    execute(deployment, "UPDATE ingest.consumption_read SET finished_at = NULL, points = NULL")
    lease = "ampeco-receiver:consumption:demo"
    deployment.context.redis.set(lease, 1, px=LEASE_MS)
    # While its lease lasts, other workers leave the tenant alone; it lasts not for long
    assert read(deployment) == 0
    assert 0 < deployment.context.redis.pttl(lease) <= LEASE_MS
    deployment.context.redis.pexpire(lease, 1)
    while deployment.context.redis.exists(lease):
        pass
    # Then the session is read again, which adds nothing, and the lease is free
    assert read(deployment) == 1
    assert len(points(deployment)) == 2
    assert not deployment.context.redis.exists(lease)


def test_old_records_go_and_the_points_stay(deployment: Deployment) -> None:
    deliver_session(deployment)
    show(deployment, *STATS)
    read(deployment)
    with deployment.service.engine.begin() as connection:
        consumption_reads.prune(connection, timedelta(days=1))
    assert deployment.service.count("ingest.consumption_read") == 1
    with deployment.service.engine.begin() as connection:
        consumption_reads.prune(connection, timedelta(0))
    assert deployment.service.count("ingest.consumption_read") == 0
    assert len(points(deployment)) == 2


@pytest.fixture
def living(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Tenant]:
    with tenant(database_url, redis_url, tmp_path, start=ago(6), size=10) as made:
        yield made


def test_the_curve_of_a_living_tenants_sessions_is_that_of_its_meter_values(living: Tenant) -> None:
    # Given hours in which every meter value was lost, and every session is known from the API
    living.live(6 * 60)
    living.lose(1.0, Random(1))
    living.sync_run(full=True)
    an_hour_ago = ago(1)  # of those that end later, the curve may not be read yet
    is_open = "ingest.consumption_read WHERE finished_at IS NULL"
    # The quota may defer a read for a moment
    eventually(lambda: not read_consumption(living.context) and living.service.count(is_open) == 0)
    finished = [
        one
        for one in living.simulator.fleet.tenant.sessions.values()
        if one.stopped_at is not None and one.stopped_at < an_hour_ago and one.energy_wh
    ]
    assert finished
    for one in finished:
        rows = living.service.query(
            "SELECT measured_at, energy_wh, power_w FROM charging.consumption_point"
            f" WHERE session_id = {one.id} ORDER BY measured_at"
        )
        assert [tuple(row.values()) for row in rows] == [
            (each.at, each.energy_wh, each.power_w) for each in one.samples
        ]
