"""The tenants of this deployment: the address of each one's API, and the tokens that sign its notifications."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, model_validator

from ampeco.faults import first_fault
from ampeco.groups import GROUPS, REQUIRED_GROUPS, Group
from ampeco.notifications.catalogue import DEFAULT_SUBSCRIPTION, lookup
from ampeco.signature import Encoding, SigningToken

#: UTF-8 in every locale; editors on Windows put a byte order mark before it.
_ENCODING = "utf-8-sig"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


#: Notification types are words; a type with a space is a mistake in the file.
NotificationName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,99}$")]

#: What Kafka allows as the name of a topic.
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class TenantsError(Exception):
    """``tenants.toml`` cannot be used; the message is one sentence that names the setting."""


class Tenant(BaseModel):
    """One tenant of AMPECO.

    Exactly one of ``token``, ``token_env`` and ``token_file`` gives the token. It signs the
    notifications of the subscriptions that it created. ``signing_tokens`` (or
    ``signing_tokens_file``, with one in each line) lists further tokens that are accepted, so that a
    token can be rotated without a gap. ``notifications`` may contain types that this release does
    not know: they are kept in the log. ``keep_further_notifications`` leaves types that somebody
    added to the subscription at AMPECO. ``include_timestamp_in_signature`` makes AMPECO sign
    ``X-Timestamp`` as well; see ``ampeco.signature``. ``mirror`` lists the groups of kinds that are read from the API
    and kept current; see ``ampeco.groups``. ``roaming`` also syncs the charge points and
    EVSEs of roaming partners, which may be hundreds of thousands. ``consumption_stats`` reads the
    consumption of finished sessions whose meter values never arrived. ``calls_per_minute`` and
    ``calls_per_day`` limit the API calls of all processes together. AMPECO allows 1,000 a minute
    and 100,000 a day by default, and can change both for a tenant; other programs of the operator
    may need a part of them. ``kafka_topic`` is the topic to which AMPECO delivers the tenant's notifications, if it
    delivers them through Kafka. ``kafka_require_signature`` refuses records whose signature does not verify; without
    it, everyone who may write to the topic is trusted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base_url: HttpUrl
    token: SecretStr | None = None
    token_env: str | None = None
    token_file: Path | None = None
    signing_tokens: tuple[SecretStr, ...] = ()
    signing_tokens_file: Path | None = None
    signature_encoding: Literal["auto", "hex", "base64"] = "auto"
    notifications: tuple[NotificationName, ...] = Field(default=DEFAULT_SUBSCRIPTION, min_length=1)
    mirror: tuple[Group, ...] = GROUPS
    roaming: bool = False
    consumption_stats: bool = True
    keep_further_notifications: bool = False
    include_timestamp_in_signature: bool = False
    calls_per_minute: int = Field(default=300, ge=6, le=6000)
    calls_per_day: int = Field(default=80_000, ge=1_000, le=100_000_000)
    kafka_topic: TopicName | None = None
    kafka_require_signature: bool = True

    @model_validator(mode="after")
    def _check(self) -> Tenant:
        require_one_place(self, "token")
        refused = [
            name for name in self.notifications if (known := lookup(name)) is not None and not known.subscribable
        ]
        if refused:
            raise ValueError(f"notifications contains types that AMPECO does not offer: {', '.join(refused)}")
        missing = [group for group in REQUIRED_GROUPS if group not in self.mirror]
        if missing:
            raise ValueError(f"mirror lacks {' and '.join(missing)}, which every tenant needs")
        return self

    @property
    def unknown_notifications(self) -> tuple[str, ...]:
        """The configured types that the catalogue of this release lacks."""
        return tuple(name for name in self.notifications if lookup(name) is None)

    @property
    def url(self) -> str:
        """The base URL without a slash at the end."""
        return str(self.base_url).rstrip("/")

    @property
    def encodings(self) -> tuple[Encoding, ...]:
        """The signature encodings to accept."""
        return ("hex", "base64") if self.signature_encoding == "auto" else (self.signature_encoding,)

    def api_token(self) -> SecretStr:
        """Return the token for the API.

        Raises:
            TenantsError: the variable or file that should contain it does not.
        """
        secret, setting = secret_of(self, "token", f"tenants.{self.name}")
        if not secret:
            raise TenantsError(f"{setting} is empty: an API access token is needed.")
        return SecretStr(secret)

    def signing_keys(self) -> tuple[SigningToken, ...]:
        """Return every token that may have signed a notification, the API's own first."""
        secrets = [self.api_token().get_secret_value()]
        secrets += [token.get_secret_value() for token in self.signing_tokens]
        if self.signing_tokens_file is not None:
            setting = f"tenants.{self.name}.signing_tokens_file"
            secrets += read_secret_file(self.signing_tokens_file, setting).splitlines()
        unique = dict.fromkeys(secret.strip() for secret in secrets if secret.strip())
        return tuple(SigningToken.from_secret(secret) for secret in unique)


