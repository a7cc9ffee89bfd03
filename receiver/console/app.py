"""The ASGI app of the console."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.resources import files

from psycopg.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from receiver.accept.paths import ignore_trailing_slash
from receiver.console.access.middleware import Access, SecurityHeaders
from receiver.console.access.sign_in import SignIns
from receiver.console.access.users import load_users
from receiver.console.console import ACTING_POOL_SIZE, POOL_SIZE, STATEMENT_TIMEOUT, Console
from receiver.console.live.poller import Poller
from receiver.console.live.stream import Streams
from receiver.console.live.topics import topics
from receiver.console.pages import (
    actions,
    completeness,
    exclusions,
    findings,
    fleet,
    notification,
    notifications,
    now,
    places,
    replay,
    session,
    sessions,
    sign_in,
    tenants,
    uptime,
    uptime_evidence,
    why,
)
from receiver.console.rendering import create_environment
from receiver.console.replays import Replays
from runtime.errors import cause
from runtime.settings import Settings
from storage.database import create_database_engine, create_reading_engine

#: Assets change with the release alone, and pages ask for them by its version.
_CACHE_SECONDS = 86_400


class Assets(StaticFiles):
    """The stylesheet, scripts and pictures of the console, which browsers may keep for a day."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        """Answer with a file."""
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type] # passed on as they are
        response.headers["Cache-Control"] = f"max-age={_CACHE_SECONDS}"
        return response


def create_console_app(settings: Settings) -> ASGIApp:
    """Create the app of the console.

    Raises:
        TenantsError: the users of the console are configured wrongly.
    """
    url = settings.required_database_url()
    acting = create_database_engine(url, application_name="ampeco-receiver console", pool_size=ACTING_POOL_SIZE)
    console = Console(
        settings,
        SignIns(load_users(settings.tenants_file)),
        reading=create_reading_engine(
            url,
            application_name="ampeco-receiver console",
            pool_size=POOL_SIZE,
            statement_timeout=STATEMENT_TIMEOUT,
        ),
        acting=acting,
        templates=create_environment(),
        replays=Replays(acting),
    )
    poller = Poller(console, topics(console))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        poller.start()
        yield
        await poller.stop()
        await run_in_threadpool(console.replays.stop)
        console.reading.dispose()
        console.acting.dispose()

    app = Starlette(
        routes=[
            *sign_in.routes,
            *now.routes,
            *fleet.routes,
            *places.routes,
            *sessions.routes,
            *session.routes,
            *why.routes,
            *notifications.routes,
            *notification.routes,
            *replay.routes,
            *tenants.routes,
            *actions.routes,
            *uptime.routes,
            *uptime_evidence.routes,
            *exclusions.routes,
            *findings.routes,
            *completeness.routes,
            *Streams(poller).routes,
            Route("/healthz", _alive),
            Mount("/static", Assets(directory=str(files("receiver.console") / "static"))),
        ],
        middleware=[Middleware(SecurityHeaders), Middleware(Access, sign_ins=console.sign_ins)],
        exception_handlers={HTTPException: _refused, SQLAlchemyError: _unreadable},  # type: ignore[dict-item] # each takes its own error
        lifespan=lifespan,
    )
    app.state.console = console
    return ignore_trailing_slash(app)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("alive")


async def _refused(request: Request, error: HTTPException) -> Response:
    title = {403: "Not allowed", 404: "Not found"}.get(error.status_code, "Not possible")
    console = Console.of(request)
    return console.page(request, "problem.html", status=error.status_code, title=title, message=error.detail)


async def _unreadable(request: Request, error: SQLAlchemyError) -> Response:
    """Answer with the reason why Postgres could not be read."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, QueryCanceled):
        title, status = "This takes too long", 503
        message = (
            f"Postgres needed more than {STATEMENT_TIMEOUT.total_seconds():g} s, so the question was withdrawn: narrow"
            " the time or the filter."
        )
    else:
        title, status, message = "Postgres does not answer", 503, f"{cause(error)} (DATABASE_URL)"
    return Console.of(request).page(request, "problem.html", status=status, title=title, message=message)
