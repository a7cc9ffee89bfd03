"""The readiness of a receiver: whether it can commit a notification, and other problems beside that.

Only the ability to commit decides. If Redis is down, or the tables are those of a later release that the accept path
can write to, notifications are accepted: taking receivers out of a load balancer would lose them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType

import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from receiver.accept.committer import GroupCommitter
from runtime.checks import POSTGRES_ADVICE, look_at_postgres, redis_probe
from runtime.errors import cause
from runtime.logging import get_logger
from runtime.readiness import Check, Probe, Readiness
from storage.clock import clock
from storage.inbox.commit import prove_acceptable
from storage.inbox.partitions import MAKE_PARTITIONS, has_partition
from storage.monitoring.processes import list_processes

logger = get_logger(__name__)

_LOG_ADVICE = "run `ampeco-receiver migrate`, which also grants what the service needs"

_PARTITION_ADVICE = "set this machine's clock; if it is right, run `ampeco-receiver migrate`"

_OVERLOAD_ADVICE = "start more receivers, or raise RECEIVER_WAITING_ROOM"


class Draining:
    """Delays a stop, so that a load balancer takes the receiver out: readiness says no, and requests are accepted.

    Parameters:
        seconds: how long a stop is delayed; zero changes nothing.
    """

    def __init__(self, seconds: timedelta) -> None:
        self._seconds = seconds.total_seconds()
        self._has_begun = False

    def probe(self) -> Probe:
        """Return the check that fails while this process drains."""
        return Probe("stop", self._look, "it ends by itself")

    def _look(self) -> Mapping[str, Check]:
        detail = "this process is about to stop" if self._has_begun else "none was requested"
        return {"stop": Check(not self._has_begun, detail)}

    def delay_signals(self) -> None:
        """Delay what uvicorn does at SIGTERM and SIGINT; at a second signal it stops at once.

        Call it when the app starts, because uvicorn sets its own handlers just before.
        """
        if not self._seconds or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            stop = signal.getsignal(number)
            assert callable(stop)

            def begin(number: int, frame: FrameType | None, stop=stop) -> None:  # type: ignore[no-untyped-def] # bound here
                if self._has_begun:
                    stop(number, frame)
                    return
                self._has_begun = True
                logger.info("draining", seconds=self._seconds)
                loop.call_soon_threadsafe(loop.call_later, self._seconds, stop, number, frame)

            signal.signal(number, begin)


def receiver_readiness(
    engine: Engine, redis_client: redis.Redis, committer: GroupCommitter, *further: Probe
) -> Readiness:
    """Return the checks of a process that accepts.

    Parameters:
        engine: an engine that only the checks use.
        committer: the committer of this process.
        further: what else the process needs.
    """

    def look_at_committer() -> Mapping[str, Check]:
        trouble = committer.trouble
        return {"commits": Check(trouble is None, trouble or f"{committer.waiting:,} notifications wait")}

    return Readiness(
        Probe("postgres", lambda: _look_at_postgres(engine), POSTGRES_ADVICE),
        Probe("commits", look_at_committer, "see the log of this process"),
        redis_probe(redis_client, required=False),
        *further,
    )


def admin_readiness(
    engine: Engine, redis_client: redis.Redis, counters: Callable[[], CollectorRegistry], waiting_room: int
) -> Readiness:
    """Return the checks of the admin endpoints, which serve one or several processes that accept.

    Parameters:
        engine: an engine that only the checks use.
        counters: returns the metrics of all these processes.
        waiting_room: most notifications that may wait in each of them.
    """

    def look_at_waiting_room() -> Mapping[str, Check]:
        waiting = counters().get_sample_value("ampeco_notifications_waiting") or 0
        is_full = waiting >= waiting_room
        detail = f"{waiting:,.0f} notifications wait; each process has room for {waiting_room:,}"
        return {"waiting room": Check(not is_full, detail, _OVERLOAD_ADVICE if is_full else None)}

    def look_at_postgres_and_processes() -> Mapping[str, Check]:
        return _look_at_postgres(engine) | {"receivers": _look_at_receivers(engine)}

    return Readiness(
        Probe("postgres", look_at_postgres_and_processes, POSTGRES_ADVICE),
        Probe("waiting room", look_at_waiting_room, "see the log of this process"),
        redis_probe(redis_client, required=False),
    )


def _look_at_postgres(engine: Engine) -> dict[str, Check]:
    checks = look_at_postgres(engine)
    return checks | {"log": look_at_log(engine, advice=checks["migrations"].advice or _LOG_ADVICE)}


def look_at_log(engine: Engine, *, advice: str) -> Check:
    """Check that notifications can be committed to the log, whichever release made its table.

    Parameters:
        advice: what to do if Postgres rejects them.
    """
    try:
        with engine.begin() as connection:
            prove_acceptable(connection)
    except SQLAlchemyError as error:
        return Check(False, f"takes no notifications: {cause(error)}", advice)
    today = clock.now().date()  # by the clock that dates notifications
    try:
        with engine.begin() as connection:
            if not has_partition(connection, today):
                # As the accept path does if no process has made the partition ahead of time.
                connection.execute(text(MAKE_PARTITIONS))
            if has_partition(connection, today):
                return Check(True, "takes notifications")
        problem = "only days near the date of Postgres's clock have one"
    except SQLAlchemyError as error:
        problem = cause(error)
    return Check(False, f"has no partition for {today}: {problem}", _PARTITION_ADVICE)


def _look_at_receivers(engine: Engine) -> Check:
    """Check the processes that accept on this host; it is not required, because each has a readiness of its own."""
    try:
        with engine.connect() as connection:
            processes = list_processes(connection)
    except SQLAlchemyError as error:  # the tables of an earlier release
        return Check(False, f"are not known: {cause(error)}", "run `ampeco-receiver migrate`", required=False)
    host = socket.gethostname()
    own = [process for process in processes if process.name == "serve" and process.host == host and process.is_alive]
    troubled = [f"process {process.pid}: {process.problem}" for process in own if process.problem]
    detail = "; ".join(troubled) or f"{len(own)} on this host accept"
    return Check(not troubled, detail, "see the log of these processes" if troubled else None, required=False)
