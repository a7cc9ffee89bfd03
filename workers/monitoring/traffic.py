"""Traffic monitor: count each tenant's notifications, compare them with its baseline, and record its token use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from ampeco.tenants import Tenant
from runtime.logging import get_logger
from storage.monitoring import token_use, traffic
from storage.monitoring.uptime import outages
from workers.api.context import Context
from workers.monitoring.baseline import MAX_STRETCH, WEEKS_LEARNED, Judgement, learn

logger = get_logger(__name__)

#: How often a tenant is checked, and so how late a traffic gap is noticed.
INTERVAL = timedelta(minutes=5)

_LEARNED = timedelta(weeks=WEEKS_LEARNED)


def monitor_traffic(context: Context, interval: timedelta = INTERVAL) -> int:
    """Check every tenant that no process has checked within the interval; return their number."""
    checked = 0
    for tenant in context.tenants.values():
        try:
            with context.engine.begin() as connection:
                now = traffic.take(connection, tenant.name, interval)
                if now is not None:
                    _check_tenant(connection, tenant, now)
                    checked += 1
        except Exception:  # the other tenants are checked nevertheless
            logger.exception("traffic monitor failed", tenant=tenant.name)
    return checked


def _check_tenant(connection: Connection, tenant: Tenant, now: datetime) -> None:
    name = tenant.name
    token_use.look(connection, name, [token.token_id for token in tenant.signing_keys()])
    traffic.count(connection, name, now - _LEARNED)
    first, last_received_at = traffic.first_and_last(connection, name)
    if first is None:
        return
    gaps = traffic.gaps(connection, name, now - 2 * _LEARNED)
    gap_since = next((began_at for began_at, ended_at in gaps if ended_at is None), None)
    # During a gap the baseline is learned from the time before it. The first hour is incomplete, and is left out.
    until = gap_since or now
    begin = max(_hour(until - _LEARNED), _hour(first) + 1)
    received = {_hour(hour_at): number for hour_at, number in traffic.hours(connection, name, _start(begin))}
    down = _hours((outage.began_at, outage.ended_at) for outage in outages(connection, _start(begin)))
    in_gap = _hours((began_at, ended_at or now) for began_at, ended_at in gaps)
    to_learn = [
        None if hour in down or hour in in_gap else received.get(hour, 0) for hour in range(begin, _hour(until))
    ]
    baseline = learn(to_learn, begin)
    to_judge = range(max(begin, _hour(now) - MAX_STRETCH), _hour(now) + 1)
    judgement = baseline.judge(
        [None if hour in down else received.get(hour, 0) for hour in to_judge],
        _hour(now),
        now.timestamp() % 3600 / 3600,
    )
    traffic.note(
        connection,
        name,
        last_received_at=last_received_at,
        learned_hours=baseline.learned_hours,
        min_expected=baseline.min_expected,
        judged=None if judgement is None else (judgement.hours, judgement.expected, judgement.received),
    )
    if judgement is not None:
        _record_gap(connection, name, judgement, gap_since, now)


def _record_gap(
    connection: Connection, tenant: str, judgement: Judgement, gap_since: datetime | None, now: datetime
) -> None:
    """Record and log the beginning or the end of a traffic gap."""
    fields = {
        "tenant": tenant,
        "hours": judgement.hours,
        "expected": round(judgement.expected),
        "received": judgement.received,
    }
    if judgement.is_gap and gap_since is None:
        began_at = _start(_hour(now) - judgement.hours)
        traffic.begin_gap(connection, tenant, began_at, judgement.expected, judgement.received)
        logger.warning("traffic gap began", **fields)
    elif not judgement.is_gap and gap_since is not None:
        traffic.end_gap(connection, tenant)
        logger.warning("traffic gap ended", gap_since=gap_since.isoformat(), **fields)


def _hour(moment: datetime) -> int:
    """Return the number of whole hours from 1970 to a moment."""
    return int(moment.timestamp()) // 3600


def _start(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


def _hours(stretches: Iterable[tuple[datetime, datetime]]) -> set[int]:
    """Return every hour that overlaps one of the stretches of time."""
    return {hour for began_at, ended_at in stretches for hour in range(_hour(began_at), _hour(ended_at) + 1)}
