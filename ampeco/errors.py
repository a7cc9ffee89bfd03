"""Everything that can go wrong at the edge to AMPECO.

``AmpecoError`` is the root. Below it stand the two reasons for which a notification has
no payload model, and ``ApiError``, the tree of answers that the API client gives.
"""

# ruff: noqa: N818 - each name is the answer itself, as HTTP calls it, and reads so after `except`

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime


class AmpecoError(Exception):
    """The root of this package's errors."""


class UnknownNotification(AmpecoError):
    """A notification whose name the catalogue does not hold.

    AMPECO adds names without notice, so this is a reason to keep the notification
    aside, never to refuse it.
    """

    def __init__(self, name: object) -> None:
        self.name = name
        shown = f"named {name[:100]!r}" if isinstance(name, str) else "without a name"
        super().__init__(f"a notification {shown} is not in the catalogue")


class NoHandler(AmpecoError):
    """A notification whose name is known and of which we keep no state."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no state is kept of {name}")


class ApiError(AmpecoError):
    """A call to AMPECO's API that did not end in the wanted answer.

    ``method`` and ``path`` name the call, without its query. ``status`` is the HTTP
    status, or None where no answer came. Neither the token nor a body is ever part of
    it.
    """

    def __init__(self, method: str, path: str, status: int | None, reason: str) -> None:
        self.method = method
        self.path = path
        self.status = status
        self.reason = reason
        answered = "gave no answer" if status is None else f"answered {status}"
        super().__init__(f"{method} {path} {answered}: {reason}")


class Unauthorized(ApiError):
    """401: the token is wrong or revoked. Asking again does not help, a new token does."""


class Forbidden(ApiError):
    """403: the token's owner may not see this. An AMPECO administrator has to grant it."""


class NotFound(ApiError):
    """404 or 410, in AMPECO's own JSON: there is no such record, or there is none any more.

    ``tenant_time`` is the tenant's clock when the call began: the record was gone by then,
    or went since.
    """

    def __init__(self, method: str, path: str, status: int | None, reason: str, tenant_time: datetime) -> None:
        self.tenant_time = tenant_time
        super().__init__(method, path, status, reason)


class Conflict(ApiError):
    """409: the tenant's present state does not allow the call."""


class Invalid(ApiError):
    """400, 422 or another 4xx: this request can never succeed as it stands.

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
    """429: the tenant wants no further call for ``retry_after_seconds``."""

    def __init__(self, method: str, path: str, status: int | None, reason: str, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(method, path, status, reason)


class Unavailable(ApiError):
    """No usable answer: a 5xx, a timeout, a broken connection, a redirect, a success or a 404 that is not JSON.

    ``retry_after_seconds`` holds the delay that the tenant asked for, where it asked
    for one, as a tenant under maintenance does.
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
    """A success whose JSON is not the resource that was asked for.

    Reading it again gives the same, so it wants a person: AMPECO changed a shape that
    its compatibility policy says it does not change, or we misread it.
    """
