"""Notifications are counted cheaply, a traffic gap is recorded once, and each token's last use is known."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from ampeco.signature import SigningToken
from receiver.admin.monitoring import Token, watch_gauges, watched
from tests.support.facts import sample
from tests.support.service import OTHER_TOKEN, TOKEN, Service, serving
from workers.api.context import Context, create_context
from workers.monitoring.traffic import monitor_traffic

AT_ONCE = timedelta(0)
HOUR = timedelta(hours=1)


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    with serving(database_url, redis_url, tmp_path, signing_tokens=[OTHER_TOKEN]) as service:
        yield service


@pytest.fixture
def context(service: Service) -> Iterator[Context]:
    with create_context(service.settings, process="tests") as context:
        yield context


def received(service: Service, hour_at: datetime, notifications: int) -> None:
    """What the accept path would have left of an hour."""
    moment = hour_at + timedelta(minutes=20)
    with service.engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO ingest.batch (tenant, batch_id, notifications, body_bytes, first_received_at, last_received_at,
                                          committed_at, applied_at)
                VALUES ('demo', :batch_id, :notifications, 1, :moment, :moment, :moment, :moment)
            """),
            {
                "batch_id": UUID(int=int(moment.timestamp() * 1000) << 80 | 1),
                "notifications": notifications,
                "moment": moment,
            },
        )


def lived(service: Service, weeks: int, *, until: datetime) -> None:
    hours = weeks * 168
    for back in range(hours, 0, -1):
        received(service, until - back * HOUR, 400 + back % 7 * 20)


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def silent(service: Service) -> float | None:
    with service.engine.connect() as connection:
        gauges = watch_gauges(watched(connection, service.settings.tenants))
    (family,) = [gauge for gauge in gauges if gauge.name == "ampeco_tenant_traffic_gap"]
    return next((found.value for found in family.samples if found.labels["tenant"] == "demo"), None)


def test_notifications_are_counted_by_the_hour_and_counting_again_adds_nothing(
    service: Service, context: Context
) -> None:
    now = this_hour()
    received(service, now - 30 * HOUR, 7)
    received(service, now - HOUR, 3)
    for _ in range(3):
        monitor_traffic(context, AT_ONCE)
    for _ in range(2):
        service.post(sample("HardwareStatusNotification.evse"))
    monitor_traffic(context, AT_ONCE)
    found = service.query("SELECT hour_at, notifications FROM ingest.traffic WHERE tenant = 'demo' ORDER BY hour_at")
    expected = {now - 30 * HOUR: 7, now - HOUR: 3, this_hour(): 2}
    assert {row["hour_at"]: row["notifications"] for row in found} == expected


def test_several_processes_look_once_in_the_interval(service: Service, context: Context) -> None:
    with ThreadPoolExecutor(4) as pool:
        looked = list(pool.map(lambda _: monitor_traffic(context, HOUR), range(4)))
    assert sum(looked) == 2  # the two tenants


def test_a_traffic_gap_is_logged_once_and_ends_when_notifications_arrive(service: Service, context: Context) -> None:
    now = this_hour()
    lived(service, 4, until=now - 5 * HOUR)
    assert silent(service) is None
    with capture_logs() as logs:
        monitor_traffic(context, AT_ONCE)
        monitor_traffic(context, AT_ONCE)
    assert [line["tenant"] for line in logs if line["event"] == "traffic gap began"] == ["demo"]
    assert silent(service) == 1.0
    (row,) = service.query("SELECT * FROM ingest.traffic_gap")
    assert row["ended_at"] is None
    assert row["received"] == 0

    for back in range(4):
        received(service, now - back * HOUR, 450)
    with capture_logs() as logs:
        monitor_traffic(context, AT_ONCE)
        monitor_traffic(context, AT_ONCE)
    assert [line["tenant"] for line in logs if line["event"] == "traffic gap ended"] == ["demo"]
    assert silent(service) == 0.0


def test_a_tenant_that_sends_as_usual_has_no_traffic_gap(service: Service, context: Context) -> None:
    lived(service, 4, until=this_hour() + HOUR)
    monitor_traffic(context, AT_ONCE)
    assert silent(service) == 0.0


def test_with_two_weeks_of_history_no_tenant_has_a_traffic_gap(service: Service, context: Context) -> None:
    lived(service, 2, until=this_hour() - 100 * HOUR)
    monitor_traffic(context, AT_ONCE)
    assert silent(service) == 0.0


def test_a_time_in_which_we_were_down_is_no_silence_of_the_tenant(service: Service, context: Context) -> None:
    now = this_hour()
    lived(service, 4, until=now - 5 * HOUR)
    with service.engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
        connection.execute(
            text("INSERT INTO ingest.uptime VALUES (:long_ago, :down_at), (:up_at, :up_at)"),
            {"long_ago": now - 2_000 * HOUR, "down_at": now - 5 * HOUR, "up_at": datetime.now(UTC)},
        )
    monitor_traffic(context, AT_ONCE)
    assert silent(service) == 0.0


def tokens(service: Service) -> dict[str, Token]:
    with service.engine.connect() as connection:
        found = watched(connection, {"demo": service.settings.tenants["demo"]}).tokens
    names = {key.token_id: name for name, key in zip(("api", "old"), keys(service), strict=True)}
    return {names[token.token_id]: token for token in found}


def keys(service: Service) -> tuple[SigningToken, ...]:
    return service.settings.tenants["demo"].signing_keys()


def age(service: Service, hours: int) -> None:
    """Let time pass for what is known of the tokens' use."""
    with service.engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.notification"))
        statement = """
            UPDATE ingest.token_use
               SET last_used_at = last_used_at - :passed, known_since_at = known_since_at - :passed
        """
        connection.execute(text(statement), {"passed": hours * HOUR})


def test_it_is_known_when_each_token_last_verified_a_notification(service: Service, context: Context) -> None:
    assert tokens(service)["old"].known_since_at is None
    monitor_traffic(context, AT_ONCE)
    assert (tokens(service)["api"].last_used_at, tokens(service)["old"].last_used_at) == (None, None)
    service.post(sample("HardwareStatusNotification.evse"), token=OTHER_TOKEN)
    monitor_traffic(context, AT_ONCE)
    (row,) = service.query("SELECT received_at FROM ingest.notification")
    assert tokens(service)["old"].last_used_at == row["received_at"]
    assert tokens(service)["api"].last_used_at is None


def test_a_token_may_be_removed_after_a_day_in_which_another_was_used(service: Service, context: Context) -> None:
    body = sample("HardwareStatusNotification.evse")
    service.post(body, token=OTHER_TOKEN)
    monitor_traffic(context, AT_ONCE)
    # Nothing at all came for a while: that says nothing of the token.
    age(service, 23)
    assert not tokens(service)["old"].may_be_removed
    service.post(body, token=TOKEN)
    monitor_traffic(context, AT_ONCE)
    assert not tokens(service)["old"].may_be_removed
    age(service, 2)
    service.post(body, token=TOKEN)
    monitor_traffic(context, AT_ONCE)
    assert tokens(service)["old"].may_be_removed
    service.post(body, token=OTHER_TOKEN)
    monitor_traffic(context, AT_ONCE)
    assert not tokens(service)["old"].may_be_removed


def test_the_token_of_the_api_is_never_to_be_removed(service: Service, context: Context) -> None:
    monitor_traffic(context, AT_ONCE)
    age(service, 48)
    service.post(sample("HardwareStatusNotification.evse"), token=OTHER_TOKEN)
    monitor_traffic(context, AT_ONCE)
    assert not tokens(service)["api"].may_be_removed
