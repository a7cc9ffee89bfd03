"""The endpoints that the receiver is compared with: ``python -m bench.subjects NAME``.

They are served exactly like the receiver.

- ``baseline`` reads the body, checks the signature and answers.
- ``one-insert`` checks the signature and inserts one row for each request, with a commit of its own,
  over a pool of connections.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ampeco.signature import Match, verify
from bench.signed import TENANT
from receiver.accept.acceptor import KEPT_HEADERS, SIGNATURE_HEADER
from receiver.accept.serve import serve
from runtime.settings import load_settings
from storage.database import connection_arguments
from storage.ids import uuid7
from storage.inbox.commit import Entry

#: The table of ``one-insert``: it has the columns and indexes of the log, but no partitions.
TABLE = "bench_notification"

#: Enough connections to keep Postgres busy from one process; more would only wait for each other.
POOL_SIZE = 10

_INSERT = f"""
INSERT INTO {TABLE} (
       tenant, received_at, notification_id, batch_id, notification_type, session_id, evse_id,
       charge_point_id, token_id, signature_encoding, headers, body)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %b)
"""


def baseline() -> Starlette:
    """Return the app that reads, verifies and answers."""
    match = _verifier()

    async def accept(request: Request) -> Response:
        matched = match(await request.body(), request.headers.get(SIGNATURE_HEADER))
        return _unauthorized() if matched is None else _accepted("nowhere")

    return Starlette(routes=[Route("/notifications/{tenant}", accept, methods=["POST"]), Route("/healthz", _alive)])


def one_insert() -> Starlette:
    """Return the app that reads, verifies, inserts one row and answers."""
    match = _verifier()
    pool = AsyncConnectionPool(
        min_size=POOL_SIZE,
        max_size=POOL_SIZE,
        kwargs=connection_arguments(load_settings().required_database_url(), "bench one-insert") | {"autocommit": True},
        open=False,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with pool:
            await pool.wait()
            yield

    async def accept(request: Request) -> Response:
        body = await request.body()
        matched = match(body, request.headers.get(SIGNATURE_HEADER))
        if matched is None:
            return _unauthorized()
        headers = {name: request.headers[key] for key, name in KEPT_HEADERS.items() if key in request.headers}
        entry = Entry(TENANT, body, headers, matched.token_id, matched.encoding)
        async with pool.connection() as connection:
            await connection.execute(_INSERT, _row(entry))
        return _accepted(str(entry.notification_id))

    return Starlette(
        routes=[Route("/notifications/{tenant}", accept, methods=["POST"]), Route("/healthz", _alive)],
        lifespan=lifespan,
    )


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.tenant,
        entry.received_at,
        entry.notification_id,
        uuid7(),
        entry.notification_type,
        entry.session_id,
        entry.evse_id,
        entry.charge_point_id,
        entry.token_id,
        entry.signature_encoding,
        orjson.dumps(entry.headers).decode(),
        entry.body,
    )


def _verifier() -> Callable[[bytes, str | None], Match | None]:
    tenant = load_settings().tenants[TENANT]
    return partial(verify, tokens=tenant.signing_keys(), encodings=tenant.encodings)


def _accepted(notification_id: str) -> Response:
    return Response(b'{"id":"%s"}' % notification_id.encode(), 202, media_type="application/json")


def _unauthorized() -> Response:
    return JSONResponse({"error": "unauthorized"}, 401)


async def _alive(_request: Request) -> Response:
    return Response()


def main(name: str) -> None:
    """Serve a subject by the receiver's ``serve``, so that uvicorn always has the same settings."""
    factory = {"baseline": "bench.subjects:baseline", "one-insert": "bench.subjects:one_insert"}[name]
    serve(load_settings(), factory=factory)


if __name__ == "__main__":
    main(sys.argv[1])
