"""The page *Tenants*: subscription, tokens, traffic and API of each tenant, and what it sends that is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.admin.monitoring import watched
from receiver.console.console import Console
from runtime.errors import cause
from runtime.settings import Settings, SettingsError
from storage.reports.overview import overview
from storage.state.unknown_fields import list_unknown_names
from storage.sync.api_notices import deprecated_endpoints, releases
from storage.sync.api_usage import spent_today
from storage.sync.inaccessible_kinds import inaccessible_kinds
from workers.api.state import ApiState, read_api_state
from workers.broker import create_redis
from workers.monitoring.baseline import MIN_LEARNED_HOURS
from workers.sync.kinds_read import kinds_read


@dataclass(frozen=True, slots=True)
class Shared:
    """What the processes share in Redis about the tenants.

    Attributes:
        failure: why Redis does not answer; the state is then empty.
    """

    api: ApiState = field(default_factory=ApiState)
    failure: str | None = None


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    chosen = console.tenant_of(request) if request.query_params.get("tenant") else None
    tenants = {name: tenant for name, tenant in console.settings.tenants.items() if chosen in (None, name)}
    names = sorted(tenants)

    def query(connection: Connection) -> dict[str, Any]:
        return {
            "overviews": {each.tenant: each for each in overview(connection, names)},
            "watch": watched(connection, tenants),
            "usage": spent_today(connection, names),
            "inaccessible": inaccessible_kinds(connection, kinds_read(tenants)),
            "unknown": list_unknown_names(connection),
            "releases": {each.tenant: each for each in releases(connection)},
            "deprecated": deprecated_endpoints(connection),
        }

    values = await console.read(query)
    return console.page(
        request,
        "tenants.html",
        tenant=chosen,
        shown=[tenants[name] for name in names],
        shared=await run_in_threadpool(read_shared, console.settings, names),
        min_learned_hours=MIN_LEARNED_HOURS,
        **values,
    )


def read_shared(settings: Settings, tenants: Sequence[str]) -> Shared:
    """Return what Redis holds about tenants, or why it does not answer."""
    try:
        client = create_redis(settings.required_redis_url())
    except SettingsError as error:
        return Shared(failure=str(error))
    try:
        return Shared(read_api_state(client, tenants))
    except RedisError as error:
        return Shared(failure=cause(error))
    finally:
        client.close()


routes = [Route("/tenants", show)]
