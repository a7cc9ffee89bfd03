"""What the settings say about Kafka is what the client library gets; what is missing is named, without a secret."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import receiver.consume.configuration
from receiver.consume.configuration import connection_properties, consumer_properties, require_kafka
from receiver.processes.service import service_children
from runtime.settings import Settings, SettingsError, load_settings
from tests.support.service import write_tenants

LOGIN: dict[str, Any] = {
    "kafka_brokers": "k1:9093,k2:9093",
    "kafka_username": "ours",
    "kafka_password": SecretStr("s3cret"),
}


def settings(directory: Path, *, topic: bool = True, **values: Any) -> Settings:
    path = write_tenants(directory)
    if topic:
        path.write_text(path.read_text().replace("[tenants.demo]", '[tenants.demo]\nkafka_topic = "t"'))
    return Settings(tenants_file=path, **values)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kafka_brokers": None}, "RECEIVER_KAFKA_BROKERS is not set"),
        ({"topic": False}, "has a kafka_topic"),
        ({"kafka_username": None}, "RECEIVER_KAFKA_USERNAME must be set"),
        ({"kafka_password": None}, "RECEIVER_KAFKA_PASSWORD must be set"),
        ({"kafka_ca_file": Path("/nowhere/ca.pem")}, "RECEIVER_KAFKA_CA_FILE: /nowhere/ca.pem is not a file"),
        ({"kafka_key_file": Path("/nowhere/key.pem")}, "RECEIVER_KAFKA_KEY_FILE: /nowhere/key.pem is not a file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_missing_is_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as raised:
        require_kafka(settings(tmp_path, **(LOGIN | changes)))
    assert sentence in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_without_the_extra_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(receiver.consume.configuration, "version", missing)
    with pytest.raises(SettingsError, match=r"ampeco-receiver\[kafka\]"):
        require_kafka(settings(tmp_path, **LOGIN))


def test_connections_use_tls_and_a_login_by_default(tmp_path: Path) -> None:
    found = connection_properties(settings(tmp_path, **LOGIN))
    assert found["bootstrap.servers"] == "k1:9093,k2:9093"
    assert found["security.protocol"] == "SASL_SSL"
    assert (found["sasl.mechanism"], found["sasl.username"], found["sasl.password"]) == ("PLAIN", "ours", "s3cret")
    plain = connection_properties(settings(tmp_path, kafka_brokers="k:9092", kafka_security_protocol="PLAINTEXT"))
    assert not [name for name in plain if name.startswith(("sasl", "ssl"))]


def test_files_and_the_mechanism_reach_the_library(tmp_path: Path) -> None:
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).touch()
    chosen = settings(
        tmp_path,
        **LOGIN,
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_ca_file=tmp_path / "ca.pem",
        kafka_certificate_file=tmp_path / "own.pem",
        kafka_key_file=tmp_path / "own.key",
    )
    require_kafka(chosen)
    found = consumer_properties(chosen)
    assert found["sasl.mechanism"] == "SCRAM-SHA-512"
    assert found["ssl.ca.location"] == str(tmp_path / "ca.pem")
    assert found["ssl.certificate.location"] == str(tmp_path / "own.pem")
    assert found["ssl.key.location"] == str(tmp_path / "own.key")


def test_the_client_library_knows_every_property(tmp_path: Path) -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        chosen = settings(tmp_path, **LOGIN, kafka_sasl_mechanism=mechanism)
        confluent_kafka.Consumer(consumer_properties(chosen)).close()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RECEIVER_KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("RECEIVER_KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("RECEIVER_KAFKA_SESSION_TIMEOUT", "5"),
        ("RECEIVER_KAFKA_PASSWORD_FILE", "/nowhere/password"),
        ("RECEIVER_KAFKA_PASSWORD", " "),
    ],
)
def test_a_wrong_value_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()


def test_up_consumes_only_if_kafka_is_configured(tmp_path: Path) -> None:
    assert "consume" not in [child.name for child in service_children(settings(tmp_path))]
    names = [child.name for child in service_children(settings(tmp_path, **LOGIN))]
    assert names[:2] == ["serve", "consume"]
