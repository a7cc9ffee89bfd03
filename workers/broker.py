"""The Dramatiq broker on Redis, and the messages that wake its actors.

A message says that there may be work; the work itself is recorded in Postgres. If a message is lost, the sweep sends
another one. If there is one too many, its actor finds nothing to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

import redis
from dramatiq import ConnectionClosed, Message
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.middleware import Middleware, Retries, TimeLimit
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from runtime.errors import cause
from runtime.logging import get_logger
from runtime.reconnect import Reconnect
from runtime.settings import SENTINEL_SCHEMES

logger = get_logger(__name__)

APPLY_QUEUE = "apply"
REFRESH_QUEUE = "refresh"
RECONCILE_QUEUE = "reconcile"
DERIVE_QUEUE = "derive"
QUEUES = (APPLY_QUEUE, REFRESH_QUEUE, RECONCILE_QUEUE, DERIVE_QUEUE)

#: Messages of a killed worker return to the queue when maintenance runs, which each command triggers at random with
#: this chance in a million. The sweep does not wait for that; with the default of 1,000 such messages would stay for a
#: long time in a quiet installation.
MAINTENANCE_CHANCE = 10_000

#: While so many messages of a queue wait for a worker, no further wake-up is sent to it: each leads to all work of its
#: kind, or of its tenant. Without a limit the queue would grow for as long as the workers are down, or too slow.
MAX_QUEUED = 1_000

#: The option of a wake-up with the W3C trace contexts of the requests whose notifications it announces.
TRACEPARENTS = "traceparents"

#: Milliseconds without a heartbeat after which a worker's messages may be given to other workers.
HEARTBEAT_TIMEOUT_MS = 60_000

#: Dead letters are wake-ups whose work the sweep finds again. They are kept for a day for inspection.
DEAD_MESSAGE_TTL_MS = 86_400_000

#: A chunk of batches ends well before this by itself; after this time it hangs. The limit is shorter than the lease of
#: a batch, so that a late worker and its successor do not work on the same batch.
APPLY_TIME_LIMIT_MS = 25_000

#: A round of reads ends by itself within seconds, unless the tenant's API hangs: then one read takes as long as its
#: attempts and their timeouts. The limit is shorter than the lease of a read.
REFRESH_TIME_LIMIT_MS = 120_000

#: The part of a sync run that one message handles ends by itself after 45 seconds. Its last page may need a hundred
#: further reads, during which the lease of the sync run is renewed.
RECONCILE_TIME_LIMIT_MS = 240_000

#: A message derives for some seconds, and a round ends well before this by itself, unless Postgres hangs.
DERIVE_TIME_LIMIT_MS = 60_000

#: A wake-up whose work failed is retried after one second, two, four, eight; then the sweep sends another one.
MAX_RETRIES = 4
MIN_BACKOFF_MS = 1_000
MAX_BACKOFF_MS = 15_000

#: If Redis does not answer within this time, it counts as down: the sweep sends the wake-ups again.
SOCKET_TIMEOUT_SECONDS = 5.0


def create_redis(redis_url: str) -> redis.Redis:
    """Return a Redis client with its own pool, which reconnects if a server refuses the work; call it after any fork.

    Its commands raise a ``redis.ConnectionError`` if the server is at fault.
    """
    arguments: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "health_check_interval": 30,
        # One retry, for a pooled connection that a restarted server no longer knows, or that a failover has left on a
        # replica. The library's default waits for seconds, and the callers here have their own handling of failures.
        "retry": Reconnect(ConstantBackoff(0.1), 1),
    }
    if not redis_url.startswith(SENTINEL_SCHEMES):
        return redis.Redis.from_url(redis_url, **arguments)
    from runtime.sentinel_url import parse_sentinel_url  # only here: few processes need it

    sentinels = parse_sentinel_url(redis_url)
    of_sentinels = {name: arguments[name] for name in ("socket_timeout", "socket_connect_timeout", "retry")}
    asked = redis.Sentinel(sentinels.addresses, sentinel_kwargs=of_sentinels | sentinels.tls)  # type: ignore[no-untyped-call] # as of redis-py 8.1
    client: redis.Redis = asked.master_for(sentinels.service, **arguments | sentinels.options)  # type: ignore[no-untyped-call] # as of redis-py 8.1
    return client


class WakeUpConsumer(_RedisConsumer):
    """Consumes wake-ups, which may arrive once too often or not at all.

    If Redis does not accept an acknowledgement, Dramatiq's own consumer blocks a worker's thread, ends the consumer's
    thread, or cannot stop. Here the wake-up stays in Redis, and is delivered again after this process has ended.
    """

    def ack(self, message: Any) -> None:
        """Acknowledge a message, if Redis accepts that."""
        with _unless_redis_fails("acknowledged"):
            super().ack(message)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2

    def nack(self, message: Any) -> None:
        """Reject a message, if Redis accepts that."""
        with _unless_redis_fails("rejected"):
            super().nack(message)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2

    def requeue(self, messages: Iterable[Any]) -> None:
        """Return messages to their queue, if Redis accepts that."""
        with _unless_redis_fails("given back"):
            super().requeue(messages)  # type: ignore[no-untyped-call] # as of Dramatiq 2.2


@contextlib.contextmanager
def _unless_redis_fails(what: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, ConnectionClosed) as error:
        logger.debug(f"wake-up not {what}", error=cause(error))


class WakeUpBroker(RedisBroker):
    """Dramatiq's broker on Redis, with consumers that do not block or end if Redis fails."""

    @property
    def consumer_class(self) -> type[WakeUpConsumer]:
        """The class of the consumers."""
        return WakeUpConsumer


