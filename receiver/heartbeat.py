"""The receiver's heartbeat; an outage that it ends is followed by a request that AMPECO send again."""

from __future__ import annotations

import asyncio
import contextlib

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from storage.clock import clock
from storage.uptime import BEAT_INTERVAL, Outage, beat
from workers.background import supervised_task
from workers.clock_watch import ClockWatch
from workers.errors import cause
from workers.logs import get_logger
from workers.resend import request_after

logger = get_logger(__name__)


class Heartbeat:
    """Beats while the process accepts notifications, and looks at Postgres's clock, by which they are dated.

    A beat that fails is not made up for: while Postgres takes no beat it takes no notification, so
    that time counts as an outage, too.
    """

    def __init__(self, engine: Engine, tenants: list[str], clocks: ClockWatch) -> None:
        self._engine = engine
        self._tenants = tenants
        self._clocks = clocks
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = supervised_task("heartbeat", self._run)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await run_in_threadpool(self.beat)
            except SQLAlchemyError as error:
                logger.warning("heartbeat failed", error=cause(error))
            await asyncio.sleep(BEAT_INTERVAL.total_seconds())

    def beat(self) -> Outage | None:
        """Beat once; returns the outage that ends with it, where one does."""
        with self._engine.begin() as connection:
            clock.measure(connection)
            outage = beat(connection)
            wanted = 0 if outage is None else request_after(connection, self._tenants, outage)
        self._clocks.look()
        if outage is not None:
            logger.warning(
                "no receiver was alive",
                since=outage.began_at.isoformat(),
                seconds=round((outage.ended_at - outage.began_at).total_seconds()),
                resends=wanted,
            )
        return outage
