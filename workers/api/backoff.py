"""Backing off from a tenant, or from one of its kinds, after what its API answered."""

from __future__ import annotations

from http import HTTPStatus

from ampeco.errors import ApiError, Forbidden, NotFound, NotOffered, RateLimited, Unauthorized, Unavailable
from runtime.logging import get_logger
from storage.sync import inaccessible_kinds
from storage.sync.inaccessible_kinds import InaccessibleReason
from workers.api.context import Context
from workers.api.pause import fail, note_rejected_token, pause
from workers.metrics import API_READS, read_result

logger = get_logger(__name__)

#: Pause after a tenant gave no usable answer. It doubles with each failure, up to the maximum.
UNAVAILABLE_PAUSE_SECONDS = 10.0
MAX_UNAVAILABLE_PAUSE_SECONDS = 300.0

#: Pause after a tenant rejected the token. Only a person can replace it; one call a minute detects that.
UNAUTHORIZED_PAUSE_SECONDS = 60.0


def is_of_one(error: ApiError) -> bool:
    """Return whether a failure may concern only the requested path: status 500, so AMPECO's code failed."""
    return isinstance(error, Unavailable) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR


def note_inaccessible(context: Context, tenant: str, kind: str, error: Forbidden | NotFound | NotOffered) -> None:
    """Record that a kind cannot be read, so that it is not read until the next trial; log it the first time."""
    reason: InaccessibleReason = "forbidden" if isinstance(error, Forbidden) else "not_offered"
    API_READS.labels(tenant, reason).inc()
    with context.engine.begin() as connection:
        is_new = inaccessible_kinds.record_inaccessible(connection, tenant, kind, reason, str(error))
    if not is_new:
        return
    if reason == "forbidden":
        logger.warning("the token may not read this kind", tenant=tenant, kind=kind, error=str(error))
    else:
        logger.info("the tenant does not offer this kind", tenant=tenant, kind=kind, error=str(error))


def pause_tenant(context: Context, tenant: str, error: RateLimited | Unauthorized | Unavailable) -> float:
    """Pause a tenant for every process, after an answer that concerns the whole tenant; return the seconds."""
    API_READS.labels(tenant, read_result(error)).inc()
    reason = str(error)
    if isinstance(error, RateLimited):
        seconds = pause(context.redis, tenant, error.retry_after_seconds, reason)
    elif isinstance(error, Unauthorized):
        note_rejected_token(context.redis, tenant)
        seconds = pause(context.redis, tenant, UNAUTHORIZED_PAUSE_SECONDS, reason)
    elif error.retry_after_seconds is not None:
        seconds = pause(context.redis, tenant, error.retry_after_seconds, reason)
    else:
        first, longest = UNAVAILABLE_PAUSE_SECONDS, MAX_UNAVAILABLE_PAUSE_SECONDS
        only_path = error.path if is_of_one(error) else None
        seconds = fail(context.redis, tenant, first, longest, reason, only_path=only_path)
    logger.warning("tenant paused", tenant=tenant, seconds=seconds, error=reason)
    return seconds
