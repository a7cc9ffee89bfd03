"""A Redis that answers and refuses: every use of it says why, and works again as soon as it does not refuse."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import dramatiq
import pytest
import redis
from dramatiq import Worker
from dramatiq.middleware import Retries
from pydantic import HttpUrl, SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from ampeco.tenants import Tenant
from runtime.errors import cause
from runtime.reconnect import RefusedError
from storage.ids import uuid7
from tests.support.address import moving_address
from tests.support.servers import (
    RedisServer,
    embedded_redis_executable,
    installed_redis_executable,
    own_redis,
    valkey_executable,
)
from tests.support.service import eventually, free_port
from workers.api.pause import pause
from workers.api.rate_limit import RateLimiter, Usage
from workers.broker import APPLY_QUEUE, apply_message, create_broker, create_redis

TENANT = Tenant(name="t", base_url=HttpUrl("http://127.0.0.1"), token=SecretStr("x"), calls_per_minute=6_000)

Refusal = Callable[[RedisServer], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def _commanded(server: RedisServer, refuse: list[tuple[str, ...]], restore: list[tuple[str, ...]]) -> Iterator[None]:
    with redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as operator:
        for words in refuse:
            operator.execute_command(*words)
        yield
        for words in restore:
            operator.execute_command(*words)


def replica(server: RedisServer) -> contextlib.AbstractContextManager[None]:
    return _commanded(server, [("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")])


def replica_without_its_primary(server: RedisServer) -> contextlib.AbstractContextManager[None]:
    refuse = [("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1")]
    return _commanded(server, refuse, [("REPLICAOF", "NO", "ONE")])


def primary_without_replicas(server: RedisServer) -> contextlib.AbstractContextManager[None]:
    name = "min-replicas-to-write"
    return _commanded(server, [("CONFIG", "SET", name, "1")], [("CONFIG", "SET", name, "0")])


def out_of_memory(server: RedisServer) -> contextlib.AbstractContextManager[None]:
    return _commanded(server, [("CONFIG", "SET", "maxmemory", "1")], [("CONFIG", "SET", "maxmemory", "0")])


def no_permission(server: RedisServer) -> contextlib.AbstractContextManager[None]:
    return _commanded(
        server, [("ACL", "SETUSER", "default", "-set", "-evalsha")], [("ACL", "SETUSER", "default", "+@all")]
    )


@contextlib.contextmanager
def unable_to_save(server: RedisServer) -> Iterator[None]:
    (server.directory / "dump.rdb").mkdir()
    with _commanded(server, [("CONFIG", "SET", "save", "3600 1"), ("BGSAVE",)], [("CONFIG", "SET", "save", "")]):
        with redis.Redis.from_url(server.url) as operator:
            eventually(lambda: operator.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield


REFUSALS = {
    "READONLY": replica,
    "MASTERDOWN": replica_without_its_primary,
    "NOREPLICAS": primary_without_replicas,
    "MISCONF": unable_to_save,
    "OOM": out_of_memory,
    "NOPERM": no_permission,
}


#: The embedded Redis is a 6.2, which reports what a script ran into otherwise than later ones do.
EXECUTABLES = {
    "embedded": embedded_redis_executable,
    "installed": installed_redis_executable,
    "valkey": valkey_executable,
}


@pytest.mark.parametrize("executable", EXECUTABLES.values(), ids=EXECUTABLES)
@pytest.mark.parametrize(("code", "refuse"), REFUSALS.items(), ids=REFUSALS)
def test_every_use_of_a_redis_that_refuses_says_why_and_works_again_at_once(
    code: str, refuse: Refusal, executable: Callable[[], str]
) -> None:
    with own_redis(executable=executable()) as server, create_redis(server.url) as client:
        broker = create_broker(client)
        rate_limiter = RateLimiter(client, Usage(), TENANT, "refresh", sleep=lambda _seconds: None)

        def wake() -> None:
            broker.enqueue(apply_message(uuid7()))

        wake()
        rate_limiter()
        with refuse(server):
            causes = [_refused(use) for use in (wake, lambda: client.set("key", 1), lambda: client.get("key"))]
            assert all(causes[:2]), "what writes is refused, by a script as well"
            assert code in {why.partition(" ")[0] for why in causes}
            # What holds back calls and pauses tenants does without Redis
            rate_limiter()
            assert pause(client, "t", 5, "GET /x answered 429") == 5
        wake()
        rate_limiter()
        client.set("key", 1)
        assert broker.do_qsize(APPLY_QUEUE) == 2


def _refused(use: Callable[[], object]) -> str:
    """Why Redis refused; empty where it did not."""
    try:
        use()
    except RefusedError as error:
        return cause(error)
    return ""


def test_every_connection_that_a_failover_left_on_a_replica_follows_the_address() -> None:
    ports = free_port(), free_port()
    with (
        own_redis(ports[0]) as former,
        own_redis(ports[1]) as latter,
        moving_address(("127.0.0.1", ports[0])) as address,
        create_redis(f"redis://127.0.0.1:{address.port}/0") as client,
    ):
        # Given open connections, more than one
        pool = client.connection_pool
        taken = [pool.get_connection() for _ in range(3)]
        for connection in taken:
            pool.release(connection)
        # When their server becomes a replica, and the address leads to its successor
        former.follow(ports[1])
        address.move(("127.0.0.1", latter.port))
        # Then whichever of them is used, what it is used for succeeds
        taken = [pool.get_connection() for _ in range(3)]
        for number, connection in enumerate(taken):
            pool.release(connection)
            client.set(f"key {number}", 1)
            pool.get_connection()  # it stays in use, so that the next one is tried
        with redis.Redis.from_url(latter.url) as successor:
            assert successor.dbsize() == 3


def test_no_thread_of_a_worker_ends_when_redis_refuses() -> None:
    with own_redis() as server, create_redis(server.url) as client:
        broker = create_broker(client, [Retries(max_retries=3, min_backoff=2_000, max_backoff=2_000)])
        done: list[str] = []

        def apply(batch_id: str) -> None:
            done.append(batch_id)
            if len(done) == 1:
                raise ValueError("the first try fails")

        dramatiq.actor(broker=broker, queue_name=APPLY_QUEUE)(apply)
        worker = Worker(broker, queues={APPLY_QUEUE}, worker_threads=1, worker_timeout=50)
        worker.start()
        try:
            # Given a message that waits for its second try in this process
            broker.enqueue(apply_message(uuid7()))
            delayed = worker.consumers[f"{APPLY_QUEUE}.DQ"]
            eventually(lambda: delayed.delay_queue.qsize() == 1)
            # When Redis refuses everything for a while
            before = delayed.consumer
            with out_of_memory(server):
                eventually(lambda: delayed.consumer is not before or not delayed.is_alive())
            # Then every thread lives, and work is done
            assert all(thread.is_alive() for thread in (*worker.consumers.values(), *worker.workers))
            broker.enqueue(apply_message(uuid7()))
            eventually(lambda: len(done) >= 2)
        finally:
            worker.stop(timeout=20_000)


def test_a_worker_stops_in_order_while_redis_is_gone() -> None:
    with own_redis() as server, create_redis(server.url) as client:
        broker = create_broker(client)
        may_end = threading.Event()

        def apply(_batch_id: str) -> None:
            may_end.wait()

        dramatiq.actor(broker=broker, actor_name="apply", queue_name=APPLY_QUEUE)(apply)
        worker = Worker(broker, queues={APPLY_QUEUE}, worker_threads=1, worker_timeout=50)
        worker.start()
        # Given a message that is being worked on, and others in this process's hands
        for _ in range(3):
            broker.enqueue(apply_message(uuid7()))
        eventually(lambda: worker.work_queue.unfinished_tasks > worker.work_queue.qsize() > 0)
        # When Redis is gone, and the worker is stopped
        server.kill()
        may_end.set()
        worker.stop(timeout=20_000)
        # Then nothing waits for Redis
        assert not any(thread.is_alive() for thread in (*worker.consumers.values(), *worker.workers))
