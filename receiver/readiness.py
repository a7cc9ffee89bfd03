"""Whether a receiver can accept: what it needs to make a notification durable, and beside it what else is amiss.

Nothing but that decides. With Redis down, or on tables of a later release that the accept path can write to,
notifications are accepted: taking receivers out of a balancer would lose them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping

import redis
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from receiver.committer import GroupCommitter
from storage.clock import clock
from storage.inbox import prove_acceptable
from storage.partitions import MAKE_PARTITIONS, has_partition
from storage.processes import list_processes
from workers.checks import POSTGRES_ADVICE, look_at_postgres, redis_probe
from workers.errors import cause
from workers.readiness import Check, Probe, Readiness

_LOG_ADVICE = "run `ampeco-receiver migrate`, which also grants what the service needs"

_PARTITION_ADVICE = "set this machine's clock; where it is right, run `ampeco-receiver migrate`"

_OVERLOAD_ADVICE = "start more receivers, or raise RECEIVER_WAITING_ROOM"


def receiver_readiness(engine: Engine, redis_client: redis.Redis, committer: GroupCommitter) -> Readiness:
    """Return the checks of a process that accepts.

    Parameters:
        engine: of connections for the checks alone.
        committer: what makes notifications durable in this process.
    """

    def look_at_committer() -> Mapping[str, Check]:
        trouble = committer.trouble
        return {"commits": Check(trouble is None, trouble or f"{committer.waiting:,} notifications wait")}

    return Readiness(
        Probe("postgres", lambda: _look_at_postgres(engine), POSTGRES_ADVICE),
        Probe("commits", look_at_committer, "see the log of this process"),
        redis_probe(redis_client, required=False),
    )


def admin_readiness(
    engine: Engine, redis_client: redis.Redis, counters: Callable[[], CollectorRegistry], waiting_room: int
) -> Readiness:
    """Return the checks for the admin page, which may stand beside several processes that accept.

    Parameters:
        counters: the metrics of all those processes.
        waiting_room: how many notifications may wait in each of them.
    """

    def look_at_waiting_room() -> Mapping[str, Check]:
        waiting = counters().get_sample_value("ampeco_notifications_waiting") or 0
        is_full = waiting >= waiting_room
        detail = f"{waiting:,.0f} notifications wait, of {waiting_room:,} that may in each process"
        return {"waiting room": Check(not is_full, detail, _OVERLOAD_ADVICE if is_full else None)}

    def look_at_postgres_and_processes() -> Mapping[str, Check]:
        return _look_at_postgres(engine) | {"receivers": _look_at_receivers(engine)}

    return Readiness(
        Probe("postgres", look_at_postgres_and_processes, POSTGRES_ADVICE),
        Probe("waiting room", look_at_waiting_room, "see the log of this process"),
        redis_probe(redis_client, required=False),
    )


def _look_at_postgres(engine: Engine) -> dict[str, Check]:
    found = look_at_postgres(engine)
    return found | {"log": look_at_log(engine, advice=found["migrations"].advice or _LOG_ADVICE)}


def look_at_log(engine: Engine, *, advice: str) -> Check:
    """Return whether notifications can be committed to the log that is there, whichever release made it.

    Parameters:
        advice: what to do where Postgres refuses them.
    """
    try:
        with engine.begin() as connection:
            prove_acceptable(connection)
    except SQLAlchemyError as error:
        return Check(False, f"takes no notifications: {cause(error)}", advice)
    today = clock.now().date()  # by the clock that gives a notification its id and its day
    try:
        with engine.begin() as connection:
            if not has_partition(connection, today):
                # As the accept path does, where nothing else has made it ahead of time.
                connection.execute(text(MAKE_PARTITIONS))
            if has_partition(connection, today):
                return Check(True, "takes notifications")
        problem = "only days near that of Postgres's clock have one"
    except SQLAlchemyError as error:
        problem = cause(error)
    return Check(False, f"has no partition for {today}: {problem}", _PARTITION_ADVICE)


def _look_at_receivers(engine: Engine) -> Check:
    """Return what the processes that accept on this host say of themselves; each answers for itself elsewhere."""
    try:
        with engine.connect() as connection:
            found = list_processes(connection)
    except SQLAlchemyError as error:  # an earlier release's tables
        return Check(False, f"are not known: {cause(error)}", "run `ampeco-receiver migrate`", required=False)
    host = socket.gethostname()
    own = [process for process in found if process.name == "serve" and process.host == host and process.is_alive]
    troubled = [f"process {process.pid}: {process.problem}" for process in own if process.problem]
    detail = "; ".join(troubled) or f"{len(own)} on this host accept"
    return Check(not troubled, detail, "see the log of these processes" if troubled else None, required=False)
