"""Reconnect if Redis answers but refuses the work, as if the connection were lost.

At a failover the former primary becomes a replica. Its connections stay open, and every write over them gets an error
for as long as they are kept. A new connection follows the address to the new primary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

_Answer = TypeVar("_Answer")

#: Error codes that concern the server and not the command: it is read-only, lost its replicas, cannot save, is full, is
#: busy, or denies this client everything.
_REFUSALS = "READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|UNBLOCKED|MISCONF|OOM|BUSY|NOPERM|DENIED"

#: Redis 6.2 puts a text of its own in front of the error code of a script.
_REFUSAL = re.compile(rf"(?:^|-)((?:{_REFUSALS}) .*)", re.DOTALL)


class RefusedError(RedisConnectionError):
    """Redis answers that it cannot do the work now; the message is its answer."""


class NoAnswerError(RedisConnectionError):
    """Redis did not answer within the timeout of the client."""


class Reconnect(Retry):
    """Retries over a new connection if Redis refuses the work, or if the connection is lost.

    A server that does not answer in time is not asked again. The library retries each command, within it each
    connection and within that each check of a connection's health, so the caller would wait for several timeouts.

    What it raises is a ``redis.ConnectionError``. Dramatiq waits and retries after that error only; after any other
    error its consumers log a traceback, and may end.
    """

    def call_with_retry(
        self,
        do: Callable[[], _Answer],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _Answer:
        """Call ``do`` until it succeeds or the retries are used up, and ``fail`` after each failure.

        Raises:
            RefusedError: Redis refused the last attempt, too.
            NoAnswerError: Redis did not answer in time.
            redis.ConnectionError: Redis cannot be reached.
        """

        def attempt() -> _Answer:
            try:
                return do()
            except RedisTimeoutError as error:
                raise NoAnswerError(str(error)) from error
            except ResponseError as error:
                if (refusal := _refusal(error)) is None:
                    raise
                raise RefusedError(refusal) from error

        def failed(error: Exception, *count: int) -> None:
            try:
                fail(error, *count)
            except WatchError:
                # A caller that watches a key would retry after a WatchError at once and forever.
                raise error from None

        def can_retry(error: Exception) -> bool:
            return not isinstance(error, NoAnswerError) and (is_retryable is None or is_retryable(error))

        try:
            return super().call_with_retry(attempt, failed, can_retry, with_failure_count)
        except NoAnswerError as error:
            failed(error, *([1] if with_failure_count else []))  # which closes the connection
            raise


def _refusal(error: ResponseError) -> str | None:
    """Return the answer of Redis if it refused the work; None if the command itself was wrong."""
    # redis-py removes the code from the message of errors that it has a class for.
    match = _REFUSAL.search(f"{error.status_code} {error}" if error.status_code else str(error))
    return None if match is None else match[1]
