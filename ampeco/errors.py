"""The errors of this package.

``AmpecoError`` is the root. Below it are the two reasons why a notification has no payload model,
and ``ApiError``, the root of the errors of the API client.
"""

# ruff: noqa: N818 - the names are those of HTTP's answers, and read well after `except`

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime


class AmpecoError(Exception):
    """The root of this package's errors."""


class UnknownNotification(AmpecoError):
    """A notification whose type the catalogue does not contain.

    AMPECO adds types without notice, so this is a reason to ignore the notification, never to
    refuse it.
    """

    def __init__(self, name: object) -> None:
        self.name = name
        shown = f"named {name[:100]!r}" if isinstance(name, str) else "without a name"
        super().__init__(f"a notification {shown} is not in the catalogue")


class NoHandler(AmpecoError):
    """A notification of a known type of which we keep no state."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no state is kept of {name}")


class ApiError(AmpecoError):
    """A call to AMPECO's API that failed.

    ``method`` and ``path`` name the call, without its query. ``status`` is the HTTP status, or None
    without an answer. The error contains neither the token nor a body.
    """

    def __init__(self, method: str, path: str, status: int | None, reason: str) -> None:
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason
        answered = "gave no answer" if status is None else f"answered {status}"
        super().__init__(f"{method} {path} {answered}: {reason}")


class Unauthorized(ApiError):
    """401: the token is wrong or revoked; only a new token helps, not another attempt."""


class Forbidden(ApiError):
    """403: the token has no permission for this; an AMPECO administrator has to grant it."""


class NotFound(ApiError):
    """404 or 410, in AMPECO's own JSON: the record does not exist, or no longer.

    ``tenant_time`` is the tenant's clock when the call began: the record was gone by then, or was
    removed during the call. ``is_certain`` is whether AMPECO says that no record was found. Otherwise
    the path itself may not exist; whether the kind's listing answers decides that.
    """

    def __init__(
        self,
        method: str,
        path: str,
        status: int | None,
        reason: str,
        tenant_time: datetime,
        *,
        is_certain: bool = True,
    ) -> None:
        self.tenant_time = tenant_time
        self.is_certain = is_certain
        super().__init__(method, path, status, reason)


class NotOffered(ApiError):
    """404 that concerns no record: the tenant lacks a feature, or AMPECO has no such path."""


class Conflict(ApiError):
    """409: the tenant's present state does not allow the call."""


class Invalid(ApiError):
    """400, 422 or another 4xx: the same request can never succeed.

    ``errors`` maps each refused field to AMPECO's sentences about it.
    """

    def __init__(
        self,
        method: str,
        path: str,
        status: int | None,
        reason: str,
        errors: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.errors = {field: tuple(sentences) for field, sentences in (errors or {}).items()}
        super().__init__(method, path, status, reason)


class RateLimited(ApiError):
    """429: the tenant accepts no further call for ``retry_after_seconds``."""

    def __init__(self, method: str, path: str, status: int | None, reason: str, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(method, path, status, reason)


class Unavailable(ApiError):
    """No usable answer: a 5xx, a timeout, a broken connection, a redirect, a success or a 404 that is not JSON.

    ``retry_after_seconds`` is the delay that the tenant requested, or None. A tenant under
    maintenance requests one.
    """

    def __init__(
        self,
        method: str,
        path: str,
        status: int | None,
        reason: str,
        retry_after_seconds: float | None = None,
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(method, path, status, reason)


class Malformed(ApiError):
    """A success whose JSON is not the requested resource.

    Another read gives the same, so a person has to look: AMPECO changed a shape that its
    compatibility policy says it does not change, or our model is wrong.
    """
