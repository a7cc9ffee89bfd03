"""The commands by their names, and the group that imports the module of a command when the command is called.

All modules together take a second to import, which `--help`, the completion of the shell and each command would cost.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: Where each command is, as ``module:name`` within this package, and its help: its docstring's first paragraph.
COMMANDS = {
    "up": (
        "up:up",
        "Run everything in this terminal: embedded servers if needed, migrations, receiver, workers. Ctrl-C stops it.",
    ),
    "serve": (
        "serve:serve",
        "Run the receiver: verify, commit and acknowledge notifications.",
    ),
    "consume": (
        "consume:consume",
        "Consume AMPECO's notifications from Kafka: commit each record, then its offset.",
    ),
    "work": (
        "work:work",
        "Run the workers: apply accepted notifications, refresh requested entities, reconcile with AMPECO.",
    ),
    "console": (
        "console:show_console",
        "Run the console: web pages that show what the service does and knows, and from which operators act.",
    ),
    "demo": (
        "demo:demo",
        "Run the simulator and the whole service, and show a live view of the database.",
    ),
    "status": (
        "status:status",
        "Show the progress of notifications and reads, the processes, and each tenant's subscription and traffic.",
    ),
    "check": (
        "check:check",
        "Check the settings, the tenants file and what they name, and call no server; `doctor` checks the rest.",
    ),
    "doctor": (
        "doctor:doctor",
        "Check settings, servers, processes and tenants, and show what to do; exit code 1 if something failed.",
    ),
    "migrate": (
        "migrate:migrate",
        "Migrate the database to the tables of this release, and make partitions ahead of time.",
    ),
    "subscribe": (
        "subscribe:subscribe",
        "Make sure that each tenant has exactly one subscription for this receiver, and monitor it from now on.",
    ),
    "unsubscribe": (
        "subscribe:unsubscribe",
        "Remove every subscription of each tenant for this receiver.",
    ),
    "subscriptions": (
        "subscribe:subscriptions",
        "List every subscription of each tenant, including those for other receivers.",
    ),
    "resend": (
        "resend:resend",
        "Ask AMPECO to send undelivered notifications again; at most once in 15 minutes for each subscription.",
    ),
    "backfill": (
        "reconcile:backfill",
        "Read everything from AMPECO, or what changed since a time. Run it again to continue where it stopped.",
    ),
    "reconcile": (
        "reconcile:reconcile",
        "Compare what changed at AMPECO since the last sync run with what is stored, and heal the differences.",
    ),
    "completeness": (
        "reconcile:completeness",
        "Show how complete the database is: entities that were missing or stale, how late they were, what was healed.",
    ),
    "chaos": (
        "chaos:chaos",
        "Run the simulator with faults against a deployment, and check that nothing was lost; exit code 1 if it was.",
    ),
    "tail": (
        "tail:tail",
        "Show notifications as they are committed, one in each line, until Ctrl-C.",
    ),
    "trigger": (
        "trigger:trigger",
        "Sign a sample notification as AMPECO does, and send it to the receiver on this machine.",
    ),
    "replay": (
        "replay:replay_log",
        "Apply stored notifications again, as after an upgrade. Doing it twice, or beside the workers, is harmless.",
    ),
    "rebuild": (
        "rebuild:rebuild",
        "Compute the state from the log again, show the differences to the live state, and repair them on request.",
    ),
    "derive": (
        "derive:derive",
        "Bring the tables of the schema analytics up to date now; the service may run at the same time.",
    ),
    "export": (
        "export:export",
        "Export the tables of the schema analytics to files, continuing after the last export.",
    ),
    "exclude": (
        "exclude:exclude",
        "Enter a time in which outages of an EVSE, a charge point or a location do not count; withdraw or list"
        " entries.",
    ),
    "erase": (
        "erase:erase",
        "Remove a person from the log, the state and its history for good; only the owner of the tables may.",
    ),
    "alerts": (
        "alerts:app",
        "List the open incidents and those of the last week; with `test`, send a test message to the webhook.",
    ),
}


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Keep the garbage collector away from what is imported in the block, then and later: it stays for good.

    Looking for garbage in it takes a third of the time of a start. What is garbage all the same is under a megabyte.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class LazyCommand(TyperCommand):
    """A command of which the name and the help are known, and nothing more until it is called."""

    def __init__(self, name: str, place: str, help_text: str) -> None:
        super().__init__(name, help=help_text)
        self._place = place

    def load(self) -> Any:
        """Import the module, and return the command itself."""
        module, _, name = self._place.partition(":")
        with importing():
            command = getattr(import_module(f"{__package__}.{module}"), name)
        if not isinstance(command, typer.Typer):
            function, command = command, typer.Typer(add_completion=False)
            command.command()(function)
        loaded = typer.main.get_command(command)
        loaded.name = self.name
        return loaded

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **options: Any) -> Any:
        """Parse the arguments with the command itself, which the context then leads to."""
        for position, argument in enumerate(args, start=1):
            if not argument.isascii() and argument.encode(errors="ignore").decode() != argument:
                raise typer.BadParameter(f"argument {position} of {self.name} is not UTF-8.")  # Postgres has no other
        try:
            return self.load().make_context(info_name, args, *rest, **options)
        except typer.BadParameter as error:
            error.message = _in_words(error.message)
            raise


#: What pydantic says of a wrong value, which Typer asks, and what we say.
_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer.*": "this is no whole number",
    "Input should be a valid number.*": "this is no number",
    "Input should be a valid UUID.*": "this is no UUID",
    "Input should be greater than or equal to (.*)": r"this must be at least \1",
    "Input should be less than or equal to (.*)": r"this must be at most \1",
}


def _in_words(message: str) -> str:
    for theirs, ours in _WORDS.items():
        if (match := re.match(theirs, message)) is not None:
            return match.expand(ours) + message[match.end() :]
    return message


class CommandGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (place, help_text) in COMMANDS.items():
            self.add_command(LazyCommand(name, place, help_text))
