"""The Dramatiq broker on Redis, and the messages that wake its actors.

A message says that there may be work; the work itself stands in Postgres. One that is
lost is made good by the sweep, one too many finds nothing to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import redis
from dramatiq import ConnectionClosed, Message
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.middleware import Middleware, Retries, TimeLimit
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from workers.errors import cause
from workers.logs import get_logger
from workers.reconnect import Reconnect

logger = get_logger(__name__)

APPLY_QUEUE = "apply"
REFRESH_QUEUE = "refresh"
RECONCILE_QUEUE = "reconcile"
QUEUES = (APPLY_QUEUE, REFRESH_QUEUE, RECONCILE_QUEUE)

#: Messages of a killed worker come back when maintenance runs, which is drawn by chance
#: for each command. The sweep does not wait for that; the default of 1,000 in a million
#: would leave such messages about for long in a quiet installation.
MAINTENANCE_CHANCE = 10_000

#: Milliseconds without a heartbeat after which a worker's messages may be given to others.
HEARTBEAT_TIMEOUT_MS = 60_000

#: Dead letters are wake-ups whose work the sweep finds again; a day is enough to look at them.
DEAD_MESSAGE_TTL_MS = 86_400_000

#: A chunk of batches ends by itself well before; past this it hangs. Shorter than the lease
#: of a batch, so that a late worker and its successor do not meet.
APPLY_TIME_LIMIT_MS = 25_000

#: A round of reads ends by itself within seconds, unless the tenant's API hangs: then one
#: read takes its tries and their timeouts. Shorter than the lease of a read.
REFRESH_TIME_LIMIT_MS = 120_000

#: A share of a sync run ends by itself after three quarters of a minute; its last page may need a
#: hundred further reads, during which the sync run's lease is renewed.
RECONCILE_TIME_LIMIT_MS = 240_000

#: A wake-up whose work failed is tried again after one second, two, four, eight; then it
#: is left to the sweep.
MAX_RETRIES = 4
MIN_BACKOFF_MS = 1_000
MAX_BACKOFF_MS = 15_000

#: A Redis that does not answer in this time counts as down: the sweep will send again.
SOCKET_TIMEOUT_SECONDS = 5.0


def create_redis(redis_url: str) -> redis.Redis:
    """Return a Redis client with its own pool, which leaves a server that refuses the work; make it after any fork.

    Its commands raise a ``redis.ConnectionError`` whenever the server is at fault.
    """
    return redis.Redis.from_url(
        redis_url,
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
        health_check_interval=30,
        # Once more, for a pooled connection that a restarted server has forgotten, or that a failover
        # has left on a replica. The library's own default waits for seconds, and who asks here has a
        # plan of its own.
        retry=Reconnect(ConstantBackoff(0.1), 1),
    )


class WakeUpConsumer(_RedisConsumer):
    """Consumes wake-ups, which may come once too often or not at all.

    Dramatiq would hold a worker's thread until Redis takes back what it was given, and ends a consumer's thread, or
    fails to stop, where Redis does not. A wake-up that stays there comes again once this process has ended.
    """

    def ack(self, message: Any) -> None:
        with _unless_redis_fails("acknowledged"):
            super().ack(message)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2

    def nack(self, message: Any) -> None:
        with _unless_redis_fails("rejected"):
            super().nack(message)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2

    def requeue(self, messages: Iterable[Any]) -> None:
        with _unless_redis_fails("given back"):
            super().requeue(messages)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2


@contextlib.contextmanager
def _unless_redis_fails(what: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, ConnectionClosed) as error:
        logger.debug(f"wake-up not {what}", error=cause(error))


class WakeUpBroker(RedisBroker):
    """Dramatiq's broker on Redis, with consumers that a Redis that fails does not hold up."""

    @property
    def consumer_class(self) -> type[WakeUpConsumer]:
        return WakeUpConsumer


def create_broker(client: redis.Redis, middleware: list[Middleware] | None = None) -> RedisBroker:
    """The broker, with its queues declared.

    Parameters:
        client: the Redis of this process.
        middleware: what workers need; a sender needs none.
    """
    broker = WakeUpBroker(  # type: ignore[no-untyped-call] # as of Dramatiq 2.2
        client=client,
        middleware=middleware or [],
        maintenance_chance=MAINTENANCE_CHANCE,
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
    )
    for queue in QUEUES:
        broker.declare_queue(queue)
    return broker


def worker_middleware() -> list[Middleware]:
    """Outermost first: a message past its time is interrupted, and then counts as a failed try."""
    return [
        TimeLimit(time_limit=APPLY_TIME_LIMIT_MS),
        Retries(max_retries=MAX_RETRIES, min_backoff=MIN_BACKOFF_MS, max_backoff=MAX_BACKOFF_MS),
    ]


def apply_message(batch_id: UUID) -> Message[None]:
    """The wake-up after a batch was committed; it names the batch for the logs."""
    return Message(queue_name=APPLY_QUEUE, actor_name="apply", args=(str(batch_id),), kwargs={}, options={})


def refresh_message(tenant: str) -> Message[None]:
    """The wake-up for a tenant that has reads due."""
    return Message(queue_name=REFRESH_QUEUE, actor_name="refresh", args=(tenant,), kwargs={}, options={})


def reconcile_message(tenant: str) -> Message[None]:
    """The wake-up for a tenant that has sync runs due."""
    return Message(queue_name=RECONCILE_QUEUE, actor_name="reconcile", args=(tenant,), kwargs={}, options={})