def create_broker(client: redis.Redis, middleware: list[Middleware] | None = None) -> RedisBroker:
    """Return a broker whose queues are declared.

    Parameters:
        client: the Redis client of this process.
        middleware: the middleware of a worker; a process that only sends needs none.
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


def has_enough(broker: RedisBroker, queue: str) -> bool:
    """Return whether so many messages wait in a queue that a further one would wake no worker any sooner.

    Raises:
        RedisError: Redis does not answer.
    """
    length: int = broker.client.llen(f"{broker.namespace}:{queue}")
    return length >= MAX_QUEUED


def worker_middleware() -> list[Middleware]:
    """Return the middleware of a worker, outermost first: a message past its time limit counts as a failed attempt."""
    return [
        TimeLimit(time_limit=APPLY_TIME_LIMIT_MS),
        Retries(max_retries=MAX_RETRIES, min_backoff=MIN_BACKOFF_MS, max_backoff=MAX_BACKOFF_MS),
    ]


def apply_message(batch_id: UUID, traceparents: Sequence[str] = ()) -> Message[None]:
    """Return the wake-up after a batch was committed; it names the batch for the logs.

    Parameters:
        traceparents: the trace contexts of the requests, as far as they are traced. A wake-up that is lost, or replaced
            by one of the sweep, loses only these.
    """
    options = {TRACEPARENTS: list(traceparents)} if traceparents else {}
    return Message(queue_name=APPLY_QUEUE, actor_name="apply", args=(str(batch_id),), kwargs={}, options=options)


def refresh_message(tenant: str) -> Message[None]:
    """Return the wake-up for a tenant that has reads due."""
    return Message(queue_name=REFRESH_QUEUE, actor_name="refresh", args=(tenant,), kwargs={}, options={})


def reconcile_message(tenant: str, part: str) -> Message[None]:
    """Return the wake-up for a tenant that has sync runs of a part due."""
    return Message(queue_name=RECONCILE_QUEUE, actor_name="reconcile", args=(tenant, part), kwargs={}, options={})


def derive_message(tenant: str) -> Message[None]:
    """Return the wake-up for a tenant of which something is to be derived."""
    return Message(queue_name=DERIVE_QUEUE, actor_name="derive", args=(tenant,), kwargs={}, options={})
