"""Prometheus metrics of the work processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from ampeco import errors
from storage.inbox.batches import OutcomeState
from storage.monitoring.resends import ResendState
from storage.sync.api_usage import CallReason

#: How calls of the API end: ``refused`` says that AMPECO answered with another 4xx than 429, ``failed`` that it gave no
#: usable answer.
CallOutcome = Literal["success", "refused", "limited", "failed"]

ConsumptionResult = Literal["points", "empty", "failed", "given_up"]

#: What a sync run finds of the entities of a listing; ``absent``: not listed any more.
Found = Literal["compared", "missing", "stale", "healed", "absent"]

#: The results of reads that failed.
_RESULTS_OF_ERRORS: Mapping[type[Exception], str] = {
    errors.Conflict: "conflict",
    errors.Forbidden: "forbidden",
    errors.Invalid: "invalid",
    errors.Malformed: "malformed",
    errors.NotFound: "not_found",
    errors.NotOffered: "not_offered",
    errors.RateLimited: "ratelimited",
    errors.Unauthorized: "unauthorized",
    errors.Unavailable: "unavailable",
}

#: The result of a read whose answer has a value that our models or Postgres reject.
_UNUSABLE = "unusable"

READ_RESULTS = ("found", "gone", "listed", "given_up", _UNUSABLE, *_RESULTS_OF_ERRORS.values())

#: From what is seldom noticed to what somebody waits for.
_LAG_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)

APPLIED_LAG = Histogram(
    "ampeco_applied_lag_seconds",
    "Time from the commit of a batch to the commit that applied it, seconds",
    ["tenant"],
    buckets=_LAG_BUCKETS,
)

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
API_CALL_SECONDS = Histogram(
    "ampeco_api_call_seconds",
    "Time of one call of the tenant's API until its whole answer was read, by outcome, seconds",
    ["tenant", "outcome"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
API_QUOTA_USED = Gauge(
    "ampeco_api_quota_used_ratio", "Part of the tenant's daily quota that all processes together have used", ["tenant"]
)
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
# Prometheus itself labels each target `job`, so these are labelled `task`, as the failures of background tasks are.
JOB_AGE = Gauge("ampeco_job_age_seconds", "Time since a scheduled job of this worker last succeeded, seconds", ["task"])
JOB_OVERDUE = Gauge(
    "ampeco_job_overdue", "1 if a scheduled job of this worker has not succeeded for five of its intervals", ["task"]
)
DERIVED_CHANGES = Counter(
    "ampeco_derived_changes_total", "Rows of the schema analytics that were written or removed", ["tenant"]
)
DERIVED_LAG = Histogram(
    "ampeco_derived_lag_seconds",
    "Time from a change of the state to its derivation, for the oldest change of each round, seconds",
    ["tenant"],
    buckets=_LAG_BUCKETS,
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


def create_series(kinds: Mapping[str, Iterable[str]]) -> None:
    """Create the series whose labels are known, at 0: ``increase()`` does not see the first value of a later one.

    Parameters:
        kinds: for each tenant the kinds that this process reconciles.
    """
    for result in ("sent", "failed"):
        ALERT_MESSAGES.labels(result)
    for tenant, reconciled in kinds.items():
        for metric in (
            *(NOTIFICATIONS_APPLIED, CLOCKS_AHEAD, APPLIED_LAG),
            *(DERIVED_CHANGES, DERIVED_LAG, SUBSCRIPTION_REPAIRS),
        ):
            metric.labels(tenant)
        for by_value, values in (
            (NOTIFICATIONS_NOT_APPLIED, get_args(OutcomeState)),
            (API_READS, READ_RESULTS),
            (API_CALLS, get_args(CallReason)),
            (API_CALLS_SAVED, get_args(CallReason)),
            (API_CALL_SECONDS, get_args(CallOutcome)),
            (CONSUMPTION_READS, get_args(ConsumptionResult)),
            (RESENDS, get_args(ResendState)),
        ):
            for value in values:
                by_value.labels(tenant, value)
        for kind in reconciled:
            for found in get_args(Found):
                RECONCILED.labels(tenant, kind, found)


def read_result(error: Exception) -> str:
    """Return the result under which a read that failed is counted."""
    return _RESULTS_OF_ERRORS.get(type(error), _UNUSABLE)


def observe_call(tenant: str, failure: type[errors.ApiError] | None, seconds: float) -> None:
    """Observe a call of the API, by what it failed with."""
    API_CALL_SECONDS.labels(tenant, _outcome(failure)).observe(seconds)


def _outcome(failure: type[errors.ApiError] | None) -> CallOutcome:
    if failure is None:
        return "success"
    if failure is errors.RateLimited:
        return "limited"
    return "failed" if failure in (errors.Unavailable, errors.Malformed) else "refused"
