"""What is in Kafka ends in the log, whatever dies: a consumer, Postgres, or the claim to a partition."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.kafka import Kafka, bodies, give_topic, kafka_environment, metric, running_kafka
from tests.support.processes import Process, Processes, end, processes
from tests.support.servers import PostgresServer, own_postgres, own_redis
from tests.support.service import eventually, free_port

pytestmark = pytest.mark.timeout(300)


@dataclass
class Scene:
    """A Kafka, a Postgres, and the consumers between them."""

    kafka: Kafka
    postgres: PostgresServer
    service: Processes

    def consume(self, **environment: str) -> Process:
        """Start a consumer."""
        return self.service.start("-m", "receiver", "consume", **environment)

    def logged(self) -> Counter[bytes]:
        """Return how often the log has each body."""
        with self.postgres.connect() as connection:
            rows = connection.execute("SELECT encode(body, 'escape') FROM ingest.notification").fetchall()
        return Counter(str(body).encode() for (body,) in rows)

    def connections(self) -> int:
        """Return the number of connections over which notifications are committed."""
        with self.postgres.connect() as connection:
            statement = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'ampeco-receiver accept'"
            return len(connection.execute(statement).fetchall())

    def said(self, event: str) -> int:
        """Return how often the consumers logged an event."""
        return self.service.log.read_text().count(f'"event": "{event}"')

    def all_committed(self) -> bool:
        """Return whether the group has committed the offset of every record."""
        return sum(self.kafka.committed()) == self.kafka.sent


@pytest.fixture
def scene(prepared: Path, tmp_path: Path) -> Iterator[Scene]:
    with (
        running_kafka() as kafka,
        own_postgres(like=prepared) as postgres,
        own_redis() as redis_server,
        processes(postgres.url, redis_server.url, tmp_path, **kafka_environment(kafka)) as service,
    ):
        give_topic(tmp_path / "tenants.toml")
        yield Scene(kafka, postgres, service)


def test_a_killed_consumer_loses_no_record_and_repeats_only_the_last(scene: Scene) -> None:
    sent = bodies(3_000)
    scene.kafka.send(*sent)
    consumer = scene.consume()
    eventually(scene.logged, seconds=60)
    end(consumer)
    eventually(lambda: not scene.connections())  # Postgres finishes the commit that the consumer did not live to see
    before = scene.logged()
    scene.kafka.send(*bodies(500, first=3_000))
    second = scene.consume()
    eventually(lambda: len(scene.logged()) == 3_500, seconds=60)
    eventually(scene.all_committed)
    logged = scene.logged()
    assert set(logged) == {*sent, *bodies(500, first=3_000)}
    # No record twice that the first consumer had not committed already
    assert all(logged[body] == 1 for body in logged if body not in before)
    assert end(second, signal.SIGTERM) == 0


def test_no_offset_is_committed_before_its_record_is_in_postgres(scene: Scene) -> None:
    scene.kafka.send(*bodies(10))
    consumer = scene.consume()
    eventually(scene.all_committed, seconds=60)
    scene.postgres.pause()
    scene.kafka.send(*bodies(200, first=10))
    eventually(lambda: scene.said("not ready"), seconds=60)
    assert sum(scene.kafka.committed()) == 10
    end(consumer)
    scene.postgres.resume()
    assert sum(scene.kafka.committed()) == 10
    scene.consume()
    eventually(lambda: len(scene.logged()) == 210, seconds=60)
    eventually(scene.all_committed)


def test_consumers_write_the_heartbeat_if_every_tenant_has_a_topic(scene: Scene, tmp_path: Path) -> None:
    def beats() -> int:
        with scene.postgres.connect() as connection:
            return len(connection.execute("SELECT 1 FROM ingest.uptime").fetchall())

    # Given two tenants, one of which is delivered by requests
    consumer = scene.consume()
    scene.kafka.send(*bodies(1))
    eventually(lambda: len(scene.logged()) == 1, seconds=60)
    assert end(consumer, signal.SIGTERM) == 0
    assert beats() == 0  # no process takes the requests
    # When that one is delivered over Kafka, too
    give_topic(tmp_path / "tenants.toml", "other", topic="ampeco-other")
    scene.consume()
    eventually(beats, seconds=60)


def test_a_consumer_that_stops_in_order_commits_what_it_wrote_and_repeats_nothing(scene: Scene) -> None:
    scene.kafka.send(*bodies(2_000))
    consumer = scene.consume()
    eventually(scene.logged, seconds=60)
    assert end(consumer, signal.SIGTERM) == 0
    scene.consume()
    eventually(lambda: len(scene.logged()) == 2_000, seconds=60)
    eventually(scene.all_committed)
    assert scene.logged().total() == 2_000
    assert "records not committed in time" not in scene.service.log.read_text()


def test_consumers_share_the_partitions_and_a_change_of_hands_loses_and_repeats_nothing(scene: Scene) -> None:
    scene.kafka.send(*bodies(500))
    first = scene.consume()
    eventually(lambda: len(scene.logged()) == 500, seconds=60)
    # From when another joins until both have their partitions, the mock broker takes no offset.
    eventually(scene.all_committed, seconds=60)
    scene.consume()
    eventually(lambda: scene.said("partitions revoked"), seconds=60)
    scene.kafka.send(*bodies(2_000, first=500))
    eventually(lambda: len(scene.logged()) == 2_500, seconds=60)
    # The first gives up two partitions, and joins again for the second to get them. Until then the broker takes no offset.
    second_has_two = re.compile(r'"partitions": \["[^]]+\], "assigned": 2, "event": "partitions assigned"')
    eventually(lambda: second_has_two.search(scene.service.log.read_text()), seconds=60)
    eventually(scene.all_committed, seconds=60)
    scene.kafka.send(*bodies(500, first=2_500))
    assert end(first, signal.SIGTERM) == 0
    eventually(lambda: len(scene.logged()) == 3_000, seconds=60)
    eventually(scene.all_committed)
    assert scene.logged().total() == 3_000


def test_the_partitions_of_a_killed_consumer_go_to_the_other(scene: Scene) -> None:
    first = scene.consume()
    eventually(lambda: scene.said("partitions assigned"), seconds=60)
    scene.consume()
    eventually(lambda: scene.said("partitions revoked"), seconds=60)
    scene.kafka.send(*bodies(2_000))
    eventually(scene.logged, seconds=60)
    end(first)
    scene.kafka.send(*bodies(1_000, first=2_000))
    eventually(lambda: len(scene.logged()) == 3_000, seconds=90)
    eventually(scene.all_committed, seconds=60)


def test_without_postgres_the_consumer_keeps_its_partitions_and_says_why_it_is_not_ready(scene: Scene) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    scene.consume(RECEIVER_CONSUME_METRICS_PORT=str(port), RECEIVER_COMMIT_TIMEOUT="1", RECEIVER_WAITING_ROOM="300")
    scene.kafka.send(*bodies(100))
    eventually(scene.all_committed, seconds=60)
    assert httpx.get(f"{url}/readyz", timeout=10).json()["status"] == "ready"
    scene.postgres.stop()
    scene.kafka.send(*bodies(5_000, first=100))
    eventually(lambda: metric(url, "ampeco_kafka_paused") == 1, seconds=60)
    answer = eventually(lambda: (got := httpx.get(f"{url}/readyz", timeout=10)).status_code == 503 and got, seconds=60)
    checks = answer.json()["checks"]
    assert checks["kafka"]["ok"]
    assert not checks["postgres"]["ok"]
    # The lag says what waits, though nothing is fetched
    eventually(lambda: metric(url, "ampeco_kafka_lag_records", tenant="demo") == 5_000, seconds=60)
    scene.kafka.send(*bodies(100, first=5_100))
    eventually(lambda: metric(url, "ampeco_kafka_lag_records", tenant="demo") == 5_100, seconds=60)
    assert sum(scene.kafka.committed()) == 100
    # For longer than the session of a consumer that does not poll
    eventually(lambda: scene.service.log.read_text().count('"event": "commit failed"') >= 8, seconds=60)
    scene.postgres.start()
    eventually(lambda: len(scene.logged()) == 5_200, seconds=90)
    eventually(scene.all_committed)
    eventually(lambda: metric(url, "ampeco_kafka_lag_records", tenant="demo") == 0, seconds=60)
    assert metric(url, "ampeco_kafka_paused") == 0
    assert not scene.said("partitions revoked") + scene.said("partitions lost")
    eventually(lambda: httpx.get(f"{url}/readyz", timeout=10).is_success)


def test_a_full_waiting_room_pauses_the_partitions_until_there_is_room(scene: Scene) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    scene.kafka.send(*bodies(10))
    consumer = scene.consume(RECEIVER_CONSUME_METRICS_PORT=str(port), RECEIVER_WAITING_ROOM="20")
    eventually(scene.all_committed, seconds=60)
    scene.postgres.pause()
    scene.kafka.send(*bodies(3_000, first=10))
    eventually(lambda: metric(url, "ampeco_kafka_paused") == 1, seconds=60)
    eventually(lambda: (metric(url, "ampeco_notifications_waiting") or 0) > 0)
    scene.postgres.resume()
    eventually(lambda: len(scene.logged()) == 3_010, seconds=90)
    eventually(scene.all_committed)
    eventually(lambda: metric(url, "ampeco_kafka_paused") == 0)
    assert end(consumer, signal.SIGTERM) == 0
