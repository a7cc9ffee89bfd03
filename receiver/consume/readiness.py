"""Whether the brokers answer, and have the topics of the tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from receiver.consume.configuration import connection_properties
from runtime.readiness import Check, Probe
from runtime.settings import Settings

#: Longest wait for the brokers: less than a request of the readiness waits.
ANSWER_SECONDS = 1.0

KAFKA_ADVICE = "bring the brokers back or correct RECEIVER_KAFKA_BROKERS and its login; no restart is needed"

_TOPIC_ADVICE = "create it, correct kafka_topic, or let RECEIVER_KAFKA_USERNAME read it"


def kafka_cause(error: KafkaException | KafkaError) -> str:
    """Return what the client library says about an error, in one line."""
    found = error.args[0] if isinstance(error, KafkaException) else error
    return f"{found.name()}: {found.str()}" if isinstance(found, KafkaError) else str(found)


class KafkaWatch:
    """Asks the brokers for the topics, over connections of its own, and remembers what connections said last.

    Parameters:
        settings: the connection.
        topics: the topics that the brokers should have.
    """

    def __init__(self, settings: Settings, topics: Collection[str]) -> None:
        self._topics = sorted(topics)
        self._last_error: str | None = None
        properties = connection_properties(settings) | {"error_cb": self._note_error}
        self._admin = AdminClient(properties)

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = kafka_cause(error)

    def look(self, *, seconds: float = ANSWER_SECONDS) -> Check:
        """Check that a broker answers, and that every topic exists and may be read.

        Parameters:
            seconds: longest wait.
        """
        self._last_error = None
        try:
            known = self._admin.list_topics(timeout=seconds).topics
        except KafkaException as error:
            self._admin.poll(0)  # it delivers the errors of the connections, which say more
            return Check(False, f"no broker answers: {self._last_error or kafka_cause(error)}", KAFKA_ADVICE)
        missing = [name for name in self._topics if name not in known or known[name].error is not None]
        if missing:
            return Check(False, f"the brokers show no topic {', '.join(missing)}", _TOPIC_ADVICE)
        return Check(True, f"has {', '.join(self._topics)}")


def kafka_probe(watch: KafkaWatch, assigned: Callable[[], int]) -> Probe:
    """Return the probe that records can be consumed.

    Parameters:
        assigned: returns the number of partitions that the group has assigned to this process.
    """

    def look() -> Mapping[str, Check]:
        check = watch.look()
        detail = f"{check.detail}; {assigned():,} partitions are assigned to this process" if check.ok else check.detail
        return {"kafka": Check(check.ok, detail, check.advice)}

    return Probe("kafka", look, KAFKA_ADVICE)
