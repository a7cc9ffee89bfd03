"""Refresh: read from the API what the database does not know, or knows only in part.

Any number of marks of one entity cost one read. A tenant that is down, refuses the
token or asks for a pause holds up its own reads alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError

from ampeco.errors import ApiError, Forbidden, NotFound, RateLimited, Unauthorised, Unavailable
from storage import refresh_queue, refusals
from storage.facts import presence
from storage.findings import Findings
from storage.fold import Fold
from storage.history import observe
from storage.known import children, known
from storage.refresh_queue import RefreshRequest
from storage.upsert import upsert
from workers.context import Context
from workers.logs import get_logger
from workers.metrics import API_READS, READS_SAVED
from workers.pause import pause, paused_for
from workers.reads import CHILDREN, READERS, Wanted

logger = get_logger(__name__)

#: Few enough that a killed worker holds back few reads until their leases run out.
MOST_REQUESTS = 10

#: Short, so that a tenant with much to read shares the threads with the others.
TIME_BUDGET_SECONDS = 5.0

#: A tenant that gave no usable answer is left alone for this long.
UNAVAILABLE_PAUSE_SECONDS = 10.0

#: A refused token needs a person; asking once a minute notices when it has been mended.
UNAUTHORISED_PAUSE_SECONDS = 60.0

#: A read that did not settle its entity is tried again after about 5 s, 10 s, … up to an hour.
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(hours=1)

#: The API may lag behind its own notifications; after so many reads that still show less
#: than we know, it is right and something else is wrong.
MOST_STALE_READS = 8


def refresh_tenant(context: Context, tenant: str) -> int:
    """Read what is due of one tenant, until nothing is, it is paused, or the time budget is spent.

    Returns:
        How many requests were settled.
    """
    with context.turn(tenant) as granted:
        return _refresh_due(context, tenant) if granted else 0


def _refresh_due(context: Context, tenant: str) -> int:
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    settled = 0
    while time.monotonic() < deadline and not paused_for(context.redis, tenant):
        with context.engine.begin() as connection:
            requests = refresh_queue.claim(connection, tenant, most=MOST_REQUESTS)
        if not requests:
            break
        settled += _refresh_claimed(context, tenant, requests, deadline)
    return settled


def _refresh_claimed(context: Context, tenant: str, requests: Sequence[RefreshRequest], deadline: float) -> int:
    settled = 0
    for position, request in enumerate(requests):
        if time.monotonic() >= deadline:
            _postpone(context, requests[position:], timedelta(0), "its turn comes", counts=False)
            break
        try:
            settled += _refresh_one(context, request)
        except (RateLimited, Unauthorised, Unavailable) as error:
            # It speaks for the whole tenant: leave the rest of what we claimed, too.
            seconds = pause(context.redis, tenant, _pause_seconds(error), str(error))
            logger.warning("tenant paused", tenant=tenant, seconds=seconds, error=str(error))
            API_READS.labels(tenant, type(error).__name__.lower()).inc()
            _postpone(context, requests[position:], timedelta(seconds=seconds), str(error), counts=False)
            break
        except Forbidden as error:
            with context.engine.begin() as connection:
                is_new = refusals.note(connection, tenant, request.entity, str(error))
            API_READS.labels(tenant, "forbidden").inc()
            _postpone(context, [request], timedelta(0), str(error), counts=False)
            if is_new:
                logger.warning("the token may not read this kind", **_labels(request), error=str(error))
        except (ApiError, ValidationError, ValueError, KeyError) as error:
            described = _describe(error)
            logger.warning("read failed", **_labels(request), error=described)
            API_READS.labels(tenant, type(error).__name__.lower()).inc()
            _postpone(context, [request], _retry_delay(request.attempts), described, counts=True)
    return settled


def _refresh_one(context: Context, request: RefreshRequest) -> bool:
    """Settle one request; returns False where it was left for later."""
    tenant, entity, entity_id = request.tenant, request.entity, request.entity_id
    with context.engine.begin() as connection:
        row = known(connection, tenant, entity, entity_id)
        if request.reason in ("unknown", "provisional") and row.is_whole:
            refresh_queue.finish(connection, request)
            READS_SAVED.labels(tenant).inc()
            return True
        permission = refusals.may_ask(connection, tenant, entity)
        if permission == "refused":
            why = "waits, as the token may not read this kind"
            refresh_queue.postpone(connection, tenant, [request], delay=timedelta(0), error=why, counts=False)
            return False
        child = CHILDREN.get(entity)
        stored = children(connection, tenant, child, entity, entity_id) if child else set()

    client = context.client(tenant)
    try:
        found = READERS[entity](client, Wanted(entity_id, row, stored, request.reference))
        gone = False
    except NotFound as error:
        found, gone = Findings(), not request.reference
        if gone:
            found.facts.append(presence(entity, entity_id, began_at=error.tenant_time, gone=True))
    API_READS.labels(tenant, "gone" if gone else "found").inc()

    with context.engine.begin() as connection:
        if permission == "trial":
            refusals.lift(connection, tenant, entity)
        contested = upsert(connection, tenant, Fold(found.facts))
        observe(connection, tenant, found.observations)
        refresh_queue.mark(connection, tenant, found, [one for one in contested if one != (entity, entity_id)])
        if gone or (found.facts if request.reference else known(connection, tenant, entity, entity_id).is_whole):
            refresh_queue.finish(connection, request)
            settled = True
        elif request.attempts >= MOST_STALE_READS and not request.reference:
            refresh_queue.finish(connection, request)
            logger.warning("the API keeps showing less than its notifications told", **_labels(request))
            settled = True
        else:
            refresh_queue.postpone(
                connection,
                tenant,
                [request],
                delay=_retry_delay(request.attempts),
                error="no listing shows it yet" if request.reference else "the API still shows an older state",
                counts=True,
            )
            settled = False
    logger.debug("read", **_labels(request), reason=request.reason, gone=gone, settled=settled)
    return settled


def _postpone(
    context: Context, requests: Sequence[RefreshRequest], delay: timedelta, error: str, *, counts: bool
) -> None:
    with context.engine.begin() as connection:
        refresh_queue.postpone(connection, requests[0].tenant, requests, delay=delay, error=error, counts=counts)


def _pause_seconds(error: RateLimited | Unauthorised | Unavailable) -> float:
    if isinstance(error, RateLimited):
        return error.retry_after_seconds
    if isinstance(error, Unauthorised):
        return UNAUTHORISED_PAUSE_SECONDS
    return error.retry_after_seconds or UNAVAILABLE_PAUSE_SECONDS


def _retry_delay(attempts: int) -> timedelta:
    longest = min(FIRST_RETRY * 2 ** min(attempts - 1, 20), LONGEST_RETRY)
    return timedelta(seconds=longest.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return "the tenant is no longer in tenants.toml"
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
    return str(error)


def _labels(request: RefreshRequest) -> dict[str, object]:
    return {
        "tenant": request.tenant,
        "entity": request.entity,
        "entity_id": request.entity_id,
        "request_id": str(request.marked_by) if request.marked_by else None,
    }
