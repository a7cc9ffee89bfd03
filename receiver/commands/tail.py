"""The command ``tail``, which shows notifications as they are committed."""

from __future__ import annotations

import re
import signal
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ampeco.values import MAX_BIGINT
from receiver.commands.json_output import JsonOption, print_json_line
from receiver.commands.progress import until_asked_to_stop
from receiver.commands.times import time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import print_line
from storage.clock import clock
from storage.log.follow import Selection, Tail
from storage.log.scope import SEARCH_COLUMNS, LoggedNotification, NotificationState

#: How often the log is read.
POLL_SECONDS = 0.5

#: How much longer than ``RECEIVER_COMMIT_TIMEOUT`` a commit may take to become visible.
VISIBLE_AFTER = timedelta(seconds=5)

if TYPE_CHECKING:
    State = NotificationState
else:
    # Of an option that can be repeated, Typer takes the choices from an Enum alone.
    State = StrEnum("State", get_args(NotificationState))


def tail(
    tenant: TenantOption = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only this type; * and ? stand for any characters and for one. Repeatable."),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(metavar="KIND:ID", help="Only what names this session, evse or charge_point, such as session:5."),
    ] = None,
    states: Annotated[
        list[State] | None,
        typer.Option("--state", help="Only what comes to this state, when it does. Repeatable."),
    ] = None,
    since: Annotated[datetime | None, time_option("--since", "Received at this time or later; by default, now")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show notifications as they are committed, one in each line, until Ctrl-C."""
    entity_column = {} if entity is None else _entity(entity)
    with running("tail") as settings:
        require_migrated(settings)
        selection = Selection(
            tenants=tuple(chosen_tenants(settings, tenant)),
            type_pattern=_pattern(types) if types else None,
            states=frozenset(states or []),
            **entity_column,
        )
        with database(settings) as engine, until_asked_to_stop() as stop:
            log = Tail(selection, since or clock.now(), settings.commit_timeout + VISIBLE_AFTER)
            while not stop.wait(0 if log.is_behind else POLL_SECONDS):
                with engine.connect() as connection:
                    page = log.poll(connection)
                for notification in page:
                    if as_json:
                        print_json_line(asdict(notification))
                    else:
                        print_line(_line(notification))
    if stop.exit_code != 128 + signal.SIGINT:  # Ctrl-C is how it is meant to end
        raise typer.Exit(stop.exit_code)


def _entity(value: str) -> dict[str, int]:
    """Return the search column of an entity, with its value.

    Raises:
        typer.BadParameter: it is no kind and id, or the log has no search column for the kind.
    """
    kind, _, number = value.partition(":")
    if kind not in SEARCH_COLUMNS or not number.isdecimal() or len(number) > 19 or int(number) > MAX_BIGINT:
        kinds = ", ".join(SEARCH_COLUMNS)
        raise typer.BadParameter(
            f"{value} is not KIND:ID, with a kind of {kinds} and an id of at most {MAX_BIGINT}.", param_hint="--entity"
        )
    return {SEARCH_COLUMNS[kind]: int(number)}


def _pattern(globs: list[str]) -> str:
    """Return the regular expression for notification types that match one of these patterns."""
    wild = {"*": ".*", "?": "."}
    return "|".join(f"^{''.join(wild.get(letter) or re.escape(letter) for letter in glob)}$" for glob in globs)


def _line(notification: LoggedNotification) -> str:
    names = {kind: getattr(notification, column) for kind, column in SEARCH_COLUMNS.items()}
    parts = [
        f"{notification.received_at:%H:%M:%S.%f}"[:-3],
        notification.tenant,
        notification.notification_type or "(no type)",
        *(f"{kind}:{number}" for kind, number in names.items() if number is not None),
        notification.state,
        str(notification.notification_id),
    ]
    if notification.reason is not None:
        parts.append(f"({notification.reason})")
    return "  ".join(parts)
