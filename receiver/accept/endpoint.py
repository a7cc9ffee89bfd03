"""The endpoint ``POST /notifications/{tenant}``, which AMPECO calls.

It is a plain ASGI app, because every microsecond counts on this path.
"""

from __future__ import annotations

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from receiver.accept.acceptor import KEPT_HEADERS, SIGNATURE_HEADER, Acceptor, UnverifiedError
from receiver.accept.bodies import Bodies, ClientLeftError, TooLongError, TooManyError
from receiver.accept.committer import NotCommittedError, OverloadedError
from receiver.accept.metrics import ACCEPTED, REFUSED, RefusalReason
from runtime.logging import get_logger

logger = get_logger(__name__)

#: Seconds after which a sender may send again what could not be committed.
RETRY_AFTER_SECONDS = 5

_OVERLOADED = "Too many notifications wait; send it again."

_READ_HEADERS = {name.encode(): name for name in (*KEPT_HEADERS, SIGNATURE_HEADER)}


class Notifications:
    """The HTTP part of the accept path: read the body within its limits, accept it, answer.

    The answers are 202 with the id of the row in the log; 401 with the same body for everything that does not verify;
    413 for a body that is too long; 503 with ``Retry-After`` for a failure of the receiver.
    """

    def __init__(self, acceptor: Acceptor, bodies: Bodies) -> None:
        self._acceptor = acceptor
        self._bodies = bodies
        self._limit = bodies.max_bytes
        self._accepted: dict[str, Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._acceptor.is_full:
            # Before the body is read and verified, so that refusing takes little time from accepting.
            await self._refuse(send, "overloaded", 503, _OVERLOADED)
            return
        tenant: str = scope["path_params"]["tenant"]
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            if name in _READ_HEADERS:
                headers[_READ_HEADERS[name]] = value.decode("latin-1")
            elif name == b"content-length" and _declares_more(value, self._limit):
                await self._refuse(send, "too_large", 413, f"The body is longer than {self._limit} bytes.")
                return
        try:
            body = await self._bodies.read(receive)
            notification_id = await self._acceptor.accept(tenant, headers, body)
        except ClientLeftError:
            return
        except TooLongError:
            await self._refuse(send, "too_large", 413, f"The body is longer than {self._limit} bytes.")
        except TooManyError:
            await self._refuse(send, "overloaded", 503, "Too many long bodies are being read; send it again.")
        except UnverifiedError:
            await self._refuse(send, "unauthorized", 401, "The signature does not verify.")
        except OverloadedError:
            await self._refuse(send, "overloaded", 503, _OVERLOADED)
        except NotCommittedError:
            await self._refuse(send, "unavailable", 503, "The notification was not stored in time; send it again.")
        except Exception:  # our failure is never the sender's fault, so it should send again
            logger.exception("accepting failed", tenant=tenant)
            await self._refuse(send, "unavailable", 503, "The receiver failed; send the notification again.")
        else:
            self._count(tenant)
            await _send(send, 202, b'{"id":"%s"}' % str(notification_id).encode())

    def _count(self, tenant: str) -> None:
        if tenant not in self._accepted:  # kept, because looking a label up costs more than counting
            self._accepted[tenant] = ACCEPTED.labels(tenant)
        self._accepted[tenant].inc()

    async def _refuse(self, send: Send, code: RefusalReason, status: int, message: str) -> None:
        REFUSED.labels(code).inc()
        logger.debug("refused", code=code, status=status)
        extra: list[tuple[bytes, bytes]] = []
        if status == 503:
            extra = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
        elif status == 413:
            # The rest of the body is not read, so the connection cannot be used any more.
            extra = [(b"connection", b"close")]
        await _send(send, status, b'{"error":"%s","message":"%s"}' % (code.encode(), message.encode()), extra)


def _declares_more(content_length: bytes, limit: int) -> bool:
    return content_length.isdigit() and int(content_length) > limit


async def _send(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers + (extra or [])})
    await send({"type": "http.response.body", "body": body})
