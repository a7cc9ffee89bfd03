"""The command ``trigger``, which sends a sample notification to a receiver on this machine."""

from __future__ import annotations

import difflib
import ipaddress
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from ampeco.api.transport import tls_context
from ampeco.samples import sample, samples
from ampeco.signature import sign
from ampeco.tenants import Tenant
from receiver.commands.json_output import JsonOption, print_json
from receiver.environment import TenantOption, chosen_tenants
from receiver.probe import reached_at
from receiver.terminal import console
from runtime.errors import cause
from runtime.settings import Settings, SettingsError, load_settings
from runtime.sockets import address_of
from workers.monitoring.subscriptions import callback_url

#: The receiver answers within ``RECEIVER_COMMIT_TIMEOUT``, and some time for the rest.
_REST_SECONDS = 5.0


def trigger(
    notification: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE",
            help="A notification type, or the name of one of its samples.",
            autocompletion=lambda incomplete: [name for name in _names() if name.startswith(incomplete)],
        ),
    ] = None,
    tenant: TenantOption = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change a field, such as session.id=5; the value may be JSON. Repeatable.",
        ),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="Show the types and their samples.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a sample notification as AMPECO does, and send it to the receiver on this machine."""
    if (notification is None) != as_list:
        raise typer.BadParameter("give a type, or --list, and not both.")
    if notification is None:
        _print_samples(as_json=as_json)
        return
    body = _with_changes(_sample(notification), changes or [])
    settings = load_settings()
    configured = _only_tenant(settings, tenant)
    answer = _post(settings, configured, json.dumps(body).encode())
    if as_json:
        print_json(_document(answer, configured.name))
    else:
        _print(answer, configured.name)
    if answer.status_code != httpx.codes.ACCEPTED:
        raise typer.Exit(1)


def _names() -> list[str]:
    """Return the names of all types and samples."""
    return list(dict.fromkeys([*samples(), *(name for names in samples().values() for name in names)]))


def _sample(name: str) -> dict[str, Any]:
    """Return a sample.

    Raises:
        typer.BadParameter: there is none of that name.
    """
    try:
        return sample(name)
    except KeyError:
        close = difflib.get_close_matches(name, _names(), n=3)
        suggestion = f"did you mean {' or '.join(close)}?" if close else "--list shows all of them."
        raise typer.BadParameter(f"this release has no sample of {name}; {suggestion}", param_hint="TYPE") from None


def _with_changes(body: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Return a body with other values of some fields.

    Parameters:
        changes: each ``field=value``, with dots between the fields of a path.

    Raises:
        typer.BadParameter: a change has no value, or its path leads through a value that has no fields.
    """
    for change in changes:
        path, separator, value = change.partition("=")
        *parents, field = path.split(".")
        if not separator or not all((*parents, field)):
            raise typer.BadParameter(f"{change} is not FIELD=VALUE.", param_hint="--set")
        place = body
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"{path}: {parent} has no fields.", param_hint="--set")
            place = inner
        place[field] = _value(value)
    return body


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _only_tenant(settings: Settings, only: str | None) -> Tenant:
    names = chosen_tenants(settings, only)
    if len(names) > 1:
        raise typer.BadParameter(f"name one of {', '.join(names)}.", param_hint="--tenant")
    return settings.tenants[names[0]]


def _local_address(settings: Settings) -> str:
    """Return the address of the receiver on this machine.

    Raises:
        SettingsError: it listens on no loopback address, or on a port that is not known.
    """
    host = reached_at(settings.host)[0]
    if not _is_loopback(host):
        raise SettingsError(
            f"RECEIVER_HOST is {settings.host}, which is no loopback address: samples are only sent to a receiver on"
            " this machine, because they change its tenant's state."
        )
    if settings.port == 0:
        raise SettingsError("RECEIVER_PORT is 0, so the port of the receiver is not known: set it.")
    return address_of(host, settings.port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _post(settings: Settings, tenant: Tenant, body: bytes) -> httpx.Response:
    """Send a body as AMPECO does.

    Raises:
        SettingsError: no receiver answers.
    """
    url = callback_url(f"http://{_local_address(settings)}", tenant.name)
    timeout = settings.commit_timeout.total_seconds() + _REST_SECONDS
    headers = {
        "Content-Type": "application/json",
        "X-Signature": sign(body, tenant.api_token().get_secret_value(), tenant.encodings[0]),
        "X-Timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
    }
    try:
        # A proxy that the environment names would leave this machine.
        with httpx.Client(trust_env=False, timeout=timeout, verify=tls_context()) as client:
            return client.post(url, content=body, headers=headers)
    except httpx.TransportError as error:
        raise SettingsError(
            f"no receiver answers at {url}: {cause(error)}; start one with `ampeco-receiver up`, or correct"
            " RECEIVER_HOST and RECEIVER_PORT."
        ) from None


def _document(answer: httpx.Response, tenant: str) -> dict[str, Any]:
    try:
        content = dict(answer.json())
    except (TypeError, ValueError):
        content = {"message": "this is not the answer of a receiver"}
    return {
        "tenant": tenant,
        "status": answer.status_code,
        "notification_id": content.get("id"),
        "error": content.get("message"),
    }


def _print(answer: httpx.Response, tenant: str) -> None:
    result = _document(answer, tenant)
    if result["notification_id"] is None:
        line = f"{tenant}: the receiver answers {answer.status_code}: {result['error']}"
    else:
        line = (
            f"{tenant}: the receiver answers {answer.status_code}: notification {result['notification_id']} is stored."
            f" `ampeco-receiver tail --tenant {tenant}` shows what becomes of it."
        )
    console.print(line, highlight=False, soft_wrap=True)


def _print_samples(*, as_json: bool) -> None:
    if as_json:
        print_json({"types": [{"type": name, "samples": names} for name, names in samples().items()]})
        return
    table = Table("Type", "Samples")
    for name, names in samples().items():
        table.add_row(name, ", ".join(names) or "only its name: AMPECO does not document its payload")
    console.print(table)
