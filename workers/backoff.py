"""Backing off from a tenant, or from one of its kinds, after what its API answered."""

from __future__ import annotations

from http import HTTPStatus

from ampeco.errors import ApiError, Forbidden, RateLimited, Unauthorized, Unavailable
from storage import forbidden_kinds
from workers.context import Context
from workers.logs import get_logger
from workers.metrics import API_READS
from workers.pause import fail, pause

logger = get_logger(__name__)

#: A tenant that gave no usable answer is left alone for this long, doubled with each failure.
UNAVAILABLE_PAUSE_SECONDS = 10.0
MAX_UNAVAILABLE_PAUSE_SECONDS = 300.0

#: A refused token needs a person; asking once a minute notices when it has been mended.
UNAUTHORIZED_PAUSE_SECONDS = 60.0


def is_of_one(error: ApiError) -> bool:
    """Whether a failure may be about what was asked for alone: AMPECO's own code failed, and not its servers."""
    return isinstance(error, Unavailable) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR


def note_forbidden(context: Context, tenant: str, kind: str, error: Forbidden) -> None:
    """Tell people once of a kind that the token may not read, and leave it for an hour."""
    API_READS.labels(tenant, "forbidden").inc()
    with context.engine.begin() as connection:
        is_new = forbidden_kinds.record_forbidden(connection, tenant, kind, str(error))
    if is_new:
        logger.warning("the token may not read this kind", tenant=tenant, kind=kind, error=str(error))


def pause_tenant(context: Context, tenant: str, error: RateLimited | Unauthorized | Unavailable) -> float:
    """Pause a tenant for every process after an answer that speaks for the whole of it; returns the seconds."""
    API_READS.labels(tenant, type(error).__name__.lower()).inc()
    told = str(error)
    if isinstance(error, RateLimited):
        seconds = pause(context.redis, tenant, error.retry_after_seconds, told)
    elif isinstance(error, Unauthorized):
        seconds = pause(context.redis, tenant, UNAUTHORIZED_PAUSE_SECONDS, told)
    elif error.retry_after_seconds is not None:
        seconds = pause(context.redis, tenant, error.retry_after_seconds, told)
    else:
        first, longest = UNAVAILABLE_PAUSE_SECONDS, MAX_UNAVAILABLE_PAUSE_SECONDS
        only_path = error.path if is_of_one(error) else None
        seconds = fail(context.redis, tenant, first, longest, told, only_path=only_path)
    logger.warning("tenant paused", tenant=tenant, seconds=seconds, error=told)
    return seconds
