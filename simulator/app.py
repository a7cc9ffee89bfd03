"""The stand-in tenant as an ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from simulator import api
from simulator.control import Control
from simulator.delivery import Delivery
from simulator.fleet import Fleet
from simulator.guard import Guard
from simulator.problems import Problem, problem_response
from simulator.runner import Runner
from simulator.settings import Faults, TenantSettings
from simulator.subscriptions import Subscriptions


class Simulator:
    """A tenant, its API, its deliveries and the clock that drives them.

    Parameters:
        settings: seed, size and clock.
        token: the API access token that is accepted.
        speed: how many times as fast as the real clock the tenant's runs.
        faults: what goes wrong from the start.
        control_token: what ``/control`` asks for; None leaves it open.
    """

    def __init__(
        self,
        settings: TenantSettings,
        *,
        token: str,
        speed: float = 60,
        faults: Faults | None = None,
        control_token: str | None = None,
    ) -> None:
        self.fleet = Fleet(settings)
        self.subscriptions = Subscriptions(self.fleet)
        self.delivery = Delivery(
            self.subscriptions,
            tenant_id=settings.tenant_id,
            encoding=settings.signature_encoding,
            seed=settings.seed,
        )
        self.subscriptions.delivery = self.delivery
        self.delivery.faults = faults or Faults()
        self.runner = Runner(self.fleet, self.delivery, speed=speed)
        self.guard = Guard(
            self._starlette(),
            token=token,
            now=lambda: self.fleet.now,
            faults=lambda: self.delivery.faults,
            seed=settings.seed,
        )
        control = Control(self.fleet, self.runner, self.delivery, self.subscriptions, self.guard, control_token)
        self._inner.router.routes.extend(control.routes())

    def _starlette(self) -> Starlette:
        self._inner = Starlette(
            routes=[Route("/", _front_page), *api.routes(self.fleet), *self.subscriptions.routes()],
            exception_handlers={Problem: problem_response, HTTPException: _http_error},
            lifespan=self._lifespan,
        )
        return self._inner

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.runner.run()), asyncio.create_task(self.delivery.run())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": error.detail}, error.status_code)


async def _front_page(_request: Request) -> Response:
    return HTMLResponse(
        """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A stand-in AMPECO tenant</title>
<h1>A stand-in AMPECO tenant</h1>
<p>It answers as AMPECO's public API does and sends signed notifications to whoever subscribes.
It is not AMPECO; nothing here charges a vehicle.</p>
<ul>
<li><code>GET /public-api/resources/…</code>: sessions, charge points, EVSEs, locations,
authorizations, transactions and status logs</li>
<li><code>/public-api/notifications/v2.0</code>: subscriptions</li>
<li><code>GET <a href="/control/state">/control/state</a></code>: its clock, and what was delivered</li>
<li><code>GET <a href="/control/faults">/control/faults</a></code>, <code>PATCH</code>: what goes wrong</li>
<li><code>POST /control/pause</code>, <code>resume</code>, <code>rotate-token</code>, <code>emit</code></li>
</ul>
</html>
"""
    )
