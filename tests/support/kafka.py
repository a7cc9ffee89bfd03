"""A Kafka for a test: the mock cluster of librdkafka, which real clients of any process reach over TCP.

It has brokers, topics, partitions, consumer groups and committed offsets, as the protocol defines them, but no TLS and
no SASL.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: there is no Kafka")

from confluent_kafka import Consumer, Producer, TopicPartition

from ampeco.signature import sign
from tests.support.service import TOKEN, eventually

TOPIC = "ampeco-demo"
GROUP = "ampeco-receiver"

#: How many partitions the mock cluster gives a topic.
PARTITIONS = 4


@dataclass
class Kafka:
    """A cluster that lives as long as this object, with one topic.

    Attributes:
        brokers: the addresses of its brokers.
        sent: how many records were sent.
    """

    brokers: str = field(init=False)
    sent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 2})
        found = self._producer.list_topics(timeout=30).brokers.values()
        self.brokers = ",".join(f"{broker.host}:{broker.port}" for broker in found)
        self.create_topic(TOPIC)

    def create_topic(self, name: str) -> None:
        """Create a topic, as the mock cluster does when a producer asks for one, and wait until it has a leader."""
        eventually(lambda: len(self._producer.list_topics(name, timeout=30).topics[name].partitions) == PARTITIONS)

    def send(
        self,
        *values: bytes | None,
        topic: str = TOPIC,
        token: str | None = TOKEN,
        headers: Mapping[str, str | bytes | None] | None = None,
        partition: int = -1,
    ) -> None:
        """Send records, and wait until the broker has them.

        Parameters:
            token: signs them; None leaves the signature out.
            headers: further headers.
            partition: -1 for any.
        """
        for value in values:
            own: dict[str, str | bytes | None] = (
                {} if token is None or value is None else {"X-Signature": sign(value, token)}
            )
            self._producer.produce(
                topic, value=value, headers=list((own | dict(headers or {})).items()), partition=partition
            )
        assert self._producer.flush(60) == 0
        self.sent += len(values)

    def committed(self, *, topic: str = TOPIC, group: str = GROUP) -> list[int]:
        """Return the committed offset of each partition; 0 if there is none."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        try:
            parts = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            return [max(part.offset, 0) for part in consumer.committed(parts, timeout=30)]
        finally:
            consumer.close()

    def close(self) -> None:
        """End the cluster."""
        self._producer.close()


def kafka_environment(kafka: Kafka, **changes: str) -> dict[str, str]:
    """Return the settings of a consumer of this cluster."""
    return {
        "RECEIVER_KAFKA_BROKERS": kafka.brokers,
        "RECEIVER_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "RECEIVER_KAFKA_SESSION_TIMEOUT": "6",
    } | changes


def bodies(count: int, *, first: int = 0) -> Sequence[bytes]:
    """Return bodies that differ from each other."""
    return [b'{"notification":"example.of.kafka","number":%d}' % number for number in range(first, first + count)]


def give_topic(tenants_file: Path, tenant: str = "demo", *, topic: str = TOPIC, **options: Any) -> None:
    """Add a topic to a tenant of a tenants file, with further options."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in ({"kafka_topic": topic} | options).items()]
    heading = f"[tenants.{tenant}]"
    tenants_file.write_text(tenants_file.read_text().replace(heading, "\n".join([heading, *lines])))


@contextlib.contextmanager
def running_kafka() -> Iterator[Kafka]:
    """Run a cluster during the block."""
    kafka = Kafka()
    try:
        yield kafka
    finally:
        kafka.close()


def samples_of(url: str, name: str) -> list[Sample]:
    """Return the samples of a metric of a consumer; none if it does not answer."""
    try:
        page = httpx.get(f"{url}/metrics", timeout=10).text
    except httpx.TransportError:
        return []
    return [
        sample for family in text_string_to_metric_families(page) for sample in family.samples if sample.name == name
    ]


def metric(url: str, name: str, **labels: str) -> float | None:
    """Return the value of a metric of a consumer; None if it is not shown, or the consumer does not answer."""
    return next((sample.value for sample in samples_of(url, name) if sample.labels == labels), None)
