"""The settings of the service, from the environment, and the tenants from their file."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ampeco.faults import faults
from ampeco.tenants import Tenant, load_tenants
from storage.database_url import DatabaseUrlError, parse_database_url
from storage.inbox.retention import MIN_KEPT

#: Months that ended later are never dropped, which the function in the database checks, too: partitions are still made
#: for the last month.
MIN_METER_VALUES_KEPT = timedelta(days=62)

#: The schemes of a ``REDIS_URL`` that names sentinels.
SENTINEL_SCHEMES = ("redis+sentinel://", "rediss+sentinel://")

_REDIS_SCHEMES = ("redis://", "rediss://", "unix://", *SENTINEL_SCHEMES)

#: The settings whose variables have no prefix, because other programs know them by these names.
_UNPREFIXED = ("database_url", "database_url_file", "redis_url", "redis_url_file", "tenants_file")


def _seconds(value: object) -> object:
    """Convert a plain number to seconds; leave ISO 8601 durations as they are."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


#: A duration: a number of seconds, or ISO 8601 such as ``PT5M``.
Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it."""


class Settings(BaseSettings):
    """The settings of the service; each is an environment variable, and most begin with ``RECEIVER_``."""

    model_config = SettingsConfigDict(env_prefix="RECEIVER_", frozen=True, hide_input_in_errors=True)

    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL", "database_url"),
        repr=False,  # it may hold a password
        description="Postgres 15 or later; this and the file unset: an embedded one under the data directory",
    )
    database_url_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL_FILE", "database_url_file"),
        description="File that contains the URL of Postgres",
    )
    redis_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("REDIS_URL", "redis_url"),
        repr=False,
        description="Redis 6.2 or later; this and the file unset: an embedded one under the data directory",
    )
    redis_url_file: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("REDIS_URL_FILE", "redis_url_file"),
        description="File that contains the URL of Redis",
    )
    tenants_file: Path = Field(
        default=Path("tenants.toml"),
        validation_alias=AliasChoices("TENANTS_FILE", "tenants_file"),
        description="File with the tenants and the places of their tokens",
    )
    data_dir: Path = Field(default=Path(".local"), description="Where the embedded servers keep their data")

    host: str = Field(default="127.0.0.1", description="Address that the receiver listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="Port that the receiver listens on")
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL at which AMPECO reaches the receiver; callback URLs begin with it",
    )
    body_limit_bytes: int = Field(
        default=1024 * 1024, gt=0, description="Longest body that the receiver reads, bytes; longer ones get 413"
    )
    commit_timeout: Duration = Field(
        default=timedelta(seconds=5), gt=timedelta(0), description="Longest wait for a commit before a 503"
    )
    waiting_room: int = Field(
        default=2_000, gt=0, description="Most notifications in the waiting room of a process; beyond it, 503"
    )
    waiting_bytes: int = Field(
        default=64 * 1024 * 1024,
        gt=0,
        description="Most bytes of bodies in the waiting room, and as many that are being read; beyond it, 503",
    )
    connections: int = Field(
        default=4_096, gt=0, description="Most open connections; beyond it, those that are idle longest are closed"
    )
    request_timeout: Duration = Field(
        default=timedelta(seconds=20), gt=timedelta(0), description="Longest time that a client may take for a request"
    )
    keep_alive: Duration = Field(
        default=timedelta(seconds=620),
        ge=timedelta(seconds=1),
        description="How long a connection may stay open without a request",
    )

    drain: Duration = Field(
        default=timedelta(0),
        ge=timedelta(0),
        description="How long a receiver still accepts at a stop while /readyz answers 503",
    )
    kafka_brokers: str | None = Field(
        default=None,
        min_length=1,
        description="Brokers of Kafka to consume from, HOST:PORT with commas between them; unset: none",
    )
    kafka_group: str = Field(
        default="ampeco-receiver", min_length=1, description="Consumer group, which has the committed offsets"
    )
    kafka_security_protocol: Literal["SASL_SSL", "SSL", "SASL_PLAINTEXT", "PLAINTEXT"] = Field(
        default="SASL_SSL", description="Whether connections to the brokers use TLS (SSL) and authenticate (SASL)"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="How connections authenticate, if they do"
    )
    kafka_username: str | None = Field(default=None, min_length=1, description="User that authenticates by SASL")
    kafka_password: SecretStr | None = Field(default=None, description="Its password; set either this or the file")
    kafka_password_file: Path | None = Field(default=None, description="File that contains the password")
    kafka_ca_file: Path | None = Field(
        default=None, description="Certificates of the authorities that sign the brokers'; unset: those of the system"
    )
    kafka_certificate_file: Path | None = Field(
        default=None, description="Certificate with which connections authenticate by TLS"
    )
    kafka_key_file: Path | None = Field(default=None, description="Private key of this certificate")
    kafka_session_timeout: Duration = Field(
        default=timedelta(seconds=45),
        ge=timedelta(seconds=6),
        le=timedelta(minutes=30),
        description="How long after its last sign of life a consumer's partitions are given to others",
    )
    consume_metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the consumer's own /metrics and /readyz, on the admin address; unset: none",
    )

    admin_host: str = Field(default="127.0.0.1", description="Address of the admin endpoints")
    admin_port: int = Field(default=8081, ge=0, le=65535, description="Port of the admin endpoints; 0: any")
    admin_token: SecretStr | None = Field(
        default=None, description="Token that the admin endpoints require; this and the file unset: none"
    )
    admin_token_file: Path | None = Field(default=None, description="File that contains the admin token")

    console_host: str = Field(default="127.0.0.1", description="Address of the console")
    console_port: int = Field(default=8082, ge=0, le=65535, description="Port of the console; 0: any")

    apply_threads: int = Field(default=2, gt=0, le=16, description="Threads of a work process that apply")
    refresh_threads: int = Field(default=4, gt=0, le=64, description="Threads of a work process that read the API")
    sweep_after: Duration = Field(
        default=timedelta(seconds=30), gt=timedelta(0), description="Age at which the sweep wakes workers for a batch"
    )
    reconcile_interval: Duration = Field(
        default=timedelta(minutes=15),
        ge=timedelta(seconds=1),
        description="How often the entities that changed at AMPECO are compared with the stored ones",
    )
    keep_notifications: Duration | None = Field(
        default=None,
        ge=MIN_KEPT,
        description="Age at which days of the log are dropped, except failed notifications; unset: never",
    )
    keep_meter_values: Duration | None = Field(
        default=None,
        ge=MIN_METER_VALUES_KEPT,
        description="Age at which whole months of meter values are dropped; unset: never",
    )
    subscription_check_interval: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=1),
        description="How often each managed subscription is checked",
    )
    api_timeout: Duration = Field(
        default=timedelta(seconds=10), gt=timedelta(0), description="Longest wait for an answer of AMPECO's API"
    )
    shutdown_timeout: Duration = Field(
        default=timedelta(seconds=30), gt=timedelta(0), description="Longest wait for running work at a stop"
    )
    work_metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port of the worker's own /metrics and /readyz, on the admin address; unset: none",
    )

    tracing: bool = Field(
        default=False, description="Whether requests and messages are traced by OpenTelemetry; needs the extra otel"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="Form of the log; auto: json if the output is not a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Lowest level logged")

    @cached_property
    def tenants(self) -> dict[str, Tenant]:
        """The tenants by name.

        Raises:
            TenantsError: the file, or a token that it refers to, is missing or invalid.
        """
        return load_tenants(self.tenants_file)

    def admin_secret(self) -> SecretStr | None:
        """Return the admin token; None if none is configured.

        Raises:
            SettingsError: it is configured twice, is empty, or its file cannot be read.
        """
        return _secret(self.admin_token, self.admin_token_file, "RECEIVER_ADMIN_TOKEN", "token")

    def kafka_secret(self) -> SecretStr | None:
        """Return the password for Kafka; None if none is configured.

        Raises:
            SettingsError: it is configured twice, is empty, or its file cannot be read.
        """
        return _secret(self.kafka_password, self.kafka_password_file, "RECEIVER_KAFKA_PASSWORD", "password")

    def required_database_url(self) -> str:
        """Return the URL of the database.

        Raises:
            SettingsError: it is not set, and no embedded Postgres was started.
        """
        if self.database_url is None:
            raise SettingsError("DATABASE_URL is not set, and no embedded Postgres was started.")
        return self.database_url

    def required_redis_url(self) -> str:
        """Return the URL of Redis.

        Raises:
            SettingsError: it is not set, and no embedded Redis was started.
        """
        if self.redis_url is None:
            raise SettingsError("REDIS_URL is not set, and no embedded Redis was started.")
        return self.redis_url


def _secret(value: SecretStr | None, file: Path | None, setting: str, noun: str) -> SecretStr | None:
    """Return a secret from a setting or from its file; None if it is in neither."""
    if file is None:
        secret = value
    elif value is not None:
        raise SettingsError(f"{setting} and {setting}_FILE are both set: unset one.")
    else:
        setting = f"{setting}_FILE"
        secret = SecretStr(_read_secret(file, setting))
    if secret is None:
        return None
    if not secret.get_secret_value().strip():
        raise SettingsError(f"{setting} is empty: give a {noun}, or unset it.")
    return SecretStr(secret.get_secret_value().strip())


def _read_secret(path: Path, setting: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # a byte order mark is not part of the secret
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{setting}: {path} cannot be read: {reason}.") from None


def environment_name(field: str) -> str:
    """Return the environment variable of a setting."""
    return field.upper() if field in _UNPREFIXED else f"RECEIVER_{field.upper()}"


def load_settings() -> Settings:
    """Load the settings from the environment.

    Raises:
        SettingsError: the value of a variable is invalid.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = faults(error)[0]
        name = environment_name(first.field.partition(".")[0].lower().removeprefix("receiver_"))
        raise SettingsError(f"{name}: {first.message}.") from None
    settings = settings.model_copy(update=_urls_from_files(settings))
    _check_database_url(settings.database_url)
    _check_redis_url(settings.redis_url)
    settings.admin_secret()
    settings.kafka_secret()
    _check_tracing(settings.tracing)
    return settings


