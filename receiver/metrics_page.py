"""``/metrics``: the counters of the processes that share the port, and what stands in Postgres."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ampeco.tenants import Tenant
from receiver.watching import watch_gauges, watched
from storage.overview import TenantOverview, overview
from storage.processes import ListedProcess, list_processes


class MetricsPage:
    """The page that Prometheus looks at."""

    def __init__(self, engine: Engine, tenants: Mapping[str, Tenant]) -> None:
        self._engine = engine
        self._tenants = tenants

    async def show(self, _request: Request) -> Response:
        """``GET /metrics``: the receiver's counters, and what stands in Postgres."""
        stored = await run_in_threadpool(self._stored)
        return Response(generate_latest(counters()) + generate_latest(stored), media_type=CONTENT_TYPE_LATEST)

    def _stored(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        try:
            with self._engine.connect() as connection:
                tenants = overview(connection, sorted(self._tenants))
                watch = watched(connection, self._tenants, with_tokens=False)
                processes = list_processes(connection)
        except SQLAlchemyError:
            tenants, watch, processes = [], None, []
        up = GaugeMetricFamily("ampeco_postgres_up", "Whether the figures from Postgres could be read")
        up.add_metric([], float(bool(tenants)))
        families = {
            "pending": ("ampeco_notifications_pending", "Notifications accepted and not yet settled"),
            "ignored": ("ampeco_notifications_ignored", "Notifications that were ignored"),
            "failed": ("ampeco_notifications_failed", "Notifications that failed and wait to be replayed"),
            "refresh_waiting": ("ampeco_refresh_waiting", "Entities that want a read of the API"),
            "refresh_due": ("ampeco_refresh_due", "Entities whose read is due"),
            "refresh_troubled": ("ampeco_refresh_troubled", "Entities whose last read did not settle them"),
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
        gauges.append(_processes(processes))
        gauges += watch_gauges(watch)
        registry.register(_Collected(gauges))
        return registry


def _oldest_pending(tenants: Sequence[TenantOverview]) -> GaugeMetricFamily:
    """Return the gauge of what waits; its reason is an error's name alone, as each text would be a series."""
    gauge = GaugeMetricFamily(
        "ampeco_oldest_pending_seconds", "Age of the oldest open batch, seconds", labels=["tenant", "reason"]
    )
    for tenant in tenants:
        reason = (tenant.pending_reason or "").partition(":")[0]
        gauge.add_metric([tenant.tenant, reason], tenant.oldest_pending_seconds or 0.0)
    return gauge


def _processes(found: Sequence[ListedProcess]) -> GaugeMetricFamily:
    """Return the gauge of processes by what they run and how they are; one that stopped in order is none."""
    gauge = GaugeMetricFamily(
        "ampeco_processes", "Processes seen within a day, by what became of them", labels=["name", "state"]
    )
    states = Counter((process.name, process.state) for process in found if process.state != "stopped")
    for (name, state), number in sorted(states.items()):
        gauge.add_metric([name, state], number)
    return gauge


def counters() -> CollectorRegistry:
    """This process's counters, or those of all that share the port; see :func:`receiver.serve.serve`."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # as of prometheus_client 0.26
    return registry


def _forget_the_dead(directory: Path) -> None:
    """What a killed process last said of its waiting notifications is no longer so."""
    for path in directory.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call] # as of prometheus_client 0.26


class _Collected:
    """Hands families that are made already to a registry."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families
