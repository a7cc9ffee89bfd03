"""``ampeco-simulator``: the command line."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console

from simulator.app import Simulator
from simulator.settings import Faults, TenantSettings

TOKEN_VARIABLE = "AMPECO_SIMULATOR_TOKEN"  # noqa: S105 - the name of a variable

console = Console()
errors = Console(stderr=True)

app = typer.Typer(
    name="ampeco-simulator",
    help="A stand-in AMPECO tenant: REST reads, subscriptions, signed notifications, faults on demand.",
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.callback(invoke_without_command=True)
def bare(context: typer.Context) -> None:
    """A stand-in AMPECO tenant. Without a command it runs with every option's default."""
    if context.invoked_subcommand is None:
        run()


@app.command()
def run(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8090,
    token: Annotated[
        str | None, typer.Option(help=f"API access token; left out, {TOKEN_VARIABLE}, else a random one.")
    ] = None,
    control_token: Annotated[
        str | None, typer.Option(help="Token that /control asks for; left out, it is open.")
    ] = None,
    tenant_id: Annotated[str, typer.Option(help="What X-Tenant says.")] = "demo",
    seed: Annotated[int, typer.Option(help="The same seed, size and start give the same history.")] = 1,
    speed: Annotated[float, typer.Option(min=0.1, help="Times real time; 1440 is a day in a minute.")] = 60,
    start: Annotated[str | None, typer.Option(help="The tenant's time at the start, ISO 8601; left out, now.")] = None,
    charge_points: Annotated[int, typer.Option(help="How many charge points.")] = 40,
    evses: Annotated[int, typer.Option(help="How many EVSEs.")] = 80,
    locations: Annotated[int, typer.Option(help="How many locations.")] = 12,
    sessions_a_day: Annotated[float, typer.Option(help="Vehicles that come to an EVSE in a day.")] = 6,
    signature_encoding: Annotated[str, typer.Option(help="hex or base64.")] = "hex",
    duplicate: Annotated[float, typer.Option(help="Share of notifications sent twice.")] = 0,
    drop: Annotated[float, typer.Option(help="Share of notifications never sent.")] = 0,
    reorder: Annotated[float, typer.Option(help="Share that later ones overtake.")] = 0,
    delay: Annotated[float, typer.Option(help="Share that comes up to an hour of tenant time late.")] = 0,
    api_429: Annotated[float, typer.Option("--api-429", help="Share of API answers that are 429.")] = 0,
    api_500: Annotated[float, typer.Option("--api-500", help="Share of API answers that are 500.")] = 0,
    api_latency_ms: Annotated[float, typer.Option(help="How much longer each API answer takes.")] = 0,
) -> None:
    """Run the tenant until Ctrl-C."""
    given = token or os.environ.get(TOKEN_VARIABLE)
    api_token = given or secrets.token_urlsafe(24)
    try:
        settings = TenantSettings.model_validate(
            {
                "seed": seed,
                "start": start or datetime.now(UTC).replace(microsecond=0),
                "charge_points": charge_points,
                "evses": evses,
                "locations": locations,
                "sessions_a_day": sessions_a_day,
                "tenant_id": tenant_id,
                "signature_encoding": signature_encoding,
            }
        )
        faults = Faults(
            duplicate=duplicate,
            drop=drop,
            reorder=reorder,
            delay=delay,
            api_429=api_429,
            api_500=api_500,
            api_latency_ms=api_latency_ms,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        errors.print(f"ampeco-simulator: {option}: {first['msg']}.", style="red", markup=False)
        raise typer.Exit(2) from None
    simulator = Simulator(settings, token=api_token, speed=speed, faults=faults, control_token=control_token)
    logging.basicConfig(level=logging.WARNING)
    _introduce(host, port, settings, None if given else api_token)
    uvicorn.run(
        simulator.guard,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        # Deliveries keep a connection of their own; nobody is owed a slow goodbye.
        timeout_graceful_shutdown=1,
    )


def _introduce(host: str, port: int, settings: TenantSettings, printed_token: str | None) -> None:
    token = f'token = "{printed_token}"' if printed_token else f'token_env = "{TOKEN_VARIABLE}"'
    console.print(
        f"A stand-in AMPECO tenant at http://{host}:{port}: {settings.charge_points} charge points,"
        f" {settings.evses} EVSEs, {settings.locations} locations; its clock starts at {settings.start.isoformat()}."
    )
    console.print("For tenants.toml:")
    console.print(
        f'[tenants.{settings.tenant_id}]\nbase_url = "http://{host}:{port}"\n{token}', markup=False, highlight=False
    )
    console.print("Ctrl-C stops it.")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(0)
