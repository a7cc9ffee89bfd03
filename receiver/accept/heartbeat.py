"""The receiver's heartbeat; after an outage it requests a resend from AMPECO."""

from __future__ import annotations

import asyncio
import contextlib

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from runtime.background import supervised_task, to_the_end
from runtime.clock_watch import ClockWatch
from runtime.errors import cause
from runtime.logging import get_logger
from storage.clock import clock
from storage.monitoring.resends import request_after
from storage.monitoring.uptime import BEAT_INTERVAL, Outage, beat

logger = get_logger(__name__)


class UptimeHeartbeat:
    """Beats while the process accepts notifications, and measures Postgres's clock, by which they are dated.

    A beat that fails is not repeated: while Postgres takes no beat it takes no notification either, so that time counts
    as an outage, too.
    """

    def __init__(self, engine: Engine, tenants: list[str], clocks: ClockWatch) -> None:
        self._engine = engine
        self._tenants = tenants
        self._clocks = clocks
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start beating."""
        self._task = supervised_task("heartbeat", self._run)

    async def stop(self) -> None:
        """Stop beating, after the beat that is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await to_the_end(run_in_threadpool(self.beat))
            except SQLAlchemyError as error:
                logger.warning("heartbeat failed", error=cause(error))
            await asyncio.sleep(BEAT_INTERVAL.total_seconds())

    def beat(self) -> Outage | None:
        """Beat once; return the outage that ends with this beat, or None."""
        with self._engine.begin() as connection:
            clock.measure(connection)
            outage = beat(connection)
            requested = 0 if outage is None else request_after(connection, self._tenants, outage)
        self._clocks.look()
        if outage is not None:
            logger.warning(
                "no receiver was alive",
                since=outage.began_at.isoformat(),
                seconds=round((outage.ended_at - outage.began_at).total_seconds()),
                resends=requested,
            )
        return outage
