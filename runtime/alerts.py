"""The settings of alerts to people: the table ``[alerts]`` of ``tenants.toml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from ampeco.faults import first_fault
from ampeco.tenants import TenantsError, errors_of, read_tenants_file, require_one_place, secret_of
from runtime.settings import Settings
from storage.monitoring.alerts import KINDS, Kind

Format = Literal["json", "slack"]


class AlertTable(BaseModel):
    """The table ``[alerts]``.

    Exactly one of ``url``, ``url_env`` and ``url_file`` gives the URL of the webhook. It is a secret, because it is all
    that is needed to write to the channel. ``console_url`` is the address of the console, to which messages link.
    ``tenants`` and ``kinds`` limit the incidents of which people are alerted; by default, they are all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr | None = None
    url_env: str | None = None
    url_file: Path | None = None
    format: Format = "json"
    console_url: AnyHttpUrl | None = None
    tenants: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> AlertTable:
        require_one_place(self, "url")
        return self

    def webhook_url(self) -> SecretStr:
        """Return the URL of the webhook.

        Raises:
            TenantsError: the variable or file that should contain it does not, or it is no URL.
        """
        secret, setting = secret_of(self, "url", "alerts")
        if not _is_url(secret):
            raise TenantsError(f"{setting} must be a URL that begins with https:// or http://.")
        return SecretStr(secret)


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in ("https", "http") and bool(url.host)


@dataclass(frozen=True, slots=True)
class Alerts:
    """The settings of alerts.

    Attributes:
        url: the URL of the webhook.
        console_url: the address of the console, without a slash at its end; None if messages contain no link.
        tenants: the watched tenants.
        kinds: the watched kinds of incidents.
    """

    url: SecretStr
    format: Format
    console_url: str | None
    tenants: tuple[str, ...]
    kinds: tuple[Kind, ...]


def load_alerts(settings: Settings) -> Alerts | None:
    """Return the settings of alerts; None if none are configured.

    Raises:
        TenantsError: the table is wrong, or the URL of the webhook cannot be found.
    """
    table = read_tenants_file(settings.tenants_file).get("alerts")
    if table is None:
        return None
    tenants = settings.tenants
    with errors_of(settings.tenants_file):
        configured = _validated(table)
        unknown = sorted(set(configured.tenants or ()) - tenants.keys())
        if unknown:
            names = ", ".join(sorted(tenants))
            raise TenantsError(f"alerts.tenants: {unknown[0]} is no tenant of the file; it has {names}.")
        url = configured.webhook_url()
    return Alerts(
        url,
        configured.format,
        None if configured.console_url is None else str(configured.console_url).rstrip("/"),
        tuple(configured.tenants or tenants),
        configured.kinds,
    )


def _validated(table: Any) -> AlertTable:
    if not isinstance(table, dict):
        raise TenantsError("alerts must be a table.")
    try:
        return AlertTable(**table)
    except ValidationError as error:
        # Only the first fault, and without the value, which may be the URL.
        raise TenantsError(first_fault(error, "alerts", AlertTable.model_fields.keys())) from None
