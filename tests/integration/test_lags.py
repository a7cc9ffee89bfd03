"""How far each step is behind the one before it, and how much of the calls is used, are metrics."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

import migrations
from ampeco.errors import Forbidden, NotFound, RateLimited, Unavailable
from analytics.derive import derive_round
from storage.ids import uuid7
from storage.inbox.partitions import DAYS_AHEAD, make_partitions
from storage.monitoring import processes
from storage.monitoring.processes import Process
from storage.state.marks import mark_all
from tests.support.deployment import Deployment
from tests.support.facts import sample
from workers.api.daily_quota import count_call
from workers.derive import derive_tenant
from workers.jobs import look_at_quotas
from workers.metrics import observe_call


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def shown(deployment: Deployment, metric: str) -> float:
    """What the page of the receiver shows of a metric."""
    (line,) = [line for line in deployment.service.admin.get("/metrics").text.splitlines() if line.startswith(metric)]
    return float(line.rpartition(" ")[2])


def test_the_time_from_the_commit_of_a_batch_to_its_applying_is_observed(deployment: Deployment) -> None:
    count, seconds = "ampeco_applied_lag_seconds_count", "ampeco_applied_lag_seconds_sum"
    before = value(count, tenant="demo"), value(seconds, tenant="demo")
    assert deployment.service.post(sample("HardwareStatusNotification.evse")).status_code == 202
    with deployment.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET committed_at = committed_at - interval '100 s'"))
    deployment.service.apply()
    assert value(count, tenant="demo") == before[0] + 1
    assert 100 <= value(seconds, tenant="demo") - before[1] < 200


def test_what_waits_to_be_derived_shows_its_age_until_it_is_derived_and_then_its_lag(deployment: Deployment) -> None:
    before = value("ampeco_derived_lag_seconds_sum", tenant="demo")
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    with deployment.context.engine.begin() as connection:
        mark_all(connection, "demo")
        connection.execute(text("UPDATE analytics.dirty SET marked_at = marked_at - interval '100 s'"))
    assert 100 <= shown(deployment, 'ampeco_oldest_underived_seconds{tenant="demo"}') < 200
    derive_tenant(deployment.context, "demo")
    assert shown(deployment, 'ampeco_oldest_underived_seconds{tenant="demo"}') == 0
    assert 100 <= value("ampeco_derived_lag_seconds_sum", tenant="demo") - before < 200


def test_findings_that_wait_show_for_how_long_until_they_are_evaluated(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics.derive.FEW", 1)  # findings are evaluated in a round of their own
    unevaluated = 'ampeco_oldest_unevaluated_seconds{tenant="demo"}'
    assert shown(deployment, unevaluated) == 0
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    derive_round(deployment.context.engine, "demo")
    with deployment.context.engine.begin() as connection:
        connection.execute(text("UPDATE analytics.finding_due SET noted_at = noted_at - interval '100 s'"))
    assert 100 <= shown(deployment, unevaluated) < 200
    derive_tenant(deployment.context, "demo")
    assert shown(deployment, unevaluated) == 0


def test_a_call_is_observed_by_how_it_ends(deployment: Deployment) -> None:
    count = "ampeco_api_call_seconds_count"
    before = value(count, tenant="demo", outcome="success")
    deployment.context.client("demo", "refresh").session(77120)
    assert value(count, tenant="demo", outcome="success") == before + 1
    for failure, outcome in (
        *((Forbidden, "refused"), (NotFound, "refused")),
        *((RateLimited, "limited"), (Unavailable, "failed"), (None, "success")),
    ):
        before = value(count, tenant="lags", outcome=outcome)
        observe_call("lags", failure, 0.3)
        assert value(count, tenant="lags", outcome=outcome) == before + 1


def test_the_used_part_of_the_daily_quota_is_shown(deployment: Deployment) -> None:
    for _ in range(1_000):
        count_call(deployment.context.redis, "demo")
    look_at_quotas(deployment.context)
    quota = deployment.context.tenants["demo"].calls_per_day
    assert value("ampeco_api_quota_used_ratio", tenant="demo") == 1_000 / quota
    assert value("ampeco_api_quota_used_ratio", tenant="other") == 0


def test_the_page_names_the_release_and_counts_the_days_that_have_a_partition(deployment: Deployment) -> None:
    labels = f'{{revision="{migrations.head()}",version="{version("ampeco-receiver")}"}}'
    assert shown(deployment, f"ampeco_build_info{labels}") == 1
    make_partitions(deployment.service.engine)  # a day may have begun since the database was made
    assert shown(deployment, "ampeco_log_days_prepared") == DAYS_AHEAD
    with deployment.service.engine.begin() as connection:
        day = connection.execute(
            text("SELECT to_char(timezone('UTC', now()) + interval '3 days', 'YYYYMMDD')")
        ).scalar()
        connection.execute(text(f"DROP TABLE ingest.notification_{day}"))
    assert shown(deployment, "ampeco_log_days_prepared") == DAYS_AHEAD - 1


def test_each_process_is_shown_in_every_state_before_it_is_lost(deployment: Deployment) -> None:
    def by_state(name: str) -> list[float]:
        states = ("working", "hindered", "lost")
        return [shown(deployment, f'ampeco_processes{{name="{name}",state="{state}"}}') for state in states]

    assert by_state("tests") == [1, 0, 0]
    with deployment.service.engine.begin() as connection:
        processes.register(connection, Process(uuid7(), "work apply", "a-host", 1, "0.2.0"))
        connection.execute(
            text("UPDATE ingest.process SET seen_at = now() - interval '1 minute' WHERE name = 'work apply'")
        )
    assert by_state("work apply") == [0, 0, 1]
