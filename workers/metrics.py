"""Prometheus metrics of the work processes."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

NOTIFICATIONS_APPLIED = Counter(
    "ampeco_notifications_applied_total", "Notifications whose facts were applied", ["tenant"]
)
NOTIFICATIONS_NOT_APPLIED = Counter(
    "ampeco_notifications_not_applied_total", "Notifications that were ignored or failed", ["tenant", "state"]
)
CLOCKS_AHEAD = Counter(
    "ampeco_clocks_ahead_total", "Notifications from charge points whose clock is more than a day ahead", ["tenant"]
)
API_READS = Counter("ampeco_api_reads_total", "Reads of the tenant's API, by result", ["tenant", "result"])
API_CALLS = Counter("ampeco_api_calls_total", "Calls of the tenant's API, by reason", ["tenant", "reason"])
API_CALLS_SAVED = Counter(
    "ampeco_api_calls_saved_total", "Requested reads that needed no call of their own", ["tenant", "reason"]
)
API_DEPRECATED_CALLS = Counter(
    "ampeco_api_deprecated_calls_total", "Calls of endpoints that AMPECO will remove", ["tenant", "endpoint"]
)
CONSUMPTION_READS = Counter(
    "ampeco_consumption_reads_total",
    "Reads of the consumption of sessions without meter values, by result: points, empty, failed, given_up",
    ["tenant", "result"],
)
RECONCILED = Counter(
    "ampeco_reconciled_total",
    "Entities in the listings of sync runs, by result: compared, missing, stale, healed, absent",
    ["tenant", "kind", "found"],
)
BATCHES_POSTPONED = Counter(
    "ampeco_batches_postponed_total",
    "Batches that were postponed because the database or this release failed, by error; they are retried",
    ["tenant", "error"],
)
SWEPT = Counter("ampeco_batches_swept_total", "Batches that were open too long and whose wake-up was sent again")
JOB_AGE = Gauge("ampeco_job_age_seconds", "Time since a scheduled job of this worker last succeeded, seconds", ["job"])
DERIVED_CHANGES = Counter(
    "ampeco_derived_changes_total", "Rows of the schema analytics that were written or removed", ["tenant"]
)
DERIVED_LAG = Histogram(
    "ampeco_derived_lag_seconds",
    "Time from a change of the state to its derivation, for the oldest change of each round, seconds",
    ["tenant"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
SUBSCRIPTION_REPAIRS = Counter(
    "ampeco_subscription_repairs_total", "Repairs of subscriptions by the subscription monitor", ["tenant"]
)
RESENDS = Counter(
    "ampeco_resends_total",
    "Requests that AMPECO resend failed notifications, by result: asked, waiting, failed",
    ["tenant", "result"],
)
ALERT_MESSAGES = Counter(
    "ampeco_alert_messages_total", "Attempts to send a message to people, by result: sent, failed", ["result"]
)
ALERT_UNSENT_SECONDS = Gauge(
    "ampeco_alert_unsent_seconds",
    "Age of the oldest message to people that the webhook has not accepted, seconds; or 0",
)
