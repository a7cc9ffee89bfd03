"""One HTTP exchange with AMPECO: the token, the meaning of the answer, the tenant's clock.

``Transport.exchange`` sends one request and either returns the JSON of a success, or raises the
``ApiError`` that the answer stands for (AMPECO API, errors and rate limits). It never retries:
``ampeco.api.client`` decides which calls may be retried.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
from pydantic import SecretStr

from ampeco import errors
from ampeco.api.answer_headers import AnswerHeaders, http_date, read_headers
from ampeco.api.clock import TenantClock
from ampeco.json_text import read_json
from ampeco.privacy.redaction import redact

Query = Sequence[tuple[str, str]]

#: Takes what a call failed with, None after a success, and how long it took until its whole answer was read, seconds.
AfterCall = Callable[[type[errors.ApiError] | None, float], None]

#: The delay after a 429 that requests none: half of the minute for which AMPECO limits bursts.
DEFAULT_RETRY_AFTER_SECONDS = 30.0

#: The longest delay that is accepted, so that a wrong header cannot stop all calls to a tenant forever: a day, because
#: AMPECO limits the calls of a day.
MAX_RETRY_AFTER_SECONDS = 86_400.0

#: The shortest delay: HTTP's times have no fractions of a second, so a nearer one may already have passed.
MIN_RETRY_AFTER_SECONDS = 1.0

#: The longest answer that is read, after decompression. A page of a hundred full resources has about 1 MB.
MAX_ANSWER_BYTES = 32 * 1024 * 1024

#: An answer may take this many timeouts in total, because each of its parts may take one.
PATIENCE = 3

#: A ``Date`` further from our time is not taken for the tenant's clock.
MAX_CLOCK_DIFFERENCE = timedelta(days=36_500)

#: The number of characters of AMPECO's own message in an error.
_MAX_REASON = 200

#: A larger number in a header is a Unix time, a smaller one is a delay in seconds.
_OLDEST_EPOCH = 1_000_000_000

#: The messages of a 404 by which AMPECO says that no record was found, and those by which it says that the tenant lacks
#: a feature or that there is no such path.
_NO_RECORD = re.compile(r"no query results for|\brecord (is |was )?not found|\brecord does not exist", re.IGNORECASE)
_NOT_OFFERED = re.compile(r"\bfeature\b|\broute\b.*could not be found", re.IGNORECASE)

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_HEADER_TOKEN = re.compile(r"[\x21-\x7e]+")


class _TooLongError(Exception):
    """An answer exceeds ``MAX_ANSWER_BYTES``."""


class _PackedTwiceError(Exception):
    """An answer is compressed more than once: a few bytes could expand to gigabytes before they are counted."""


class _TooSlowError(Exception):
    """An answer takes longer than ``PATIENCE`` timeouts."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A successful call: its method and path, its status and its JSON (None without a body).

    ``tenant_time`` is the tenant's clock when the request began, in UTC; see ``ampeco.api.clock``.
    """

    method: str
    path: str
    status: int
    body: Any
    tenant_time: datetime

    @property
    def call(self) -> tuple[str, str, int]:
        """The first arguments of an ``ApiError`` about this exchange."""
        return self.method, self.path, self.status


@cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context of the process, loaded once: to load it for each tenant would take longer than a call."""
    return httpx.create_ssl_context()


