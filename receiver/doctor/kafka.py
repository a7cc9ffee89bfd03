"""The checks of Kafka, if it is configured: the brokers have the topics, and a consumer is alive."""

from __future__ import annotations

from collections.abc import Iterator

from ampeco.tenants import kafka_topics
from receiver.consume.configuration import require_kafka
from receiver.doctor.diagnosis import Diagnosis, attempt, from_check
from runtime.settings import Settings, SettingsError

_ADVICE = "correct the settings RECEIVER_KAFKA_…"

#: Longest wait for the brokers. It contains the first connection, with TLS and a login.
ANSWER_SECONDS = 10.0


def look_at_kafka(settings: Settings) -> Iterator[Diagnosis]:
    """Check that the brokers answer and have the topics."""
    try:
        require_kafka(settings)
    except SettingsError as error:
        yield Diagnosis("kafka", "failed", str(error), _ADVICE)
        return
    yield from attempt("kafka", lambda: [_look_at_topics(settings)], _ADVICE)


def _look_at_topics(settings: Settings) -> Diagnosis:
    # Imported here, because it needs the extra kafka, and most deployments are without.
    from receiver.consume.readiness import KafkaWatch

    watch = KafkaWatch(settings, kafka_topics(settings.tenants))
    return from_check("kafka", watch.look(seconds=ANSWER_SECONDS))
