"""Counters of the work processes, as Prometheus metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

NOTIFICATIONS_APPLIED = Counter(
    "ampeco_notifications_applied_total", "Notifications whose facts were applied", ["tenant"]
)
NOTIFICATIONS_NOT_APPLIED = Counter(
    "ampeco_notifications_not_applied_total", "Notifications that were ignored or failed", ["tenant", "state"]
)
CLOCKS_AHEAD = Counter(
    "ampeco_clocks_ahead_total", "Notifications by a charge point whose clock is more than a day ahead", ["tenant"]
)
API_READS = Counter("ampeco_api_reads_total", "Reads of the tenant's API, by what came of them", ["tenant", "result"])
API_CALLS = Counter("ampeco_api_calls_total", "Calls of the tenant's API, by why they were made", ["tenant", "reason"])
API_CALLS_SAVED = Counter(
    "ampeco_api_calls_saved_total", "Reads that were asked for and needed no call of their own", ["tenant", "reason"]
)
RECONCILED = Counter(
    "ampeco_reconciled_total",
    "Entities that a sync run through a listing compared, and what it found: compared, missing, stale, healed, absent",
    ["tenant", "kind", "found"],
)
BATCHES_PUT_OFF = Counter(
    "ampeco_batches_put_off_total",
    "Batches whose attempt failed through no fault of what was sent, by the error; they are tried again",
    ["tenant", "error"],
)
SWEPT = Counter("ampeco_batches_swept_total", "Batches that were open too long and sent again")
CLOCK_OFFSET = Gauge(
    "ampeco_clock_offset_seconds",
    "How far this machine's clock is ahead of Postgres's, and Postgres's of each tenant's, seconds",
    ["against"],
    multiprocess_mode="livemostrecent",
)
JOB_AGE = Gauge("ampeco_job_age_seconds", "Time since a scheduled job of this worker last succeeded, seconds", ["job"])
BACKGROUND_FAILURES = Counter(
    "ampeco_background_failures_total", "Failures of what runs beside the work; each is started again", ["task"]
)
SUBSCRIPTION_REPAIRS = Counter("ampeco_subscription_repairs_total", "Subscriptions that the monitor mended", ["tenant"])
RESENDS = Counter(
    "ampeco_resends_total",
    "Requests that AMPECO send failed notifications again, by what came of them: asked, waiting, failed",
    ["tenant", "result"],
)
