"""Prometheus metrics of the consumer, beside those of the accept path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from prometheus_client import Counter, Gauge

from receiver.accept.metrics import ACCEPTED

#: Why a record is not committed: its signature is missing or wrong, it is longer than the limit, it has no value (a
#: tombstone), or our code fails at it.
RejectionReason = Literal["unauthorized", "too_large", "empty", "failed"]

REJECTED = Counter(
    "ampeco_kafka_records_rejected_total", "Records that were not committed, and never will be", ["tenant", "reason"]
)
LAG = Gauge(
    "ampeco_kafka_lag_records",
    "Records that this process has still to commit, in the partitions that it consumes",
    ["tenant"],
)
PARTITIONS = Gauge("ampeco_kafka_partitions", "Partitions that this process consumes", ["tenant"])
PAUSED = Gauge("ampeco_kafka_paused", "1 while no further records are fetched, because too many wait for a commit")
ERRORS = Counter("ampeco_kafka_errors_total", "Errors that brokers answered, or connections to them had", ["error"])


def create_series(tenants: Iterable[str]) -> None:
    """Create the series whose labels are known, at 0: ``increase()`` does not see the first value of a later one.

    Parameters:
        tenants: those that have a topic.
    """
    for tenant in tenants:
        ACCEPTED.labels(tenant)
        LAG.labels(tenant)
        PARTITIONS.labels(tenant)
        for reason in get_args(RejectionReason):
            REJECTED.labels(tenant, reason)
