"""The command ``alerts``: list incidents of which people are alerted, and try the webhook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

import typer

from receiver.commands.alert_tables import incident_table
from receiver.commands.json_output import JsonOption, print_json
from receiver.environment import database, require_migrated, running
from receiver.exits import fail
from receiver.terminal import console
from runtime.alerts import load_alerts
from storage.monitoring.alerts import Incident, recent_incidents
from workers.monitoring.webhook import Webhook, WebhookError, sample_message

#: How long a resolved incident is listed.
LISTED = timedelta(days=7)

app = typer.Typer(no_args_is_help=False, add_completion=False)


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    as_json: JsonOption = False,
) -> None:
    """List the open incidents and those of the last week; with `test`, send a test message to the webhook."""
    if context.invoked_subcommand is not None:
        return
    with running("alerts") as settings, database(settings) as engine:
        require_migrated(settings)
        with engine.connect() as connection:
            incidents = recent_incidents(connection, LISTED)
    if as_json:
        print_json({"incidents": [asdict(incident) for incident in incidents]})
    else:
        _print(incidents)


def _print(incidents: Sequence[Incident]) -> None:
    if incidents:
        console.print(incident_table(incidents))
    else:
        console.print("There is no incident, and there was none in the last week.")


@app.command()
def test() -> None:
    """Send a test message to the webhook, and print what it answers."""
    with running("alerts test") as settings:
        configured = load_alerts(settings)
    if configured is None:
        fail(f"alerts: {settings.tenants_file} has no table [alerts].")
    try:
        answer = Webhook(configured).send(sample_message(configured.console_url), reads_answer=True)
    except WebhookError as error:
        fail(f"the webhook did not accept the message: {error}", code=1)
    console.print(f"The webhook answered {answer}", highlight=False, soft_wrap=True)
