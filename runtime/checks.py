"""The checks that receivers and workers share: Postgres and Redis take writes, and the clock is right."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import redis
from sqlalchemy import Connection, Engine

import migrations
from runtime.clock_watch import TOLERANCE_SECONDS
from runtime.readiness import Check, Probe
from runtime.reconnect import RefusedError
from storage.clock import clock
from storage.database import create_database_engine, prove_writable

#: Connections of the checks time out sooner than others: a check that hangs does not show that a server is back.
NETWORK_TIMEOUT = timedelta(seconds=2)

#: The key that a check writes to Redis, and how long it stays.
REDIS_KEY = "ampeco-receiver:readiness"
REDIS_KEY_MS = 10_000

POSTGRES_ADVICE = "bring Postgres back or correct DATABASE_URL; no restart is needed"
REDIS_ADVICE = "bring Redis back or correct REDIS_URL; no restart is needed"

#: Dramatiq's scripts use several keys in one call, which a cluster spreads over its nodes.
CLUSTER_ADVICE = "name one that is not part of a cluster in REDIS_URL: a single server, or replicas with sentinels"


def create_check_engine(database_url: str, *, process: str) -> Engine:
    """Create an engine with one connection for the checks of a process.

    Parameters:
        process: its name in ``pg_stat_activity``.
    """
    return create_database_engine(
        database_url, application_name=f"ampeco-receiver {process}", pool_size=1, network_timeout=NETWORK_TIMEOUT
    )


def look_at_postgres(engine: Engine) -> dict[str, Check]:
    """Check that Postgres takes writes, has the tables of this release, and agrees with this machine's clock.

    Returns:
        The checks by name.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: Postgres takes no writes.
    """
    with engine.begin() as connection:
        clock_check = _look_at_clock(connection)
        prove_writable(connection)
    with engine.connect() as connection:
        revision = look_at_revision(connection)
    return {"postgres": Check(True, "takes writes"), "migrations": revision, "clock": clock_check}


def look_at_revision(connection: Connection) -> Check:
    """Check that the tables are those of this release. It is not required, because other revisions may work as well."""
    current, needed = migrations.current(connection), migrations.head()
    if current == needed:
        return Check(True, f"at revision {current}", required=False)
    detail = f"the database is at revision {current or 'none'}, this release is made for {needed}"
    advice = (
        "upgrade this process to the release that migrated the database"
        if migrations.is_later(current)
        else "run `ampeco-receiver migrate`"
    )
    return Check(False, detail, advice, required=False)


def _look_at_clock(connection: Connection) -> Check:
    clock.measure(connection)
    ahead = clock.wall_offset_seconds()
    if abs(ahead) < TOLERANCE_SECONDS:
        return Check(True, "agrees with Postgres's", required=False)
    detail = f"is {abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} Postgres's"
    return Check(False, detail, "set the clocks of both machines by NTP", required=False)


def redis_probe(client: redis.Redis, *, required: bool) -> Probe:
    """Return the probe that Redis takes writes.

    Parameters:
        required: whether the process cannot work without Redis.
    """

    def look() -> Mapping[str, Check]:
        if _is_cluster(client):
            return {"redis": Check(False, "is a Redis Cluster, which cannot be used", CLUSTER_ADVICE, required)}
        client.set(REDIS_KEY, 1, px=REDIS_KEY_MS)
        return {"redis": Check(True, "takes writes", required=required)}

    return Probe("redis", look, REDIS_ADVICE, required)


def _is_cluster(client: redis.Redis) -> bool:
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except (redis.ResponseError, RefusedError):  # it does not allow INFO
        return False
