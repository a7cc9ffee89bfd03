"""Every series whose labels are known exists from the start: ``increase()`` does not see the first value of a later one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

import receiver.accept.metrics
import workers.metrics
from ampeco.tenants import load_tenants
from storage.monitoring.resends import ResendState
from storage.sync.api_usage import CallReason
from tests.support.processes import processes
from tests.support.service import eventually, free_port
from workers.broker import QUEUES, RECONCILE_QUEUE
from workers.sync.schedule import listed

ROOT = Path(__file__).parents[2]

TENANTS = ("demo", "other")  # those of `write_tenants`

#: Labels whose values are not known in advance. No rule for alerts may ask for the increase of their metrics.
OPEN = {
    "ampeco_commit_failures": "the name of an error",
    "ampeco_batches_postponed": "the name of an error",
    "ampeco_api_deprecated_calls": "a path of AMPECO's",
    "ampeco_kafka_errors": "the name of an error",
}

OF_RECEIVERS: dict[str, list[tuple[str, ...]]] = {
    "ampeco_notifications_accepted": [TENANTS],
    "ampeco_notifications_refused": [("unauthorized", "too_large", "overloaded", "unavailable")],
    "ampeco_connections_cut": [("slow", "silent", "crowded", "long", "long head", "pipelined")],
}

OF_WORKERS: dict[str, list[tuple[str, ...]]] = {
    "ampeco_notifications_applied": [TENANTS],
    "ampeco_clocks_ahead": [TENANTS],
    "ampeco_applied_lag_seconds": [TENANTS],
    "ampeco_derived_changes": [TENANTS],
    "ampeco_derived_lag_seconds": [TENANTS],
    "ampeco_subscription_repairs": [TENANTS],
    "ampeco_notifications_not_applied": [TENANTS, ("ignored", "failed")],
    "ampeco_api_reads": [TENANTS, workers.metrics.READ_RESULTS],
    "ampeco_api_calls": [TENANTS, get_args(CallReason)],
    "ampeco_api_calls_saved": [TENANTS, get_args(CallReason)],
    "ampeco_api_call_seconds": [TENANTS, ("success", "refused", "limited", "failed")],
    "ampeco_consumption_reads": [TENANTS, ("points", "empty", "failed", "given_up")],
    "ampeco_resends": [TENANTS, get_args(ResendState)],
    "ampeco_alert_messages": [("sent", "failed")],
}

#: The background tasks of a receiver, and some jobs of every worker.
TASKS = {"committer", "expiry", "heartbeat", "notifier", "admin endpoints"}
JOBS = {"partitions", "sweep", "wake apply", "wake", "sync runs", "clock", "usage", "prune", "traffic"}


def series(url: str) -> dict[str, set[frozenset[str]]]:
    """The values of the labels of each counter and histogram that a page shows."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).text):
        if family.name.startswith("ampeco_") and family.type in ("counter", "histogram"):
            labels = [
                {name: value for name, value in sample.labels.items() if name != "le"} for sample in family.samples
            ]
            found[family.name] = {frozenset(values.values()) for values in labels}
    return found


def products(known: dict[str, list[tuple[str, ...]]]) -> dict[str, set[frozenset[str]]]:
    return {name: set(map(frozenset, product(*values))) for name, values in known.items()}


def test_a_receiver_shows_each_series_before_the_first_notification(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with processes(database_url, redis_url, tmp_path) as service:
        service.serve(None, "--processes", "2")
        found = eventually(lambda: len(shown := series(service.admin_url)) > 5 and shown)
    assert {name: found[name] for name in OF_RECEIVERS} == products(OF_RECEIVERS)
    assert {task for (task,) in found["ampeco_background_failures"]} >= TASKS - {"admin endpoints"}
    assert {name for name, values in found.items() if not values} <= OPEN.keys()


@pytest.mark.parametrize("queue", QUEUES)
def test_a_worker_shows_each_series_before_its_first_work(
    database_url: str, redis_url: str, tmp_path: Path, queue: str
) -> None:
    port = str(free_port())
    with processes(database_url, redis_url, tmp_path, RECEIVER_WORK_METRICS_PORT=port) as service:
        service.work(queue)
        found = eventually(lambda: _answered(f"http://127.0.0.1:{port}"))
        tenants = load_tenants(tmp_path / "tenants.toml")
    assert {name: found[name] for name in OF_WORKERS} == products(OF_WORKERS)
    assert {task for (task,) in found["ampeco_background_failures"]} >= JOBS
    kinds = {(name, kind) for name, tenant in tenants.items() for kind in listed(tenant)}
    reconciled = {frozenset((*key, what)) for key in kinds for what in get_args(workers.metrics.Found)}
    assert found["ampeco_reconciled"] == (reconciled if queue == RECONCILE_QUEUE else set())
    of_others = {*OF_RECEIVERS, "ampeco_reconciled"}
    assert {name for name, values in found.items() if not values} <= OPEN.keys() | of_others


def _answered(url: str) -> dict[str, set[frozenset[str]]] | None:
    try:
        return series(url)
    except httpx.TransportError:
        return None


def _counted(metric: str) -> Iterator[str]:
    """The values that the code gives as a text to the last label of a metric."""
    for package in ("receiver", "workers", "runtime"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                if (
                    node.func.attr == "labels"
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == metric
                ):
                    yield from (
                        part.value
                        for part in ast.walk(node.args[-1])
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    )


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        ("API_READS", workers.metrics.READ_RESULTS),
        ("CONSUMPTION_READS", get_args(workers.metrics.ConsumptionResult)),
        ("RECONCILED", get_args(workers.metrics.Found)),
    ],
)
def test_every_value_that_the_code_counts_is_known(metric: str, known: tuple[str, ...]) -> None:
    assert set(_counted(metric))
    assert set(_counted(metric)) <= set(known)


def test_every_total_is_a_counter() -> None:
    assert receiver.accept.metrics.ACCEPTED
    others = {family.name for family in REGISTRY.collect() if family.type != "counter"}
    assert {name for name in others if name.startswith("ampeco_") and name.endswith("_total")} == set()
