"""A Redis that accepts connections and does not answer costs a caller one timeout, not one for each retry."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
import redis

import workers.broker
from runtime.reconnect import NoAnswerError
from tests.support.servers import RedisServer, own_redis
from workers.broker import create_redis


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, server: RedisServer) -> Iterator[redis.Redis]:
    monkeypatch.setattr(workers.broker, "SOCKET_TIMEOUT_SECONDS", 0.3)
    with create_redis(server.url) as created:
        yield created


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis() as started:
        yield started


def connections(client: redis.Redis) -> int:
    """Return how many connections the server has been asked for."""
    return int(client.info("stats")["total_connections_received"])


def test_a_command_on_an_open_connection_is_given_up_after_one_timeout(
    server: RedisServer, client: redis.Redis
) -> None:
    before = connections(client)
    server.pause()
    with pytest.raises(NoAnswerError):
        client.set("key", 1)
    server.resume()
    assert connections(client) == before + 1, "the one on which it is asked now"


def test_a_new_connection_is_given_up_after_one_timeout(server: RedisServer, client: redis.Redis) -> None:
    before = connections(client)
    client.connection_pool.disconnect()
    server.pause()
    with pytest.raises(NoAnswerError):
        client.set("key", 1)
    server.resume()
    assert connections(client) == before + 2, "the one that was given up, and the one on which it is asked now"


def test_a_connection_whose_health_is_due_is_given_up_after_one_timeout(
    server: RedisServer, client: redis.Redis
) -> None:
    before = connections(client)
    connection = client.connection_pool.get_connection()
    connection.next_health_check = 0
    client.connection_pool.release(connection)
    server.pause()
    with pytest.raises(NoAnswerError):
        client.set("key", 1)
    server.resume()
    assert connections(client) == before + 1
    assert client.set("key", 2), "it works again at once"
    assert client.get("key") == b"2"


def test_a_sentinel_that_does_not_answer_is_given_up_after_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.broker, "SOCKET_TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"redis+sentinel://127.0.0.1:{silent.getsockname()[1]}/primary/0"
        with create_redis(url) as client, pytest.raises(redis.ConnectionError):
            client.set("key", 1)
        silent.setblocking(False)
        asked = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                asked += 1
    assert asked == 2, "the sentinels are asked twice, and each does not answer once"
