"""Counters of the work processes, as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import Counter

NOTIFICATIONS_APPLIED = Counter(
    "ampeco_notifications_applied_total", "Notifications whose facts were applied", ["tenant"]
)
NOTIFICATIONS_SET_ASIDE = Counter(
    "ampeco_notifications_set_aside_total", "Notifications that were ignored or failed", ["tenant", "state"]
)
API_READS = Counter("ampeco_api_reads_total", "Reads of the tenant's API, by what came of them", ["tenant", "result"])
READS_SAVED = Counter(
    "ampeco_api_reads_saved_total", "Reads that were asked for and no longer needed when their turn came", ["tenant"]
)
SWEPT = Counter("ampeco_batches_swept_total", "Batches that were open too long and sent again")
