"""Error answers of the API, in AMPECO's form."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulator.settings import NO_RECORD

_MESSAGES = {
    401: "Unauthenticated.",
    403: "This action is unauthorized.",
    404: NO_RECORD,
    409: "Conflict.",
    429: "Too many requests. Please try again later.",
    500: "Server Error",
}


class Problem(Exception):  # noqa: N818 - an answer, not a bug
    """An error answer of the API."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        errors: dict[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.message = message or _MESSAGES[status]
        self.errors = errors
        self.headers = headers
        super().__init__(self.message)


async def problem_response(_request: Request, problem: Exception) -> Response:
    """Return the response for a problem, in AMPECO's form."""
    assert isinstance(problem, Problem)
    body: dict[str, object] = {"message": problem.message}
    if problem.errors:
        body["errors"] = problem.errors
    return JSONResponse(body, problem.status, headers=dict(problem.headers or {}))
