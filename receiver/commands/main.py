"""The command line ``ampeco-receiver``."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from migrations import head
from receiver.commands.group import CommandGroup
from receiver.exits import ending_on_sigterm, guarded_output

app = typer.Typer(
    name="ampeco-receiver",
    cls=CommandGroup,
    help="Receives AMPECO notifications and keeps the tenants' charging state in Postgres.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Run the command line; print an error that an operator can correct as one sentence, with exit code 2."""
    with ending_on_sigterm(), guarded_output():
        try:
            app()
        except Exception as error:  # noqa: BLE001 - the last resort: a traceback does not help an operator
            from receiver.commands.failures import report  # which imports what raises the errors

            report(error)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ampeco-receiver {version('ampeco-receiver')}, tables of revision {head()}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the release and the revision of the tables that it needs.",
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""
