"""What every process that accepts notifications is made of, whether they arrive by HTTP or from Kafka."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection

from starlette.concurrency import run_in_threadpool

from receiver.accept.committer import GroupCommitter
from receiver.accept.heartbeat import UptimeHeartbeat
from receiver.accept.notifier import Notifier
from receiver.admin.readiness import receiver_readiness
from runtime.checks import create_check_engine
from runtime.clock_watch import ClockWatch
from runtime.heartbeat import Heartbeat
from runtime.readiness import Probe
from runtime.settings import Settings
from storage.database import create_database_engine
from workers.broker import create_broker, create_redis


class AcceptingProcess:
    """The committer of a process that accepts, and the parts that serve it.

    Create it after any fork, because engines and clients must not be shared.

    Parameters:
        name: the name of the process for operators, which its connections have, too.
        probes: what the process needs beside the servers.
        resend_tenants: the tenants of which a resend is requested after an outage of ours; None if this process writes
            no heartbeat by which outages are measured.

    Attributes:
        committer: commits what is accepted.
        readiness: the checks of this process.
    """

    def __init__(self, settings: Settings, name: str, *probes: Probe, resend_tenants: Collection[str] | None) -> None:
        database_url = settings.required_database_url()
        self._redis = create_redis(settings.required_redis_url())
        self._engine = create_database_engine(database_url, application_name=f"ampeco-receiver {name}", pool_size=1)
        self._check_engine = create_check_engine(database_url, process=f"{name} readiness")
        self._notifier = Notifier(create_broker(self._redis))
        self.committer = GroupCommitter(
            database_url,
            self._notifier.notify,
            commit_timeout=settings.commit_timeout,
            waiting_room=settings.waiting_room,
            waiting_bytes=settings.waiting_bytes,
        )
        self.readiness = receiver_readiness(self._check_engine, self._redis, self.committer, *probes)
        self._uptime_heartbeat: UptimeHeartbeat | None = None
        if resend_tenants is not None:
            self._uptime_heartbeat = UptimeHeartbeat(self._engine, list(resend_tenants), ClockWatch(self._redis))
        self._heartbeat = Heartbeat(database_url, name)
        self._heartbeat.find_problem = self.readiness.problem

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the parts, and stop them at the end of the block, in which nothing may be accepted any more."""
        self._notifier.start()
        self.committer.start()
        if self._uptime_heartbeat is not None:
            self._uptime_heartbeat.start()
        self._heartbeat.start()
        try:
            yield
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self._heartbeat.find_problem = None  # a committer that was stopped is no problem
        await self.committer.stop()
        if self._uptime_heartbeat is not None:
            await self._uptime_heartbeat.stop()
        # Before what waits for Redis: everything is committed, so this process stopped in order even if it is killed.
        await run_in_threadpool(self._heartbeat.stop)
        await run_in_threadpool(self._notifier.stop)
        await run_in_threadpool(self.readiness.stop)
        self._redis.close()
        self._check_engine.dispose()
        self._engine.dispose()
