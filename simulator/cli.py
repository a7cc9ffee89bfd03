"""``ampeco-simulator``: the command line."""

from __future__ import annotations

import os
import re
import secrets
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from ampeco.faults import faults
from ampeco.signature import Encoding
from simulator.app import Simulator
from simulator.delivery.delivery import MAX_TRIES
from simulator.serve import Server, listen
from simulator.settings import HEADER_TEXT, NO_RECORD, Faults, TenantSettings
from simulator.status import configure_logging

TOKEN_VARIABLE = "AMPECO_SIMULATOR_TOKEN"  # noqa: S105 - the name of a variable

#: A day in a second: at a higher speed, a step of the clock would be more than a few hours.
MAX_SPEED = 86_400

console = Console(soft_wrap=True, markup=False, emoji=False)
errors = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)

app = typer.Typer(
    name="ampeco-simulator",
    help="A simulated AMPECO tenant: REST reads, subscriptions, signed notifications, faults on demand.",
    epilog="Without a command it is `ampeco-simulator run`, whose options `ampeco-simulator run --help` lists.",
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which include tokens
)

_FLEET, _SENDING, _API = "The tenant", "Faults of notifications", "Faults of the API"


def _share(text: str) -> Any:
    return typer.Option(min=0, max=1, metavar="SHARE", help=text, rich_help_panel=_SENDING)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"ampeco-simulator {version('ampeco-receiver')}", highlight=False)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def bare(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the release.")
    ] = False,
) -> None:
    """Run the simulator with every option's default if no command is given."""
    if context.invoked_subcommand is None:
        run()