def _urls_from_files(settings: Settings) -> dict[str, str]:
    """Return the URLs that files contain, by their fields."""
    urls = {}
    for field in ("database_url", "redis_url"):
        path: Path | None = getattr(settings, f"{field}_file")
        if path is None:
            continue
        name, setting = environment_name(field), environment_name(f"{field}_file")
        if getattr(settings, field) is not None:
            raise SettingsError(f"{name} and {setting} are both set: unset one.")
        urls[field] = _read_secret(path, setting).strip()
        if not urls[field]:
            raise SettingsError(f"{setting} is empty: write the URL into {path}, or unset it.")
    return urls


def _check_database_url(url: str | None) -> None:
    try:
        if url is not None:
            parse_database_url(url)
    except DatabaseUrlError as error:
        raise SettingsError(str(error)) from None


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable that begins with ``RECEIVER_`` and is not a setting.

    Parameters:
        environment: the names and values of the environment; no value is shown.
    """
    prefix = "RECEIVER_"
    names = [name for field in Settings.model_fields if (name := environment_name(field)).startswith(prefix)]
    sentences = []
    for name in sorted(name for name in environment if name.upper().startswith(prefix)):
        if name.upper() in names:
            continue
        parts = [setting.removeprefix(prefix) for setting in names]
        close = difflib.get_close_matches(name.upper().removeprefix(prefix), parts, n=1)
        suggestion = f"; did you mean {prefix}{close[0]}?" if close else "."
        sentences.append(f"{name} is not a setting of this release and has no effect{suggestion}")
    return sentences


def _check_tracing(is_on: bool) -> None:
    try:
        if is_on:
            version("opentelemetry-exporter-otlp-proto-http")
    except PackageNotFoundError:
        message = "RECEIVER_TRACING needs packages that are missing: install `ampeco-receiver[otel]`, or unset it."
        raise SettingsError(message) from None


def _check_redis_url(url: str | None) -> None:
    if url is None:
        return
    if not url.startswith(_REDIS_SCHEMES):
        raise SettingsError(f"REDIS_URL must begin with {' or '.join(_REDIS_SCHEMES)}.")
    import redis  # not every command uses it

    try:
        if url.startswith(SENTINEL_SCHEMES):
            from runtime.sentinel_url import parse_sentinel_url  # only here: few processes need it

            parse_sentinel_url(url)
        else:
            pool = redis.ConnectionPool.from_url(url)
            pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError):
        # The library's message is not shown, because it may quote a part of the password.
        raise SettingsError(
            "REDIS_URL cannot be read: write redis://[user:password@]host[:port][/database], or"
            " redis+sentinel://[user:password@]host[:port],…/service[/database], with each of / @ : % ? #"
            " in the user and the password percent-encoded (%2F %40 %3A %25 %3F %23), and only options that redis-py"
            " knows."
        ) from None
