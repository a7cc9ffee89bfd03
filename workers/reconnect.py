"""A Redis that answers, and refuses the work: its connection is given up as if it were lost.

At a failover the former primary becomes a replica. Its open connections stay, and answer every write with an
error for as long as they are kept. A new connection follows the address to the new primary.
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

#: Codes of answers that speak of the server, and not of what it was asked: it only reads, lost its replicas,
#: cannot save, is full, is busy, or does not let this client do anything.
_REFUSALS = "READONLY|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|UNBLOCKED|MISCONF|OOM|BUSY|NOPERM|DENIED"

#: Redis 6.2 puts the code of what a script ran into behind a text of its own.
_REFUSAL = re.compile(rf"(?:^|-)((?:{_REFUSALS}) .*)", re.DOTALL)


class RefusedError(RedisConnectionError):
    """Redis answers that it cannot do the work now; the message is what it said."""


class Reconnect(Retry):
    """Retries that give up the connection when Redis refuses the work, when it is lost, and when no answer comes.

    What fails still raises a ``redis.ConnectionError``. Dramatiq waits and tries again at that one error, while at
    any other its consumers log a traceback, and may end.
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
            RefusedError: Redis refused, the last time too.
            redis.ConnectionError: it cannot be reached, or did not answer in time.
        """

        def attempt() -> _Answer:
            try:
                return do()
            except ResponseError as error:
                if (refusal := _refusal(error)) is None:
                    raise
                raise RefusedError(refusal) from error

        def failed(error: Exception, *count: int) -> None:
            try:
                fail(error, *count)
            except WatchError:
                # The caller that watches a key begins again at a WatchError, at once and without an end.
                raise error from None

        try:
            return super().call_with_retry(attempt, failed, is_retryable, with_failure_count)
        except RedisTimeoutError as error:
            raise RedisConnectionError(str(error)) from error


def _refusal(error: ResponseError) -> str | None:
    """Return what Redis said where it refused the work; None where the command itself was wrong."""
    # redis-py takes the code off the message of answers that it has a class for.
    found = _REFUSAL.search(f"{error.status_code} {error}" if error.status_code else str(error))
    return None if found is None else found[1]