@app.command()
def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8090,
    token: Annotated[
        str | None, typer.Option(help=f"API access token; the default is {TOKEN_VARIABLE}, else a random one.")
    ] = None,
    control_token: Annotated[
        str | None, typer.Option(help="Token that /control requires; without it, /control is open.")
    ] = None,
    signature_encoding: Annotated[Encoding, typer.Option(help="Form of X-Signature.")] = "hex",
    attempts: Annotated[int, typer.Option(min=1, help="Attempts at one delivery before it has failed.")] = MAX_TRIES,
    tenant_id: Annotated[str, typer.Option(help="Value of X-Tenant.", rich_help_panel=_FLEET)] = "demo",
    seed: Annotated[
        int, typer.Option(help="The same seed, sizes and start give the same history.", rich_help_panel=_FLEET)
    ] = 1,
    speed: Annotated[
        float,
        typer.Option(
            min=0.1, max=MAX_SPEED, help="Multiple of real time; 1440 is a day in a minute.", rich_help_panel=_FLEET
        ),
    ] = 60,
    start: Annotated[
        str | None,
        typer.Option(
            help="The tenant's time at the start, such as 2026-03-04T00:00:00Z; the default is now.",
            rich_help_panel=_FLEET,
        ),
    ] = None,
    charge_points: Annotated[int, typer.Option(help="Number of charge points.", rich_help_panel=_FLEET)] = 40,
    evses: Annotated[int, typer.Option(help="Number of EVSEs.", rich_help_panel=_FLEET)] = 80,
    locations: Annotated[int, typer.Option(help="Number of locations.", rich_help_panel=_FLEET)] = 12,
    foreign_evses: Annotated[
        int, typer.Option(min=0, help="Further EVSEs, of roaming partners.", rich_help_panel=_FLEET)
    ] = 0,
    sessions_a_day: Annotated[
        float, typer.Option(help="Vehicles that arrive at an EVSE in a day.", rich_help_panel=_FLEET)
    ] = 6,
    cdrs_a_day: Annotated[
        float, typer.Option(help="CDRs that roaming partners send in a day.", rich_help_panel=_FLEET)
    ] = 24,
    unlisted_cdrs: Annotated[float, _share("Share of CDRs that no listing ever shows.")] = 0,
    duplicate: Annotated[float, _share("Share of notifications that are sent twice.")] = 0,
    drop: Annotated[float, _share("Share of notifications that are never sent.")] = 0,
    reorder: Annotated[float, _share("Share of notifications that later ones overtake.")] = 0,
    reorder_seconds: Annotated[
        float, typer.Option(min=0, help="Longest delay for that, in tenant seconds.", rich_help_panel=_SENDING)
    ] = 60,
    delay: Annotated[float, _share("Share of notifications that are delayed.")] = 0,
    delay_min_seconds: Annotated[
        float, typer.Option(min=0, help="Shortest delay, in tenant seconds.", rich_help_panel=_SENDING)
    ] = 0,
    delay_max_seconds: Annotated[
        float, typer.Option(min=0, help="Longest delay, in tenant seconds.", rich_help_panel=_SENDING)
    ] = 3600,
    api_429: Annotated[
        float,
        typer.Option("--api-429", min=0, max=1, help="Share of answers that are 429.", rich_help_panel=_API),
    ] = 0,
    api_500: Annotated[
        float,
        typer.Option("--api-500", min=0, max=1, help="Share of answers that are 500.", rich_help_panel=_API),
    ] = 0,
    api_calls_a_minute: Annotated[
        int, typer.Option(min=0, help="Calls allowed in a real minute; 0 is no limit.", rich_help_panel=_API)
    ] = 0,
    api_latency_ms: Annotated[
        float, typer.Option(min=0, help="Additional time of each answer, in milliseconds.", rich_help_panel=_API)
    ] = 0,
    api_forbidden: Annotated[
        list[str] | None,
        typer.Option(help="A resource answered with 403, such as transactions; may be repeated.", rich_help_panel=_API),
    ] = None,
    api_not_offered: Annotated[
        list[str] | None,
        typer.Option(help="Resource that the tenant lacks the feature for (404).", rich_help_panel=_API),
    ] = None,
    api_unrouted: Annotated[
        list[str] | None,
        typer.Option(help="Resource or version without a path, such as users/v1.1 (404).", rich_help_panel=_API),
    ] = None,
    api_no_record: Annotated[
        str, typer.Option(help="Message of a 404 for an entity that does not exist.", rich_help_panel=_API)
    ] = NO_RECORD,
) -> None:
    """Run the simulator until Ctrl-C."""
    try:
        settings = TenantSettings.model_validate(
            {
                "seed": seed,
                "start": start or datetime.now(UTC).replace(microsecond=0),
                "charge_points": charge_points,
                "evses": evses,
                "locations": locations,
                "foreign_evses": foreign_evses,
                "sessions_a_day": sessions_a_day,
                "cdrs_a_day": cdrs_a_day,
                "unlisted_cdrs": unlisted_cdrs,
                "tenant_id": tenant_id,
                "signature_encoding": signature_encoding,
            }
        )
        faults = Faults(
            duplicate=duplicate,
            drop=drop,
            reorder=reorder,
            reorder_seconds=reorder_seconds,
            delay=delay,
            delay_min_seconds=delay_min_seconds,
            delay_max_seconds=delay_max_seconds,
            api_429=api_429,
            api_500=api_500,
            api_calls_a_minute=api_calls_a_minute,
            api_latency_ms=api_latency_ms,
            api_forbidden=frozenset(api_forbidden or ()),
            api_not_offered=frozenset(api_not_offered or ()),
            api_unrouted=frozenset(api_unrouted or ()),
            api_no_record=api_no_record,
        )
    except ValidationError as error:
        raise _refused(_first(error)) from None
    api_token, origin = _token(token)
    for name, text in ((f"--token or {TOKEN_VARIABLE}", api_token), ("--control-token", control_token)):
        if text is not None and not re.fullmatch(HEADER_TEXT, text):
            raise _refused(f"{name}: a token consists of printable ASCII characters without spaces.")
    try:
        listener = listen(host, port)
    except OSError as error:
        raise _refused(f"--host {host} --port {port}: {error.strerror}; choose another --port.") from None
    configure_logging()
    server = Server(listener, console)
    simulator = Simulator(
        settings,
        token=api_token,
        speed=speed,
        faults=faults,
        control_token=control_token,
        max_tries=attempts,
        when_broken=server.broken,
    )
    address = f"[{host}]" if ":" in host else host
    _introduce(f"http://{address}:{listener.getsockname()[1]}", settings, speed, origin)
    server.run(simulator)


def _token(option: str | None) -> tuple[str, str]:
    """Return the API token, and the line of ``tenants.toml`` for it, which does not show a given token."""
    if option:
        return option, 'token = "…"  # the value of --token'
    if variable := os.environ.get(TOKEN_VARIABLE):
        return variable, f'token_env = "{TOKEN_VARIABLE}"'
    generated = secrets.token_urlsafe(24)
    return generated, f'token = "{generated}"'


def _introduce(url: str, settings: TenantSettings, speed: float, origin: str) -> None:
    name = settings.tenant_id if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", settings.tenant_id) else "demo"
    console.print(
        f"A simulated AMPECO tenant at {url}: {settings.charge_points} charge points, {settings.evses} EVSEs,"
        f" {settings.locations} locations.\n"
        f"Its clock starts at {settings.start.isoformat()} and runs {speed:g} times as fast as yours.\n\n"
        f'For tenants.toml:\n\n[tenants.{name}]\nbase_url = "{url}"\n{origin}\n\n'
        "Ctrl-C stops it.",
        markup=False,
        highlight=False,
    )


def _first(error: ValidationError) -> str:
    """Return the text of the first error, with the option that it is about."""
    first = faults(error)[0]
    option = f"--{first.field.partition('.')[0].replace('_', '-')}: " if first.field else ""
    return f"{option}{first.message}."


def _refused(message: str) -> typer.Exit:
    errors.print(f"ampeco-simulator: {message}", style="red", highlight=False)
    return typer.Exit(2)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(0)
