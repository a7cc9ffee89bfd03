"""``consume`` does with a record what the accept path does with a request; what it cannot commit it counts and names."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from storage.database import create_database_engine
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.kafka import (
    Kafka,
    bodies,
    give_topic,
    kafka_environment,
    metric,
    running_kafka,
    samples_of,
)
from tests.support.processes import Processes, end, processes
from tests.support.service import OTHER_TOKEN, TOKEN, eventually, free_port, write_tenants
from workers.apply.apply import apply_open_batches

LIMIT = 2_000


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with running_kafka() as kafka:
        yield kafka


@dataclass
class Consuming:
    """A consumer of a topic of its own."""

    kafka: Kafka
    topic: str
    service: Processes
    database_url: str
    url: str

    def send(self, *values: bytes | None, **options: Any) -> None:
        """Send records to the topic."""
        self.kafka.send(*values, topic=self.topic, **options)

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        engine = create_database_engine(self.database_url, application_name="tests", pool_size=1)
        try:
            with engine.connect() as connection:
                return [dict(row._mapping) for row in connection.execute(text(statement))]
        finally:
            engine.dispose()

    def log(self) -> list[dict[str, Any]]:
        """Return the notifications in the log, by the offset of their records."""
        return self.query("SELECT * FROM ingest.notification ORDER BY headers ->> 'Kafka-Record'")

    def done(self, count: int) -> None:
        """Wait until the offsets of so many records are committed."""
        eventually(lambda: sum(self.kafka.committed(topic=self.topic, group=self.topic)) == count, seconds=60)

    def rejected(self, reason: str) -> float | None:
        """Return how many records were rejected for a reason."""
        return metric(self.url, "ampeco_kafka_records_rejected_total", tenant="demo", reason=reason)

    def rejections(self) -> list[dict[str, Any]]:
        """Return the lines of the process's log about rejected records."""
        lines = map(json.loads, self.service.log.read_text().splitlines())
        return [line for line in lines if line["event"] == "record rejected"]


@contextlib.contextmanager
def consuming(
    kafka: Kafka, topic: str, database_url: str, redis_url: str, directory: Path, **options: Any
) -> Iterator[Consuming]:
    """Run a consumer of a topic, and wait until it has partitions; ``options`` are those of the tenant."""
    kafka.create_topic(topic)
    port = free_port()
    environment = kafka_environment(
        kafka,
        RECEIVER_CONSUME_METRICS_PORT=str(port),
        RECEIVER_BODY_LIMIT_BYTES=str(LIMIT),
        RECEIVER_KAFKA_GROUP=topic,
    )
    with processes(database_url, redis_url, directory, **environment) as service:
        give_topic(directory / "tenants.toml", topic=topic, **options)
        service.start("-m", "receiver", "consume")
        yield Consuming(kafka, topic, service, database_url, f"http://127.0.0.1:{port}")


@pytest.fixture
def consumer(
    kafka: Kafka, database_url: str, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Consuming]:
    options = getattr(request, "param", {})
    with consuming(kafka, tmp_path.name, database_url, redis_url, tmp_path, **options) as consumer:
        yield consumer


def test_a_record_is_logged_as_a_request_is_with_its_headers_and_position(consumer: Consuming) -> None:
    body = json.dumps(sample("HardwareStatusNotification.faulted")).encode()
    consumer.send(
        body,
        partition=2,
        headers={"X-Timestamp": "2026-03-04T07:04:01.215334Z", "x-tenant": b"42", "X-Webhook-Id": None, "Other": "1"},
    )
    consumer.send(body, partition=2, token=OTHER_TOKEN)
    consumer.done(2)
    (row,) = consumer.log()
    assert (row["tenant"], row["body"], row["notification_type"]) == ("demo", body, "HardwareStatusNotification")
    assert row["headers"] == {
        "X-Timestamp": "2026-03-04T07:04:01.215334Z",
        "X-Tenant": "42",
        "Kafka-Record": f"{consumer.topic}/2/0",
    }
    assert row["signature_encoding"] == "hex"
    assert metric(consumer.url, "ampeco_notifications_accepted_total", tenant="demo") == 1


