"""``POST /notifications/{tenant}``: the endpoint that AMPECO calls.

It is a plain ASGI app, because it is the one path on which every microsecond counts.
"""

from __future__ import annotations

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from receiver.accept import KEPT_HEADERS, SIGNATURE_HEADER, Acceptor, UnverifiedError
from receiver.bodies import Bodies, ClientLeftError, TooLongError, TooManyError
from receiver.committer import NotCommittedError, OverloadedError
from receiver.metrics import ACCEPTED, REFUSED
from workers.logs import get_logger

logger = get_logger(__name__)

#: Seconds after which a sender may repeat what we could not commit.
RETRY_AFTER_SECONDS = 5

_OVERLOADED = "Too many notifications wait; send it again."

_READ_HEADERS = {name.encode(): name for name in (*KEPT_HEADERS, SIGNATURE_HEADER)}


class Notifications:
    """The accept path's HTTP side: read a bounded body, accept it, answer.

    Answers 202 with the id of the log row; 401 with one body for whatever does not
    verify; 413 for too long a body; 503 with ``Retry-After`` for a failure of ours.
    """

    def __init__(self, acceptor: Acceptor, bodies: Bodies) -> None:
        self._acceptor = acceptor
        self._bodies = bodies
        self._limit = bodies.max_bytes
        self._accepted: dict[str, Counter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._acceptor.is_full:
            # Before anything is read or verified, so that refusing costs what is accepted little.
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
            await self._refuse(send, "unavailable", 503, "It could not be stored in time; send it again.")
        except Exception:  # a failure of ours is never the sender's fault: it should send again
            logger.exception("accepting failed", tenant=tenant)
            await self._refuse(send, "unavailable", 503, "Something failed here; send it again.")
        else:
            self._count(tenant)
            await _send(send, 202, b'{"id":"%s"}' % str(notification_id).encode())

    def _count(self, tenant: str) -> None:
        if tenant not in self._accepted:  # looking a label up costs more than counting
            self._accepted[tenant] = ACCEPTED.labels(tenant)
        self._accepted[tenant].inc()

    async def _refuse(self, send: Send, code: str, status: int, message: str) -> None:
        REFUSED.labels(code).inc()
        logger.debug("refused", code=code, status=status)
        extra: list[tuple[bytes, bytes]] = []
        if status == 503:
            extra = [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
        elif status == 413:
            # What is left of the body is not read, so the connection is of no more use.
            extra = [(b"connection", b"close")]
        await _send(send, status, b'{"error":"%s","message":"%s"}' % (code.encode(), message.encode()), extra)


def _declares_more(content_length: bytes, limit: int) -> bool:
    return content_length.isdigit() and int(content_length) > limit


async def _send(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers + (extra or [])})
    await send({"type": "http.response.body", "body": body})
