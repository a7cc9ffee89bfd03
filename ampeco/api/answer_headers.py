"""What the headers of an answer say about the tenant and the called endpoint, beside the resource in its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_COUNT = re.compile(r"[0-9]{1,12}")
_VERSION = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True, slots=True)
class AnswerHeaders:
    """The headers of one answer (AMPECO API, rate limits and deprecations).

    Attributes:
        endpoint: the called resource with its version, such as ``users/v1.1``.
        is_success: whether the status is 2xx; AMPECO counts only these calls against its limits.
        app_version: the release of AMPECO that the tenant runs; None if the answer does not say.
        is_deprecated: whether AMPECO will remove the endpoint.
        sunset_at: when it will be removed; None if the answer does not say.
        limit: calls that the tenant allows in its window; None if the answer does not say.
        remaining: calls that are left in the window; None if the answer does not say.
    """

    endpoint: str
    is_success: bool
    app_version: str | None = None
    is_deprecated: bool = False
    sunset_at: datetime | None = None
    limit: int | None = None
    remaining: int | None = None


def read_headers(path: str, *, is_success: bool, headers: Mapping[str, str]) -> AnswerHeaders:
    """Read the headers of an answer; those that cannot be read count as absent.

    Parameters:
        path: of the call, without its query.
        headers: of the answer; names are compared in any case.
    """
    version = headers.get("X-App-Version", "").strip()
    deprecation = headers.get("Deprecation", "").strip().lower()
    return AnswerHeaders(
        endpoint=endpoint_of(path),
        is_success=is_success,
        app_version=version if _VERSION.fullmatch(version) else None,
        is_deprecated=deprecation not in ("", "false", "?0"),
        sunset_at=http_date(headers.get("Sunset")),
        limit=_count(headers.get("X-RateLimit-Limit")),
        remaining=_count(headers.get("X-RateLimit-Remaining")),
    )


def endpoint_of(path: str) -> str:
    """Return the resource in a path with its version: ``users/v1.1`` of ``/public-api/resources/users/v1.1/7``."""
    _, _, below = path.partition("/public-api/")
    parts = below.split("/")
    return "/".join(parts[1:3] if parts[0] in ("resources", "actions") else parts[:2])


def http_date(value: str | None) -> datetime | None:
    """Parse an HTTP date; None if there is none, or none that we can calculate with."""
    try:
        date = parsedate_to_datetime(value or "")
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        # Raises if there is no room to add or subtract a delay or the duration of a request.
        _ = date - timedelta(days=1), date + timedelta(days=1)
    except (ValueError, TypeError, OverflowError):
        return None
    return date


def _count(value: str | None) -> int | None:
    text = (value or "").strip()
    return int(text) if _COUNT.fullmatch(text) else None