def test_what_cannot_be_committed_blocks_no_partition_and_is_counted_and_named(consumer: Consuming) -> None:
    # All in one partition, each before the next good one
    good = bodies(6)
    consumer.send(good[0], partition=0)
    consumer.send(None, partition=0)
    consumer.send(good[1], partition=0)
    consumer.send(b"x" * (LIMIT + 1), partition=0)
    consumer.send(good[2], partition=0)
    consumer.send(b"unsigned", partition=0, token=None)
    consumer.send(b"signed by another", partition=0, token=OTHER_TOKEN)
    consumer.send(good[3], partition=0)
    consumer.send(b"not json", partition=0)
    consumer.send(b"", partition=0)
    consumer.send(b"\xff\x00", partition=0, headers={"X-Webhook-Type": b"\x00\xff"})
    consumer.send(good[4], partition=0)
    consumer.done(12)
    # As the accept path: what is signed is logged, whatever it is
    logged = [bytes(row["body"]) for row in consumer.log()]
    assert sorted(logged) == sorted([*good[:5], b"not json", b"", b"\xff\x00"])
    assert {name: consumer.rejected(name) for name in ("empty", "too_large", "unauthorized", "failed")} == {
        "empty": 1,
        "too_large": 1,
        "unauthorized": 2,
        "failed": 0,
    }
    named = [(line["topic"], line["partition"], line["offset"], line["reason"]) for line in consumer.rejections()]
    assert sorted(named) == [
        (consumer.topic, 0, 1, "empty"),
        (consumer.topic, 0, 3, "too_large"),
        (consumer.topic, 0, 5, "unauthorized"),
        (consumer.topic, 0, 6, "unauthorized"),
    ]
    # Neither a body nor a token is in the process's log
    assert "signed by another" not in (said := consumer.service.log.read_text())
    assert TOKEN not in said


@pytest.mark.parametrize("consumer", [{"kafka_require_signature": False}], indirect=True)
def test_a_tenant_whose_topic_is_trusted_needs_no_signature_and_the_log_says_which_had_none(
    consumer: Consuming,
) -> None:
    consumer.send(b"{}", token=None)
    consumer.send(b"[]", token=OTHER_TOKEN)
    consumer.send(b"1")
    consumer.done(3)
    forms = {bytes(row["body"]): row["signature_encoding"] for row in consumer.log()}
    assert forms == {b"{}": "unsigned", b"[]": "unsigned", b"1": "hex"}
    assert {row["token_id"] == "unsigned" for row in consumer.log() if row["body"] != b"1"} == {True}


def test_records_that_come_again_change_nothing(consumer: Consuming) -> None:
    body = json.dumps(sample("HardwareStatusNotification.faulted")).encode()
    update = json.dumps(sample("SessionUpdateNotification.active")).encode()
    consumer.send(body, update, partition=0)
    consumer.done(2)
    engine = create_database_engine(consumer.database_url, application_name="tests", pool_size=1)
    statements = ("SELECT * FROM charging.evse", "SELECT * FROM charging.session")
    try:
        apply_open_batches(engine)
        before = [consumer.query(statement) for statement in statements]
        history = consumer.query("SELECT * FROM charging.evse_status_observation")
        assert all(before)
        assert history
        consumer.send(body, update, body, partition=0)
        consumer.done(5)
        apply_open_batches(engine)
    finally:
        engine.dispose()
    assert [consumer.query(statement) for statement in statements] == before
    assert consumer.query("SELECT * FROM charging.evse_status_observation") == history
    assert {row["state"] for row in consumer.query("SELECT state FROM ingest.notification_state")} == {"applied"}


