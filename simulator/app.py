"""The simulator as an ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.api import routes as api
from simulator.api.control import Control
from simulator.api.front_page import front_page
from simulator.api.middleware import Guard
from simulator.api.problems import Problem, problem_response
from simulator.api.responses import json_response
from simulator.api.subscriptions import SubscriptionApi
from simulator.delivery.delivery import FIRST_RETRY_SECONDS, MAX_TRIES, MAX_WAITING, Delivery
from simulator.delivery.faults import FaultInjector
from simulator.delivery.subscribers import Subscribers
from simulator.fleet.fleet import Fleet
from simulator.runner import Runner
from simulator.settings import NO_RECORD, Faults, TenantSettings

#: Real seconds for the last deliveries when the simulator stops.
LEAVE_SECONDS = 1.0


class Simulator:
    """A tenant, its API, its deliveries and the clock that drives them.

    ``guard`` is the ASGI app.

    Parameters:
        settings: seed, size and clock.
        token: the API access token that is accepted.
        speed: how many times as fast as the real clock the tenant's clock runs.
        faults: the fault profile at the start.
        control_token: the token that ``/control`` requires; None leaves it open.
        max_tries, first_retry_seconds, max_waiting: see ``simulator.delivery.delivery``.
        when_broken: called if a bug of ours ends the clock or the deliveries.
    """

    def __init__(
        self,
        settings: TenantSettings,
        *,
        token: str,
        speed: float = 60,
        faults: Faults | None = None,
        control_token: str | None = None,
        max_tries: int = MAX_TRIES,
        first_retry_seconds: float = FIRST_RETRY_SECONDS,
        max_waiting: int = MAX_WAITING,
        when_broken: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.fleet = Fleet(settings)
        self.subscribers = Subscribers()
        # The fleet, the fault injector and the guard have random generators of their own, one seed
        # apart, so that none changes the others' values.
        self.fault_injector = FaultInjector(settings.seed + 1)
        self.fault_injector.faults = faults or Faults()
        self.delivery = Delivery(
            self.subscribers,
            self.fault_injector,
            tenant_id=settings.tenant_id,
            encoding=settings.signature_encoding,
            max_tries=max_tries,
            first_retry_seconds=first_retry_seconds,
            max_waiting=max_waiting,
        )
        self.runner = Runner(self.fleet, self.delivery, speed=speed)
        self._when_broken = when_broken
        handlers = {Problem: self._problem_response, HTTPException: _http_error}
        app = Starlette(exception_handlers=handlers, lifespan=self._live)
        self.guard = Guard(
            app,
            token=token,
            now=lambda: self.fleet.now,
            faults=lambda: self.fault_injector.faults,
            seed=settings.seed + 2,
        )
        control = Control(self.fleet, self.runner, self.delivery, self.subscribers, self.guard, control_token)
        routes = [
            *api.routes(self.fleet),
            *SubscriptionApi(self.fleet, self.subscribers, self.delivery).routes(),
            *control.routes(),
        ]
        app.router.routes += [Route("/", front_page(routes)), *routes]

    @contextlib.asynccontextmanager
    async def _live(self, _app: Starlette) -> AsyncIterator[None]:
        living = asyncio.create_task(self.runner.run())
        delivering = asyncio.create_task(self.delivery.run())
        for task in (living, delivering):
            task.add_done_callback(self._ended)
        yield
        living.cancel()
        await self.delivery.settle(LEAVE_SECONDS)
        delivering.cancel()
        await asyncio.gather(living, delivering, return_exceptions=True)

    async def _problem_response(self, request: Request, problem: Exception) -> Response:
        if isinstance(problem, Problem) and problem.message == NO_RECORD:
            problem.message = self.fault_injector.faults.api_no_record
        return await problem_response(request, problem)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Report the error of an ended task: a simulator whose clock stopped must not continue to answer."""
        if not task.cancelled() and (error := task.exception()) is not None and self._when_broken is not None:
            self._when_broken(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return json_response({"message": f"The route {request.url.path.lstrip('/')} could not be found."}, 404)
    return json_response({"message": error.detail}, error.status_code)
