"""The command ``tail``, which shows notifications as they are committed."""

from __future__ import annotations

import re
import signal
from dataclasses import asdict
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from receiver.commands.json_output import JsonOption, print_json_line
from receiver.commands.progress import until_asked_to_stop
from receiver.commands.times import time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import print_line
from storage.clock import clock
from storage.inbox.tail import Followed, Selection, Tail

#: How often the log is read.
POLL_SECONDS = 0.5

#: How much longer than ``RECEIVER_COMMIT_TIMEOUT`` a commit may take to become visible.
VISIBLE_AFTER = timedelta(seconds=5)

#: The kinds whose ids are search columns of the log.
_KINDS = ("session", "evse", "charge_point")


class State(StrEnum):
    """The states of a notification."""

    PENDING = "pending"
    APPLIED = "applied"
    IGNORED = "ignored"
    FAILED = "failed"


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
            states=frozenset(state.value for state in states or []),
            **entity_column,
        )
        with database(settings) as engine, until_asked_to_stop() as stop:
            log = Tail(selection, since or clock.now(), settings.commit_timeout + VISIBLE_AFTER)
            while not stop.wait(0 if log.is_behind else POLL_SECONDS):
                with engine.connect() as connection:
                    page = log.poll(connection)
                for followed in page:
                    if as_json:
                        print_json_line(asdict(followed))
                    else:
                        print_line(_line(followed))
    if stop.exit_code != 128 + signal.SIGINT:  # Ctrl-C is how it is meant to end
        raise typer.Exit(stop.exit_code)


def _entity(value: str) -> dict[str, int]:
    """Return the search column of an entity, with its value.

    Raises:
        typer.BadParameter: it is no kind and id, or the log has no search column for the kind.
    """
    kind, _, number = value.partition(":")
    if kind not in _KINDS or not number.isdecimal():
        raise typer.BadParameter(f"{value} is not KIND:ID, with a kind of {', '.join(_KINDS)}.", param_hint="--entity")
    return {f"{kind}_id": int(number)}


def _pattern(globs: list[str]) -> str:
    """Return the regular expression for notification types that match one of these patterns."""
    wild = {"*": ".*", "?": "."}
    return "|".join(f"^{''.join(wild.get(letter) or re.escape(letter) for letter in glob)}$" for glob in globs)


def _line(followed: Followed) -> str:
    names = {kind: getattr(followed, f"{kind}_id") for kind in _KINDS}
    parts = [
        f"{followed.received_at:%H:%M:%S.%f}"[:-3],
        followed.tenant,
        followed.notification_type or "(no type)",
        *(f"{kind}:{number}" for kind, number in names.items() if number is not None),
        followed.state,
        str(followed.notification_id),
    ]
    if followed.reason is not None:
        parts.append(f"({followed.reason})")
    return "  ".join(parts)
