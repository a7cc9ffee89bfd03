"""The kinds of Redis that operators have: with a password and TLS, behind sentinels, Valkey, and a cluster, which is refused."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from receiver.doctor.redis_server import look_at_redis
from runtime.checks import redis_probe
from runtime.sentinel_url import parse_sentinel_url
from runtime.settings import SettingsError, load_settings
from tests.support.certificates import write_certificate
from tests.support.directories import short_directory
from tests.support.fault_fixtures import ground_of
from tests.support.servers import (
    RedisServer,
    installed_redis_executable,
    own_postgres,
    own_redis,
    valkey_executable,
)
from tests.support.service import eventually, free_port
from tests.support.trial import Line
from workers.broker import APPLY_QUEUE, apply_message, create_broker, create_redis

PASSWORD = "p-1f7c"
SERVICE = "receiver"


def wake(client: redis.Redis) -> None:
    """Send a wake-up, which needs a script, and check that it is there."""
    create_broker(client).enqueue(apply_message(uuid4()))
    assert client.llen(f"dramatiq:{APPLY_QUEUE}") > 0


def test_a_redis_with_a_password_and_tls_is_used(tmp_path: Path) -> None:
    certificate, port = tmp_path / "server.pem", free_port()
    write_certificate(certificate)
    options = [
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *(
            "--tls-cert-file",
            str(certificate),
            "--tls-key-file",
            str(certificate),
            "--tls-ca-cert-file",
            str(certificate),
        ),
    ]
    with own_redis(executable=installed_redis_executable(), options=options, password=PASSWORD):
        with create_redis(f"rediss://:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={certificate}") as client:
            wake(client)
        with (
            create_redis(f"rediss://:{PASSWORD}@localhost:{port}/0") as untrusting,
            pytest.raises(redis.ConnectionError, match="certificate verify failed"),
        ):
            untrusting.ping()
        with (
            create_redis(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}") as unknown,
            pytest.raises(redis.AuthenticationError),
        ):
            unknown.ping()


def test_a_redis_cluster_is_refused_in_one_sentence() -> None:
    options = ["--cluster-enabled", "yes"]
    with (
        own_redis(executable=installed_redis_executable(), port=free_port(), options=options) as server,
        create_redis(server.url) as client,
    ):
        check = redis_probe(client, required=True).look()["redis"]
        (found, *others) = look_at_redis(client)
    assert not check.ok
    assert check.detail == "is a Redis Cluster, which cannot be used"
    assert "not part of a cluster" in str(check.advice)
    assert (found.check, found.state) == ("redis", "failed")
    assert {other.state for other in others} == {"not checked"}


@dataclass
class Guarded:
    """A primary, its replica and the sentinels that watch them."""

    primary: RedisServer
    replica: RedisServer
    url: str


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    """A primary with a replica and three sentinels, which promote the replica a second after the primary died."""
    program = installed_redis_executable()
    password = ["--masterauth", PASSWORD]
    with (
        own_redis(free_port(), executable=program, password=PASSWORD, options=password) as primary,
        own_redis(free_port(), executable=program, password=PASSWORD, options=password) as replica,
        contextlib.ExitStack() as stack,
    ):
        replica.follow(primary.port)
        ports = [stack.enter_context(_sentinel(program, primary.port)) for _ in range(3)]
        for port in ports:
            with redis.Redis(port=port, decode_responses=True) as sentinel:
                eventually(functools.partial(_knows_all, sentinel))
        addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
        yield Guarded(primary, replica, f"redis+sentinel://:{PASSWORD}@{addresses}/{SERVICE}/0")


@contextlib.contextmanager
def _sentinel(program: str, primary: int) -> Iterator[int]:
    port = free_port()
    with short_directory() as directory:
        (directory / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n"
            f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, str(directory / "sentinel.conf"), "--sentinel"], stdout=log, stderr=log
            )
        try:
            yield port
        finally:
            process.kill()
            process.wait()


def _knows_all(sentinel: redis.Redis) -> bool:
    try:
        master: Any = sentinel.sentinel_master(SERVICE)
    except redis.RedisError:
        return False
    return bool(master["num-slaves"] == 1 and master["num-other-sentinels"] == 2)


def test_the_sentinels_lead_to_the_primary_also_after_it_died(guarded: Guarded) -> None:
    with create_redis(guarded.url) as client:
        wake(client)
        assert client.info("server")["tcp_port"] == guarded.primary.port
        # When it dies
        guarded.primary.kill()
        # Then the same client finds the next one
        eventually(lambda: _port_of(client) == guarded.replica.port, seconds=60)
        eventually(lambda: _is_written(client), seconds=60)
        wake(client)


def _port_of(client: redis.Redis) -> int | None:
    try:
        return int(client.info("server")["tcp_port"])
    except redis.ConnectionError:
        return None


def _is_written(client: redis.Redis) -> bool:
    try:
        return bool(client.set("key", 1))
    except redis.ConnectionError:
        return False


def test_the_url_of_sentinels_is_read_in_full() -> None:
    url = "rediss+sentinel://user:p%40ss@one,two:26380,[::1]:26381/main/2?ssl_ca_certs=/ca.pem"
    read = parse_sentinel_url(url)
    assert read.addresses == [("one", 26_379), ("two", 26_380), ("::1", 26_381)]
    assert read.service == "main"
    assert read.options == {"username": "user", "password": "p@ss", "db": 2, "ssl": True, "ssl_ca_certs": "/ca.pem"}
    assert read.tls == {"ssl": True, "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize("url", ["redis+sentinel://one:26379", "redis+sentinel:///main", "redis+sentinel://one:x/main"])
def test_a_url_of_sentinels_without_a_part_is_refused_in_one_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError, match=r"redis\+sentinel://\[user:password@\]host\[:port\],…/service"):
        load_settings()


def test_the_service_works_on_valkey_and_loses_nothing_when_it_is_killed(
    prepared: Path, fault_table: list[Line], tmp_path: Path
) -> None:
    with (
        own_postgres(like=prepared) as postgres,
        ground_of(postgres, postgres.url, fault_table, tmp_path, redis_executable=valkey_executable()) as ground,
        ground.load("Valkey killed and started again") as load,
    ):
        with redis.Redis.from_url(ground.redis.url) as client:
            assert client.info("server")["server_name"] == "valkey"
        ground.redis.kill()
        load.sender.wait_for(50)
        ground.redis.start()
        load.over()


def test_doctor_names_valkey_and_the_redis_that_it_replaces() -> None:
    with own_redis(executable=valkey_executable()) as server, create_redis(server.url) as client:
        (found,) = (diagnosis for diagnosis in look_at_redis(client) if diagnosis.check == "redis version")
        valkey, as_redis = (client.info("server")[name] for name in ("valkey_version", "redis_version"))
    assert found.state == "ok"
    assert found.detail == f"Valkey {valkey}, as Redis {as_redis}"
