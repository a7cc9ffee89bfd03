"""Whether this process is alive, whether it can do its work, and its figures."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import redis
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import migrations
from ampeco.tenants import Tenant
from receiver.watching import watch_gauges, watched
from storage.overview import overview

#: How long a bare answer about readiness is good for, seconds.
READINESS_SECONDS = 1.0


class Check(TypedDict):
    ok: bool
    detail: str


class Health:
    """The pages that a load balancer, an operator and Prometheus look at."""

    def __init__(self, engine: Engine, redis_client: redis.Redis, tenants: Mapping[str, Tenant]) -> None:
        self._engine = engine
        self._redis = redis_client
        self._tenants = tenants
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf
        self._was_ready = False

    async def alive(self, _request: Request) -> Response:
        """``GET /healthz``: the process answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """``GET /readyz`` for everybody: 200 or 503, and nothing beside it.

        Strangers may ask as often as they like: the servers are asked once a second.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at >= READINESS_SECONDS:
                checks = await self._checks()
                self._was_ready = all(check["ok"] for check in checks.values())
                self._asked_at = time.monotonic()
        return Response(status_code=200 if self._was_ready else 503)

    async def ready_in_detail(self, _request: Request) -> Response:
        """``GET /readyz`` for operators: Postgres is reachable and migrated, and Redis is reachable; else 503."""
        checks = await self._checks()
        ready = all(check["ok"] for check in checks.values())
        status = {"status": "ready" if ready else "not ready", "checks": checks}
        return JSONResponse(status, 200 if ready else 503)

    async def metrics(self, _request: Request) -> Response:
        """``GET /metrics``: the receiver's counters, and what stands in Postgres."""
        stored = await run_in_threadpool(self._stored)
        return Response(generate_latest(_counters()) + generate_latest(stored), media_type=CONTENT_TYPE_LATEST)

    async def _checks(self) -> dict[str, Check]:
        return {
            "postgres": await run_in_threadpool(self._postgres),
            "redis": await run_in_threadpool(self._redis_answers),
        }

    def _postgres(self) -> Check:
        try:
            with self._engine.connect() as connection:
                found = migrations.current(connection)
        except SQLAlchemyError as error:
            return {"ok": False, "detail": f"unreachable: {type(error).__name__}"}
        needed = migrations.head()
        if found != needed:
            return {"ok": False, "detail": f"at revision {found}, needs {needed}: run `ampeco-receiver migrate`"}
        return {"ok": True, "detail": f"at revision {found}"}

    def _redis_answers(self) -> Check:
        try:
            self._redis.ping()
        except RedisError as error:
            return {"ok": False, "detail": f"unreachable: {type(error).__name__}"}
        return {"ok": True, "detail": "answers"}

    def _stored(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        try:
            with self._engine.connect() as connection:
                tenants = overview(connection, sorted(self._tenants))
                watch = watched(connection, self._tenants)
        except SQLAlchemyError:
            tenants, watch = [], None
        up = GaugeMetricFamily("ampeco_postgres_up", "Whether the figures from Postgres could be read")
        up.add_metric([], float(bool(tenants)))
        families = {
            "pending": ("ampeco_notifications_pending", "Notifications accepted and not yet settled"),
            "ignored": ("ampeco_notifications_ignored", "Notifications that were ignored"),
            "failed": ("ampeco_notifications_failed", "Notifications that failed and wait to be replayed"),
            "oldest_pending_seconds": ("ampeco_oldest_pending_seconds", "Age of the oldest open batch, seconds"),
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
        gauges += watch_gauges(watch)
        registry.register(_Collected(gauges))
        return registry


def _counters() -> CollectorRegistry:
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
