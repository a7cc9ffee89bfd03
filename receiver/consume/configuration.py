"""How the connections to Kafka are made, from the settings. Nothing here imports the client library."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ampeco.tenants import kafka_topics
from runtime.settings import Settings, SettingsError

#: The name of our connections in the brokers' logs and metrics.
CLIENT_ID = "ampeco-receiver"

#: Longest wait between two attempts to connect to a broker. The library's default is ten seconds.
MAX_RECONNECT_MS = 2_000

#: How soon a topic or a partition that was created later is noticed. The library's default is five minutes.
METADATA_REFRESH_MS = 10_000

#: Only what is critical, in the form of the library; our own log says the rest.
_LOG_LEVEL = 2


def require_kafka(settings: Settings) -> None:
    """Check that Kafka can be consumed with these settings, without connecting.

    Raises:
        SettingsError: a setting, a package or every topic is missing.
    """
    if settings.kafka_brokers is None:
        raise SettingsError("RECEIVER_KAFKA_BROKERS is not set: name the brokers to consume from.")
    if not kafka_topics(settings.tenants):
        raise SettingsError(f"TENANTS_FILE: no tenant of {settings.tenants_file} has a kafka_topic.")
    try:
        version("confluent-kafka")
    except PackageNotFoundError:
        raise SettingsError(
            "Kafka needs packages that are missing: install `ampeco-receiver[kafka]`, or unset RECEIVER_KAFKA_BROKERS."
        ) from None
    if settings.kafka_security_protocol.startswith("SASL"):
        missing = [
            name
            for name, value in (
                ("RECEIVER_KAFKA_USERNAME", settings.kafka_username),
                ("RECEIVER_KAFKA_PASSWORD", settings.kafka_secret()),
            )
            if value is None
        ]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} must be set, because RECEIVER_KAFKA_SECURITY_PROTOCOL is"
                f" {settings.kafka_security_protocol}."
            )
    for setting, path in (
        ("RECEIVER_KAFKA_CA_FILE", settings.kafka_ca_file),
        ("RECEIVER_KAFKA_CERTIFICATE_FILE", settings.kafka_certificate_file),
        ("RECEIVER_KAFKA_KEY_FILE", settings.kafka_key_file),
    ):
        if path is not None and not path.is_file():
            raise SettingsError(f"{setting}: {path} is not a file.")


def connection_properties(settings: Settings) -> dict[str, Any]:
    """Return the properties of librdkafka for a connection to the brokers, with the password."""
    properties: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_brokers,
        "client.id": CLIENT_ID,
        "security.protocol": settings.kafka_security_protocol,
        "reconnect.backoff.max.ms": MAX_RECONNECT_MS,
        "log_level": _LOG_LEVEL,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_secret()
        properties["sasl.mechanism"] = settings.kafka_sasl_mechanism
        properties["sasl.username"] = settings.kafka_username
        properties["sasl.password"] = None if password is None else password.get_secret_value()
    for name, path in (
        ("ssl.ca.location", settings.kafka_ca_file),
        ("ssl.certificate.location", settings.kafka_certificate_file),
        ("ssl.key.location", settings.kafka_key_file),
    ):
        if path is not None:
            properties[name] = str(path)
    return properties


def consumer_properties(settings: Settings) -> dict[str, Any]:
    """Return the properties of librdkafka for a consumer of the group."""
    return connection_properties(settings) | {
        "group.id": settings.kafka_group,
        "session.timeout.ms": int(settings.kafka_session_timeout.total_seconds() * 1000),
        # An offset is stored after the commit in Postgres, and every second the library commits what is stored.
        "enable.auto.offset.store": False,
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 1_000,
        # A group without offsets reads what the topic still has: a repeated record is harmless, a lost one is not.
        "auto.offset.reset": "earliest",
        # Only the partitions that move to another consumer stop, and not all of them.
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": METADATA_REFRESH_MS,
        "queued.max.messages.kbytes": max(settings.waiting_bytes // 1024, 1),
    }
