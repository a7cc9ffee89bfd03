"""Leases in Redis, for work on a tenant that one process at a time does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis

#: How long other processes wait if the process that has the lease is killed. A round of such work takes seconds.
LEASE_MS = 120_000


@contextlib.contextmanager
def tenant_lease(client: redis.Redis, tenant: str, work: str) -> Iterator[bool]:
    """Take the lease of some work on a tenant; yield False if another process has it.

    If Redis loses the lease, two processes do the same work, so the work has to bear that.
    """
    key = f"ampeco-receiver:{work}:{tenant}"
    if not client.set(key, 1, nx=True, px=LEASE_MS):
        yield False
        return
    try:
        yield True
    finally:
        client.delete(key)
