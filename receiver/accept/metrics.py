"""Prometheus metrics of the receiver."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The time of creation of every metric would double the size of the page, and is not used.
disable_created_metrics()  # type: ignore[no-untyped-call] # as of prometheus_client 0.26

#: Why a request is not acknowledged, and why a connection is closed on its client.
RefusalReason = Literal["unauthorized", "too_large", "overloaded", "unavailable"]
CutReason = Literal["slow", "silent", "crowded", "long", "long head", "pipelined"]

ACCEPTED = Counter("ampeco_notifications_accepted_total", "Notifications committed and acknowledged", ["tenant"])
REFUSED = Counter("ampeco_notifications_refused_total", "Requests that were not acknowledged", ["reason"])
COMMIT_SECONDS = Histogram(
    "ampeco_commit_seconds",
    "Time of one group commit, seconds",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
COMMITTED_TOGETHER = Histogram(
    "ampeco_committed_together", "Notifications of one group commit", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
COMMIT_FAILURES = Counter("ampeco_commit_failures_total", "Commits that Postgres rejected or did not answer", ["error"])
WAITING = Gauge("ampeco_notifications_waiting", "Notifications that wait for a commit", multiprocess_mode="livesum")
WAKEUPS_DROPPED = Counter("ampeco_wakeups_dropped_total", "Wake-ups that Redis did not accept; the sweep sends others")
CONNECTIONS_CUT = Counter(
    "ampeco_connections_cut_total", "Connections that the receiver closed because of a limit", ["reason"]
)


def create_series(tenants: Iterable[str]) -> None:
    """Create the series whose labels are known, at 0: ``increase()`` does not see the first value of a later one."""
    for tenant in tenants:
        ACCEPTED.labels(tenant)
    for refusal in get_args(RefusalReason):
        REFUSED.labels(refusal)
    for cut in get_args(CutReason):
        CONNECTIONS_CUT.labels(cut)