def require_one_place(model: BaseModel, name: str) -> None:
    """Check that a secret is given in exactly one place: as a value, in a variable or in a file.

    Parameters:
        model: has the fields ``name``, ``name_env`` and ``name_file``.

    Raises:
        ValueError: none of them is given, or several are.
    """
    names = [name, f"{name}_env", f"{name}_file"]
    given = [each for each in names if getattr(model, each) is not None]
    if len(given) != 1:
        choice = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"needs exactly one of {choice}, and has {' and '.join(given) or 'none of them'}")


def secret_of(model: BaseModel, name: str, table: str) -> tuple[str, str]:
    """Return a secret without the whitespace around it, and the setting that gives it, for errors.

    Parameters:
        model: passed :func:`require_one_place`.
        table: the table of the tenants file that the model is read from.

    Raises:
        TenantsError: the file that should contain it cannot be read.
    """
    value: SecretStr | None = getattr(model, name)
    variable: str | None = getattr(model, f"{name}_env")
    file: Path | None = getattr(model, f"{name}_file")
    if value is not None:
        return value.get_secret_value().strip(), f"{table}.{name}"
    if variable is not None:
        return os.environ.get(variable, "").strip(), f"{table}.{name}_env ({variable})"
    assert file is not None
    return read_secret_file(file, f"{table}.{name}_file").strip(), f"{table}.{name}_file ({file})"


def read_secret_file(path: Path, setting: str) -> str:
    """Return the text of a file with a secret.

    Parameters:
        setting: the setting that names the file, for the error.

    Raises:
        TenantsError: the file cannot be read.
    """
    try:
        return path.read_text(encoding=_ENCODING)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TenantsError(f"{setting}: {path} cannot be read: {reason}.") from None


def load_tenants(path: Path) -> dict[str, Tenant]:
    """Read ``tenants.toml``: a table ``[tenants.NAME]`` for each tenant.

    Raises:
        TenantsError: the file is missing or wrong, or a token cannot be found.
    """
    tables = read_tenants_file(path).get("tenants")
    if not isinstance(tables, dict) or not tables:
        raise TenantsError(f"TENANTS_FILE: {path} names no tenant; it needs a table [tenants.NAME].")
    with errors_of(path):
        tenants = {name: _tenant(name, table) for name, table in tables.items()}
        kafka_topics(tenants)
    return tenants


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Begin the message of a :class:`TenantsError` in the block with the path of the file that has the setting."""
    try:
        yield
    except TenantsError as error:
        raise TenantsError(f"{path}: {error}") from None


def kafka_topics(tenants: Mapping[str, Tenant]) -> dict[str, str]:
    """Return the name of the tenant of each topic; tenants without one have none.

    Raises:
        TenantsError: two tenants have the same topic.
    """
    topics: dict[str, str] = {}
    for tenant in tenants.values():
        if tenant.kafka_topic is not None and topics.setdefault(tenant.kafka_topic, tenant.name) != tenant.name:
            first = topics[tenant.kafka_topic]
            raise TenantsError(
                f"tenants.{tenant.name}.kafka_topic: it is the topic of {first}, too; each needs its own."
            )
    return topics


def read_tenants_file(path: Path) -> dict[str, Any]:
    """Return the tables of ``tenants.toml``.

    Raises:
        TenantsError: the file is missing, or is not TOML in UTF-8.
    """
    try:
        return tomllib.loads(path.read_text(encoding=_ENCODING))
    except FileNotFoundError:
        raise TenantsError(f"TENANTS_FILE: {path} does not exist; copy tenants.example.toml to begin.") from None
    except OSError as error:
        raise TenantsError(f"TENANTS_FILE: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TenantsError(f"TENANTS_FILE: {path} is not UTF-8: see line {line}.") from None
    except tomllib.TOMLDecodeError as error:
        raise TenantsError(f"TENANTS_FILE: {path} is not valid TOML: {error}.") from None


def _tenant(name: str, table: object) -> Tenant:
    if not _NAME.fullmatch(name):
        raise TenantsError(f"tenants.{name}: a name is lower-case letters, digits, - and _, at most 63 of them.")
    if not isinstance(table, dict):
        raise TenantsError(f"tenants.{name} must be a table.")
    try:
        tenant = Tenant(name=name, **{key: value for key, value in table.items() if key != "name"})
    except ValidationError as error:
        # Only the first fault, and without the value, which may be a token.
        raise TenantsError(first_fault(error, f"tenants.{name}", Tenant.model_fields.keys() - {"name"})) from None
    tenant.signing_keys()
    return tenant
