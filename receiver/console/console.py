"""What the pages of the console share: settings, users, connections to Postgres, and rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from jinja2 import Environment
from sqlalchemy import Connection, Engine
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from receiver.console.access.sign_in import SignIns
from receiver.console.access.users import User
from receiver.console.replays import Replays
from runtime.settings import Settings
from storage.clock import clock

_Result = TypeVar("_Result")

#: A page whose statement takes longer is not waited for, because it would burden the service.
STATEMENT_TIMEOUT = timedelta(seconds=2)

#: Connections that read for pages; the stream has one of its own.
POOL_SIZE = 4

#: Connections of actions: one for a replay, which may take long, and one for the others.
ACTING_POOL_SIZE = 2

#: The pages that the navigation offers: path and title.
NAVIGATION = (
    ("/", "Now"),
    ("/fleet", "Fleet"),
    ("/sessions", "Sessions"),
    ("/uptime", "Uptime"),
    ("/notifications", "Notifications"),
    ("/findings", "Findings"),
    ("/completeness", "Completeness"),
    ("/tenants", "Tenants"),
    ("/actions", "Actions"),
    ("/why", "Why"),
)


#: The page of the navigation to which a page about one thing belongs, by the part of its path after the tenant.
_SECTIONS = {
    "locations": "/fleet",
    "charge-points": "/fleet",
    "evses": "/fleet",
    "sessions": "/sessions",
    "uptime": "/uptime",
    "notifications": "/notifications",
    "replays": "/notifications",
    "why": "/why",
}


def section_of(path: str) -> str:
    """Return the page of the navigation to which a path belongs."""
    parts = path.split("/")
    if parts[1] == "tenants" and len(parts) > 3:
        return _SECTIONS.get(parts[3], "/tenants")
    return f"/{parts[1]}"


@dataclass(frozen=True, slots=True)
class Console:
    """The parts of a running console.

    Attributes:
        settings: the settings of the service.
        sign_ins: who is signed in.
        reading: the engine of the pages, which cannot write.
        acting: the engine of actions.
        templates: the templates.
        replays: the replays that operators started.
    """

    settings: Settings
    sign_ins: SignIns
    reading: Engine
    acting: Engine
    templates: Environment
    replays: Replays

    @classmethod
    def of(cls, request: Request) -> Console:
        """Return the console that answers a request."""
        console = request.app.state.console
        assert isinstance(console, Console)
        return console

    async def read(self, query: Callable[[Connection], _Result]) -> _Result:
        """Run a query in a transaction that cannot write, and in a thread, and return its result."""

        def run() -> _Result:
            with self.reading.begin() as connection:
                return query(connection)

        return await run_in_threadpool(run)

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """Render a page, or a part of one.

        Parameters:
            template: the name of its template.
            values: what the template shows.
        """
        return HTMLResponse(self.render(template, self._shared(request) | values), status)

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """Render a template with these values alone."""
        return self.templates.get_template(template).render(values)

    def _shared(self, request: Request) -> dict[str, Any]:
        user = request.scope.get("user")
        return {
            "navigation": NAVIGATION,
            "section": section_of(request.url.path),
            "user": user,
            "may_act": isinstance(user, User) and user.may_act,
            "sign_in_required": self.sign_ins.required,
            "tenants": sorted(self.settings.tenants),
            "as_of": clock.now(),
        }

    def tenant_of(self, request: Request) -> str:
        """Return the tenant that a request names in its path or query, by default the first one.

        Raises:
            HTTPException: 404, no such tenant is configured.
        """
        tenants = self.settings.tenants
        name = request.path_params.get("tenant") or request.query_params.get("tenant") or min(tenants)
        if name not in tenants:
            raise HTTPException(404, "No such tenant is configured.")
        return str(name)


def user_of(request: Request) -> User:
    """Return who sent a request."""
    user = request.scope["user"]
    assert isinstance(user, User), "only open paths are reached without a user"
    return user


def require_actor(request: Request) -> User:
    """Return who sent a request that changes something.

    Raises:
        HTTPException: 403, the person may look only.
    """
    user = user_of(request)
    if not user.may_act:
        raise HTTPException(403, f"{user.name} has the role look, and this needs the role act.")
    return user