def test_every_series_whose_labels_are_known_exists_before_the_first_record(consumer: Consuming) -> None:
    eventually(lambda: metric(consumer.url, "ampeco_kafka_partitions", tenant="demo") == 4, seconds=60)
    reasons = {sample.labels["reason"] for sample in samples_of(consumer.url, "ampeco_kafka_records_rejected_total")}
    assert reasons == {"unauthorized", "too_large", "empty", "failed"}
    assert metric(consumer.url, "ampeco_notifications_accepted_total", tenant="demo") == 0
    assert metric(consumer.url, "ampeco_kafka_lag_records", tenant="demo") == 0
    assert metric(consumer.url, "ampeco_kafka_paused") == 0
    # The tenant without a topic has none
    assert metric(consumer.url, "ampeco_kafka_lag_records", tenant="other") is None
    document = httpx.get(f"{consumer.url}/readyz", timeout=10).json()
    assert document["status"] == "ready"
    assert "4 partitions" in document["checks"]["kafka"]["detail"]
    (process,) = consumer.query("SELECT name, problem FROM ingest.process WHERE name = 'consume'")
    assert process["problem"] is None


def test_a_topic_that_is_missing_is_named_and_stops_no_other(
    kafka: Kafka, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with consuming(kafka, tmp_path.name, database_url, redis_url, tmp_path) as consumer:
        give_topic(tmp_path / "tenants.toml", "other", topic="not-made-yet")
        (first,) = consumer.service.started
        first.kill()
        consumer.service.start("-m", "receiver", "consume")
        consumer.send(b"{}")
        consumer.done(1)
        check = httpx.get(f"{consumer.url}/readyz", timeout=10).json()["checks"]["kafka"]
        assert (check["ok"], check["detail"]) == (False, "the brokers show no topic not-made-yet")
        # It is consumed once it is there
        kafka.create_topic("not-made-yet")
        kafka.send(b"[]", topic="not-made-yet", token="another-tenants-token")
        eventually(lambda: sum(kafka.committed(topic="not-made-yet", group=consumer.topic)) == 1, seconds=60)
        assert {row["tenant"] for row in consumer.log()} == {"demo", "other"}


def test_brokers_that_are_gone_are_named_by_readiness_and_by_doctor(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with running_kafka() as own, consuming(own, tmp_path.name, database_url, redis_url, tmp_path) as consumer:
        consumer.send(b"{}")
        consumer.done(1)
        assert diagnoses(consumer)["kafka"]["state"] == "ok"
        assert diagnoses(consumer)["consumers"]["state"] == "ok"
        own.close()
        answer = eventually(
            lambda: (found := httpx.get(f"{consumer.url}/readyz", timeout=10)).status_code == 503 and found, seconds=60
        )
        assert "no broker answers" in answer.json()["checks"]["kafka"]["detail"]
        assert "RECEIVER_KAFKA_BROKERS" in answer.json()["checks"]["kafka"]["advice"]
        failed = diagnoses(consumer)["kafka"]
        assert (failed["state"], "no broker answers" in failed["detail"]) == ("failed", True)
        # The process waits for the brokers, and ends in order without them
        (process,) = consumer.service.started
        assert process.poll() is None
        assert end(process, signal.SIGTERM) == 0


def test_a_consumer_without_what_it_needs_says_what_in_one_sentence(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "TENANTS_FILE": str(write_tenants(tmp_path))}
    done = run(tmp_path, "consume", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == (
        "ampeco-receiver: RECEIVER_KAFKA_BROKERS is not set: name the brokers to consume from."
    )
    (tmp_path / "empty.pem").touch()
    give_topic(tmp_path / "tenants.toml")
    settings = {
        "RECEIVER_KAFKA_BROKERS": "127.0.0.1:1",
        "RECEIVER_KAFKA_SECURITY_PROTOCOL": "SSL",
        "RECEIVER_KAFKA_CA_FILE": str(tmp_path / "empty.pem"),
    }
    done = run(tmp_path, "consume", **environment, **settings)
    assert done.returncode == 2
    assert "RECEIVER_KAFKA_" in done.stderr
    assert "Traceback" not in done.stderr


def diagnoses(consumer: Consuming) -> dict[str, dict[str, Any]]:
    """Return what ``doctor`` finds, by the names of its checks."""
    done = run(consumer.service.log.parent, "doctor", "--json", **consumer.service.environment)
    return {diagnosis["check"]: diagnosis for diagnosis in json.loads(done.stdout)["checks"]}
