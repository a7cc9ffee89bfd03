"""The checks of a tenant: its API, its clock, what its token may read, and its subscription."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from ampeco.api.client import Client
from ampeco.errors import ApiError, Forbidden, Unauthorized
from ampeco.resources.charging import Subscription
from ampeco.tenants import Tenant
from receiver.doctor.database import UNREAD, Stored
from receiver.doctor.diagnosis import Diagnosis, not_checked
from runtime.clock_watch import TOLERANCE_SECONDS
from storage.clock import clock
from workers.monitoring.subscriptions import callback_url, compare


def look_at_tenant(
    tenant: Tenant, stored: Stored | None, *, public_url: str | None, timeout_seconds: float
) -> Iterator[Diagnosis]:
    """Check a tenant, with one call of its API.

    Parameters:
        stored: what is stored about the tenants; None if that cannot be read.
        public_url: the URL at which AMPECO reaches the receiver; None if it is not configured.
        timeout_seconds: longest wait for the answer.
    """
    listed: Sequence[Subscription] | None = None
    with Client(
        tenant.url, tenant.api_token(), timeout_seconds=timeout_seconds, max_attempts=1, now=clock.now
    ) as client:
        try:
            listed = client.subscriptions()
        except ApiError as error:
            yield _refused(tenant.name, error)
        else:
            yield Diagnosis("API", "ok", "answers, and accepts the token", tenant=tenant.name)
        yield look_at_clock(tenant.name, client.clock_offset)
    yield _look_at_permissions(tenant.name, stored)
    if listed is None:
        yield from not_checked(["subscription"], "the API did not list the subscriptions", tenant.name)
    else:
        yield from _look_at_subscriptions(tenant, listed, stored, public_url)


def _refused(tenant: str, error: ApiError) -> Diagnosis:
    if isinstance(error, Forbidden):
        advice = "have an administrator of the tenant grant the token the permission for notifications"
        return Diagnosis("API", "warning", f"accepts the token, but: {error}", advice, tenant)
    advice = (
        f"replace the token of tenants.{tenant} by one that is valid"
        if isinstance(error, Unauthorized)
        else f"correct tenants.{tenant}.base_url, or wait until the API is back"
    )
    return Diagnosis("API", "failed", str(error), advice, tenant)


def look_at_clock(tenant: str, offset: timedelta | None) -> Diagnosis:
    """Check the clock of a tenant.

    Parameters:
        offset: how far it is ahead of ours; None if that is not known.
    """
    name, ours = "tenant clock", "Postgres's" if clock.is_measured else "this machine's"
    if offset is None:
        return Diagnosis(name, "not checked", "no answer with a usable Date header", tenant=tenant)
    seconds = offset.total_seconds()
    if abs(seconds) < TOLERANCE_SECONDS:
        return Diagnosis(name, "ok", f"agrees with {ours}", tenant=tenant)
    detail = f"is {abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} {ours}"
    return Diagnosis(name, "warning", detail, "find out which of them is wrong", tenant)


def _look_at_permissions(tenant: str, stored: Stored | None) -> Diagnosis:
    name = "permissions"
    if stored is None:
        return Diagnosis(name, "not checked", UNREAD, tenant=tenant)
    kinds = [kind for kind in stored.inaccessible_kinds if kind.tenant == tenant]
    forbidden = [kind.kind for kind in kinds if kind.reason == "forbidden"]
    if forbidden:
        advice = (
            "have an administrator of the tenant grant the token these reads, or leave their groups out of"
            f" tenants.{tenant}.mirror"
        )
        return Diagnosis(name, "warning", f"the token may not read {', '.join(forbidden)}", advice, tenant)
    missing = [kind.kind for kind in kinds if kind.reason == "not_offered"]
    not_offered = f"; the tenant does not offer {', '.join(missing)}" if missing else ""
    return Diagnosis(name, "ok", f"no read was refused{not_offered}", tenant=tenant)


def _look_at_subscriptions(
    tenant: Tenant, listed: Sequence[Subscription], stored: Stored | None, public_url: str | None
) -> Iterator[Diagnosis]:
    """Check the subscriptions that are managed, and the one for the configured URL."""
    managed = [] if stored is None else [each for each in stored.managed if each.tenant == tenant.name]
    wanted: dict[str, int | None] = {each.callback_url: each.subscription_id for each in managed}
    if tenant.kafka_topic is not None:
        yield look_at_kafka_subscription(tenant, listed)
    elif public_url is not None:
        wanted.setdefault(callback_url(public_url, tenant.name), None)
    if not wanted and tenant.kafka_topic is None:
        why = "RECEIVER_PUBLIC_URL is not set, and no subscription is known to be managed"
        yield from not_checked(["subscription"], why, tenant.name)
    for url, managed_id in wanted.items():
        found = compare(listed, tenant, url, managed_id)
        if found.wrong:
            advice = f"run `ampeco-receiver subscribe --tenant {tenant.name}`"
            yield Diagnosis("subscription", "failed", f"{url}: {'; '.join(found.wrong)}", advice, tenant.name)
        elif managed_id is None:
            advice = f"run `ampeco-receiver subscribe --tenant {tenant.name}`, so that it is monitored"
            yield Diagnosis("subscription", "warning", f"{url}: as configured, but not managed", advice, tenant.name)
        else:
            yield Diagnosis("subscription", "ok", f"{url}: as configured", tenant=tenant.name)


def look_at_kafka_subscription(tenant: Tenant, listed: Sequence[Subscription]) -> Diagnosis:
    """Check that a subscription delivers the configured notifications to the tenant's topic.

    Parameters:
        listed: all subscriptions of the tenant.
    """
    of_topic = [each for each in listed if each.kafka_topic == tenant.kafka_topic]
    if not of_topic:
        detail = f"none delivers to the topic {tenant.kafka_topic}"
        advice = "create it at AMPECO, as docs/operations/kafka.md says"
        return Diagnosis("subscription", "failed", detail, advice, tenant.name)
    missing = set(tenant.notifications).difference(*(each.notifications for each in of_topic))
    disabled = any(each.is_disabled for each in of_topic)
    if missing or disabled:
        problem = f"it lacks {', '.join(sorted(missing))}" if missing else "it is disabled"
        detail = f"topic {tenant.kafka_topic}: {problem}"
        return Diagnosis("subscription", "failed", detail, "change it at AMPECO", tenant.name)
    return Diagnosis("subscription", "ok", f"topic {tenant.kafka_topic}: as configured", tenant=tenant.name)
