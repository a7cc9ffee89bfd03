"""The command ``exclude``, with which operators enter what does not count as an outage."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import Engine

from receiver.commands.ids import id_option
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.times import time_option
from receiver.environment import chosen_tenants, database, require_migrated, running
from receiver.terminal import console
from storage.clock import clock
from storage.operator_exclusions import (
    SUBJECTS,
    Entry,
    ExclusionError,
    ExclusionField,
    NewExclusion,
    Subject,
    add_exclusion,
    list_exclusions,
    new_exclusion,
    withdraw_exclusion,
)

#: The option that gives each part of an entry; several give its subject.
_OPTIONS: dict[ExclusionField, str | None] = {
    "subject": None,
    "began_at": "--from",
    "ended_at": "--to",
    "reason": "--reason",
    "evidence": "--evidence",
}


def exclude(
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant.")],
    evse: Annotated[int | None, id_option("--evse", "The EVSE, by its id at AMPECO.")] = None,
    charge_point: Annotated[int | None, id_option("--charge-point", "Instead: all EVSEs of a charge point.")] = None,
    location: Annotated[int | None, id_option("--location", "Instead: all EVSEs of a location.")] = None,
    begin: Annotated[datetime | None, time_option("--from", "When it began")] = None,
    end: Annotated[datetime | None, time_option("--to", "When it ended; by default, it lasts")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it does not count, such as vandalism.")] = None,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="What proves it, such as a report's number.")
    ] = None,
    withdraw: Annotated[int | None, id_option("--withdraw", "Withdraw the entry of this number.")] = None,
    as_list: Annotated[bool, typer.Option("--list", help="Show all entries.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Enter a time in which outages of an EVSE, a charge point or a location do not count; withdraw or list entries.

    Entries are never deleted; one that was wrong is withdrawn. Do not name drivers or other people in them.
    """
    ids = dict(zip(SUBJECTS, (evse, charge_point, location), strict=True))
    given = {subject: number for subject, number in ids.items() if number is not None}
    entry = (*given.values(), begin, end, reason, evidence)
    is_entry = any(value is not None for value in entry)
    if is_entry + (withdraw is not None) + as_list != 1:
        raise typer.BadParameter("give an entry, or --withdraw, or --list, and no two of them.")
    if as_json and not as_list:
        raise typer.BadParameter("only --list prints JSON.", param_hint="--json")
    new = _new(given, begin, end, reason, evidence) if is_entry else None
    with running("exclude") as settings:
        require_migrated(settings)
        (name,) = chosen_tenants(settings, tenant)
        with database(settings) as engine:
            if new is not None:
                with engine.begin() as connection:
                    number = add_exclusion(connection, name, new)
                console.print(f"{name}: entry {number} is stored.", highlight=False)
            elif withdraw is not None:
                _withdraw(engine, name, withdraw)
            else:
                with engine.begin() as connection:
                    _print(name, list_exclusions(connection, name), as_json=as_json)


def _new(
    given: dict[Subject, int], begin: datetime | None, end: datetime | None, reason: str | None, evidence: str | None
) -> NewExclusion:
    """Return what is to be entered.

    Raises:
        typer.BadParameter: something is missing or contradicts something else.
    """
    try:
        return new_exclusion(given, begin, end, reason, evidence, entered_by=_login())
    except ExclusionError as error:
        raise typer.BadParameter(str(error), param_hint=_OPTIONS[error.field]) from None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return "unknown"


def _withdraw(engine: Engine, tenant: str, number: int) -> None:
    with engine.begin() as connection:
        is_done = withdraw_exclusion(connection, tenant, number, clock.now())
    if not is_done:
        raise typer.BadParameter(f"{tenant} has no entry {number} that holds.", param_hint="--withdraw")
    console.print(f"{tenant}: entry {number} is withdrawn.", highlight=False)


def _print(tenant: str, entries: Sequence[Entry], *, as_json: bool) -> None:
    if as_json:
        print_json({"tenant": tenant, "entries": [_document(entry) for entry in entries]})
        return
    if not entries:
        console.print(f"{tenant}: there are no entries.", highlight=False)
        return
    table = Table("Entry", "Covers", "From", "To", "Reason", "Evidence", "Entered", "Withdrawn")
    for entry in entries:
        exclusion = entry.exclusion
        table.add_row(
            str(entry.exclusion_id),
            f"{exclusion.subject.replace('_', ' ')} {exclusion.subject_id}",
            _spelled(exclusion.began_at),
            _spelled(exclusion.ended_at),
            exclusion.reason,
            exclusion.evidence or "–",
            f"{_spelled(entry.recorded_at)} by {exclusion.entered_by}",
            _spelled(entry.withdrawn_at),
        )
    console.print(table)


def _document(entry: Entry) -> dict[str, Any]:
    exclusion = entry.exclusion
    return {
        "exclusion_id": entry.exclusion_id,
        **exclusion.ids,
        "began_at": exclusion.began_at,
        "ended_at": exclusion.ended_at,
        "reason": exclusion.reason,
        "evidence": exclusion.evidence,
        "entered_by": exclusion.entered_by,
        "recorded_at": entry.recorded_at,
        "withdrawn_at": entry.withdrawn_at,
    }


def _spelled(moment: datetime | None) -> str:
    """Spell an instant to the minute, in UTC; a dash for None."""
    return "–" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
