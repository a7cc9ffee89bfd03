"""Listening: what came from each tenant is counted, judged by its own rhythm, and told of its tokens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from ampeco.tenants import Tenant
from storage import arrivals, token_use
from storage.uptime import outages
from workers.context import Context
from workers.logs import get_logger
from workers.rhythm import LONGEST_STRETCH, WEEKS_LEARNED, Judgement, learn

logger = get_logger(__name__)

#: How often; a silence is noticed so much later.
INTERVAL = timedelta(minutes=5)

_LEARNED = timedelta(weeks=WEEKS_LEARNED)


def listen(context: Context, interval: timedelta = INTERVAL) -> int:
    """Look at every tenant that no process looked at within the interval; returns at how many."""
    looked = 0
    for tenant in context.tenants.values():
        try:
            with context.engine.begin() as connection:
                now = arrivals.take(connection, tenant.name, interval)
                if now is not None:
                    _look(connection, tenant, now)
                    looked += 1
        except Exception:  # it holds up no other tenant
            logger.exception("listening failed", tenant=tenant.name)
    return looked


def _look(connection: Connection, tenant: Tenant, now: datetime) -> None:
    name = tenant.name
    token_use.look(connection, name, [token.token_id for token in tenant.signing_keys()])
    arrivals.count(connection, name, now - _LEARNED)
    first, last_received_at = arrivals.first_and_last(connection, name)
    if first is None:
        return
    known = arrivals.silences(connection, name, now - 2 * _LEARNED)
    silent_since = next((began_at for began_at, ended_at in known if ended_at is None), None)
    # What came before a silence is what should come now; the first hour is a part of one.
    until = silent_since or now
    begin = max(_hour(until - _LEARNED), _hour(first) + 1)
    came = {_hour(hour_at): number for hour_at, number in arrivals.hours(connection, name, _start(begin))}
    down = _hours((outage.began_at, outage.ended_at) for outage in outages(connection, _start(begin)))
    silent = _hours((began_at, ended_at or now) for began_at, ended_at in known)
    to_learn = [None if hour in down or hour in silent else came.get(hour, 0) for hour in range(begin, _hour(until))]
    rhythm = learn(to_learn, begin)
    to_judge = range(max(begin, _hour(now) - LONGEST_STRETCH), _hour(now) + 1)
    judgement = rhythm.judge(
        [None if hour in down else came.get(hour, 0) for hour in to_judge], _hour(now), now.timestamp() % 3600 / 3600
    )
    arrivals.note(
        connection,
        name,
        last_received_at=last_received_at,
        learned_hours=rhythm.learned_hours,
        telling=rhythm.telling,
        judged=None if judgement is None else (judgement.hours, judgement.expected, judgement.came),
    )
    if judgement is not None:
        _tell(connection, name, judgement, silent_since, now)


def _tell(
    connection: Connection, tenant: str, judgement: Judgement, silent_since: datetime | None, now: datetime
) -> None:
    """Note and log what has changed."""
    told = {"tenant": tenant, "hours": judgement.hours, "expected": round(judgement.expected), "came": judgement.came}
    if judgement.is_silent and silent_since is None:
        began_at = _start(_hour(now) - judgement.hours)
        arrivals.begin_silence(connection, tenant, began_at, judgement.expected, judgement.came)
        logger.warning("tenant silent", **told)
    elif not judgement.is_silent and silent_since is not None:
        arrivals.end_silence(connection, tenant)
        logger.warning("tenant heard again", silent_since=silent_since.isoformat(), **told)


def _hour(moment: datetime) -> int:
    """The number of a moment's hour, since 1970."""
    return int(moment.timestamp()) // 3600


def _start(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


def _hours(stretches: Iterable[tuple[datetime, datetime]]) -> set[int]:
    """Every hour of which a part is in one of the stretches."""
    return {hour for began_at, ended_at in stretches for hour in range(_hour(began_at), _hour(ended_at) + 1)}
