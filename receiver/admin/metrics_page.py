"""The endpoint ``/metrics``: the counters of the processes that share the port, and gauges from Postgres."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ampeco.tenants import Tenant
from receiver.admin.monitoring import watch_gauges, watched
from storage.inbox.partitions import days_prepared
from storage.monitoring.processes import ListedProcess, ProcessState, list_processes
from storage.reports.overview import TenantOverview, overview, seconds_underived, seconds_unevaluated


class MetricsPage:
    """The page for Prometheus."""

    def __init__(self, engine: Engine, tenants: Mapping[str, Tenant]) -> None:
        self._engine = engine
        self._tenants = tenants

    async def show(self, _request: Request) -> Response:
        """Answer ``GET /metrics``: the receiver's counters, and gauges from Postgres."""
        stored = await run_in_threadpool(self._stored)
        return Response(generate_latest(counters()) + generate_latest(stored), media_type=CONTENT_TYPE_LATEST)

    def _stored(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        days: int | None = None
        underived: dict[str, float] = {}
        unevaluated: dict[str, float] = {}
        try:
            with self._engine.connect() as connection:
                tenants = overview(connection, sorted(self._tenants))
                underived = seconds_underived(connection, sorted(self._tenants))
                unevaluated = seconds_unevaluated(connection, sorted(self._tenants))
                days = days_prepared(connection)
                watch = watched(connection, self._tenants, with_tokens=False)
                processes = list_processes(connection)
        except SQLAlchemyError:
            tenants, watch, processes = [], None, []
        up = GaugeMetricFamily("ampeco_postgres_up", "1 if the metrics from Postgres could be read")
        up.add_metric([], float(bool(tenants)))
        families = {
            "pending": ("ampeco_notifications_pending", "Accepted notifications that are not applied yet"),
            "ignored": ("ampeco_notifications_ignored", "Notifications that were ignored"),
            "failed": ("ampeco_notifications_failed", "Notifications that failed and wait to be replayed"),
            "refresh_waiting": ("ampeco_refresh_waiting", "Entities whose read is requested"),
            "refresh_due": ("ampeco_refresh_due", "Entities whose read is due"),
            "refresh_troubled": ("ampeco_refresh_troubled", "Entities whose last read did not resolve the request"),
            "unknown_names": (
                "ampeco_unknown_names",
                "Types and fields that AMPECO sends and this release does not know, and fields that it cannot read",
            ),
        }
        gauges = [up]
        for attribute, (name, description) in families.items():
            gauge = GaugeMetricFamily(name, description, labels=["tenant"])
            for tenant in tenants:
                gauge.add_metric([tenant.tenant], float(getattr(tenant, attribute) or 0))
            gauges.append(gauge)
        gauges.append(_oldest_pending(tenants))
        gauges.append(_of_tenants(underived, *_UNDERIVED))
        gauges.append(_of_tenants(unevaluated, *_UNEVALUATED))
        gauges.append(_days_prepared(days))
        gauges.append(_processes(processes))
        gauges += watch_gauges(watch)
        registry.register(_Collected(gauges))
        return registry


def _oldest_pending(tenants: Sequence[TenantOverview]) -> GaugeMetricFamily:
    """Return the gauge of open batches; its reason is only an error's name, because each text would be a series."""
    gauge = GaugeMetricFamily(
        "ampeco_oldest_pending_seconds", "Age of the oldest open batch, seconds", labels=["tenant", "reason"]
    )
    for tenant in tenants:
        reason = (tenant.pending_reason or "").partition(":")[0]
        gauge.add_metric([tenant.tenant, reason], tenant.oldest_pending_seconds or 0.0)
    return gauge


_UNDERIVED = ("ampeco_oldest_underived_seconds", "Age of the oldest change that is not derived yet, seconds")
_UNEVALUATED = (
    "ampeco_oldest_unevaluated_seconds",
    "Time since the oldest change was derived of which findings are still to be evaluated, seconds",
)


def _of_tenants(values: Mapping[str, float], name: str, description: str) -> GaugeMetricFamily:
    """Return the gauge of a value of each tenant."""
    gauge = GaugeMetricFamily(name, description, labels=["tenant"])
    for tenant, value in values.items():
        gauge.add_metric([tenant], value)
    return gauge


def _days_prepared(days: int | None) -> GaugeMetricFamily:
    """Return the gauge of the partitions of the days ahead; without a sample if they could not be counted."""
    return GaugeMetricFamily("ampeco_log_days_prepared", "Days ahead for which the log has a partition", value=days)


def _processes(processes: Sequence[ListedProcess]) -> GaugeMetricFamily:
    """Return the gauge of processes by name and state, without those that stopped in order.

    Each name has every state from the start: ``delta()`` does not see the first value of a later series.
    """
    gauge = GaugeMetricFamily("ampeco_processes", "Processes of the last day, by state", labels=["name", "state"])
    states = Counter((process.name, process.state) for process in processes)
    for name in sorted({process.name for process in processes}):
        for state in get_args(ProcessState):
            if state != "stopped":
                gauge.add_metric([name, state], states[name, state])
    return gauge


def counters() -> CollectorRegistry:
    """Return the counters of this process, or of all that share the port; see :func:`receiver.accept.serve.serve`."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    _drop_dead_processes(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # as of prometheus_client 0.26
    return registry


def _drop_dead_processes(directory: Path) -> None:
    """Drop the gauges of processes that are gone, because their waiting notifications are gone, too."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # as of prometheus_client 0.26


class _Collected:
    """A collector of metric families that exist already."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        """Return the families."""
        return self._families