class Transport:
    """The authenticated connection to one tenant; safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        token: SecretStr,
        *,
        timeout_seconds: float,
        before_call: Callable[[], None] | None,
        on_answer: Callable[[AnswerHeaders], None] | None = None,
        after_call: AfterCall | None = None,
        now: Callable[[], datetime],
        transport: httpx.BaseTransport | None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        address = httpx.URL(self.base_url)
        if address.scheme not in {"http", "https"} or not address.host or address.userinfo:
            raise ValueError("a tenant's base URL is https:// (or http://) and a host, without a user")
        # Checked here because the HTTP library's error about an invalid header would quote the token.
        if not _HEADER_TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("an API token is one word of printable ASCII: look for a space or a line end in it")
        self._token = token
        self._before_call = before_call
        self._on_answer = on_answer
        self._after_call = after_call
        self._patience_seconds = timeout_seconds * PATIENCE
        self.clock = TenantClock()
        self._now = now
        self._http = httpx.Client(
            timeout=timeout_seconds,
            transport=transport,
            verify=tls_context(),
            # A redirect could lead the token to another host.
            follow_redirects=False,
            headers={"Accept": "application/json", "Authorization": f"Bearer {token.get_secret_value()}"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def exchange(self, method: str, path: str, query: Query = (), body: Mapping[str, Any] | None = None) -> Exchange:
        """Send one request and return the successful exchange.

        Parameters:
            path: below the base URL, starting with a slash.

        Raises:
            ApiError: there was no answer, or it is not a success with JSON.
        """
        if self._before_call is not None:
            self._before_call()
        began = time.monotonic()
        try:
            exchange = self._exchange(method, path, query, body)
        except errors.ApiError as error:
            self._note_call(type(error), began)
            raise
        self._note_call(None, began)
        return exchange

    def _note_call(self, failure: type[errors.ApiError] | None, began: float) -> None:
        if self._after_call is not None:
            self._after_call(failure, time.monotonic() - began)

    def _exchange(self, method: str, path: str, query: Query, body: Mapping[str, Any] | None) -> Exchange:
        began_at = self._now()
        try:
            with self._http.stream(method, self.base_url + path, params=list(query), json=body) as response:
                content = self._content(response)
        except httpx.RequestError as error:
            failure = self._safe(f"{type(error).__name__}: {error}")
        except _TooLongError:
            reason = f"an answer of more than {MAX_ANSWER_BYTES // 1024**2} MiB"
            raise errors.Malformed(method, path, response.status_code, reason) from None
        except _PackedTwiceError:
            raise errors.Malformed(method, path, response.status_code, "an answer compressed more than once") from None
        except _TooSlowError:
            failure = f"no complete answer within {self._patience_seconds:.0f} s"
        else:
            date = http_date(response.headers.get("Date"))
            if date is not None and abs(date - began_at) < MAX_CLOCK_DIFFERENCE:
                self.clock.observe(date, began_at, self._now())
            tenant_time = self.clock.at(began_at)
            if self._on_answer is not None:
                self._on_answer(read_headers(path, is_success=response.is_success, headers=response.headers))
            if not response.is_success:
                raise self._error(method, path, response, content, tenant_time)
            document = self._json(method, path, response, content)
            return Exchange(method, path, response.status_code, document, tenant_time)
        # Raised outside the except blocks: a cause or context would contain the request, and with it the token.
        raise errors.Unavailable(method, path, None, failure)

    def _content(self, response: httpx.Response) -> bytes:
        """Return the full, decompressed body.

        httpx limits each wait for a part of it. This limits their sum, and the length of the body.
        """
        deadline = time.monotonic() + self._patience_seconds
        if len(response.headers.get_list("Content-Encoding", split_commas=True)) > 1:
            raise _PackedTwiceError
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise _TooLongError
            if time.monotonic() > deadline:
                raise _TooSlowError
        return b"".join(parts)

    def _json(self, method: str, path: str, response: httpx.Response, content: bytes) -> Any:
        if not content:
            return None
        try:
            return read_json(content)
        except orjson.JSONDecodeError:
            pass
        call = method, path, response.status_code
        if "json" in response.headers.get("Content-Type", "").lower():
            # It is from AMPECO and concerns this resource alone: answers to other calls may be valid.
            raise errors.Malformed(*call, "a success whose body should be JSON, and is not")
        raise errors.Unavailable(*call, "a success whose body is not JSON, such as a proxy's page")

    def _error(
        self, method: str, path: str, response: httpx.Response, content: bytes, tenant_time: datetime
    ) -> errors.ApiError:
        status = response.status_code
        body = _json_object(content)
        call = (method, path, status, self._message(body) or response.reason_phrase or "no reason given")
        match status:
            case 401:
                return errors.Unauthorized(*call)
            case 403:
                return errors.Forbidden(*call)
            case 404 | 410 if body is None:
                # AMPECO's own answer is JSON. A parked domain or a proxy must not make all entities look deleted.
                reason = "not AMPECO's own answer, but one from a proxy or a wrong base URL"
                return errors.Unavailable(method, path, status, reason)
            case 404 | 410 if _NOT_OFFERED.search(call[3]):
                return errors.NotOffered(*call)
            case 404 | 410:
                is_certain = status == 410 or _NO_RECORD.search(call[3]) is not None
                return errors.NotFound(*call, tenant_time, is_certain=is_certain)
            case 409:
                return errors.Conflict(*call)
            case 429:
                delay = retry_after_seconds(response, self._now)
                return errors.RateLimited(*call, DEFAULT_RETRY_AFTER_SECONDS if delay is None else delay)
            case 408:
                return errors.Unavailable(*call)
            case _ if 400 <= status < 500:
                return errors.Invalid(*call, self._field_errors(body))
            case _ if 300 <= status < 400:
                return errors.Unavailable(method, path, status, "a redirect, not followed: check the base URL")
            case _:
                return errors.Unavailable(*call, retry_after_seconds(response, self._now) if status == 503 else None)

    def _message(self, body: dict[str, Any] | None) -> str | None:
        message = (body or {}).get("message")
        return self._safe(message) if isinstance(message, str) else None

    def _field_errors(self, body: dict[str, Any] | None) -> dict[str, list[str]]:
        by_field = (body or {}).get("errors")
        return {
            self._safe(field): [self._safe(str(text)) for text in (texts if isinstance(texts, list) else [texts])]
            for field, texts in (by_field if isinstance(by_field, dict) else {}).items()
        }

    def _safe(self, text: str) -> str:
        """Shorten a text from outside, and remove the token from it in case the tenant echoed it."""
        return text.replace(self._token.get_secret_value(), "[token]")[:_MAX_REASON]


def _json_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an error answer, without secrets; None if it has none, such as a proxy's page."""
    try:
        body = orjson.loads(content)
        return redact(body) if isinstance(body, dict) else None
    except ValueError:
        return None


def retry_after_seconds(response: httpx.Response, clock: Callable[[], datetime]) -> float | None:
    """Return the delay that an answer requests, in seconds within our limits, or None."""
    now = http_date(response.headers.get("Date")) or clock()
    retry_after = response.headers.get("Retry-After", "").strip()
    reset = response.headers.get("X-RateLimit-Reset", "").strip()
    seconds: float
    if _SECONDS.fullmatch(retry_after):
        seconds = float(retry_after)
    elif (date := http_date(retry_after)) is not None:
        seconds = (date - now).total_seconds()
    elif _SECONDS.fullmatch(reset):
        seconds = float(reset) - (now.timestamp() if float(reset) >= _OLDEST_EPOCH else 0)
    else:
        return None
    return min(max(seconds, MIN_RETRY_AFTER_SECONDS), MAX_RETRY_AFTER_SECONDS)
