"""The command ``erase``, which removes a person from everything that is stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Engine

from ampeco.privacy import people
from receiver.commands.ids import id_option
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.progress import WorkProgress, until_asked_to_stop
from receiver.environment import chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors
from storage.clock import clock
from storage.erasure.log import Chunk, Erasure
from storage.erasure.person import Person
from storage.log.read import count
from storage.log.scope import BEFORE_ANY, Scope
from workers.maintenance.erase import EraseError, begin, finish, go_through_log, is_listed, look_up, require_owner
from workers.maintenance.rebuild import alone


def erase(
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant of the user.")],
    user: Annotated[int, id_option("--user", "The user's id at AMPECO.")],
    id_tag: Annotated[
        list[str] | None,
        typer.Option("--id-tag", help="Another tag of the person; tags in the database are found. Repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show where the person occurs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a person from the log, the state and its history for good; only the owner of the tables may.

    Sessions, energies and amounts stay. Later data from AMPECO is stored without the person.
    """
    person = _person(user, id_tag or [])
    with running("erase") as settings:
        require_migrated(settings)
        (name,) = chosen_tenants(settings, tenant)
        with contextlib.ExitStack() as stack:
            engine = stack.enter_context(database(settings, pool_size=2, process="erase"))
            if not dry_run:
                require_owner(engine)
                # A rebuild folds the log as it was before, so neither may run beside the other.
                stack.enter_context(alone(engine))
            with errors.status(f"{name}: looking for user {user}"):
                rows = dict(look_up(engine, name, person))
            is_suppressed = is_listed(engine, name, person)
            if dry_run or (not rows and not is_suppressed):
                rows |= _count_in_log(engine, name, person)
                if not rows and not is_suppressed:
                    raise EraseError(
                        f"--user: user {user} of {name} occurs nowhere in the database, so there is nothing to erase."
                    )
            if dry_run:
                _print_rows(name, person, rows, "would change", as_json=as_json)
                return
            if not yes:
                _confirm(name, person, rows, can_ask=console.is_terminal and not as_json)
            under_way = begin(engine, name, person)
            for _ in _log_chunks(engine, name, person, under_way):
                pass
            with errors.status(f"{name}: erasing in the state and its history"):
                changed = finish(engine, name, person, under_way)
        _print_rows(name, person, changed, "changed", as_json=as_json)


def _person(user: int, tags: list[str]) -> Person:
    person = Person(user)
    for tag in tags:
        identity = people.id_tag(tag)
        if identity is None:
            raise typer.BadParameter(f"{tag!r} is not an id tag", param_hint="--id-tag")
        person.learn({identity: {tag.strip()}})
    return person


def _count_in_log(engine: Engine, tenant: str, person: Person) -> dict[str, int]:
    naming = sum(chunk.naming for chunk in _log_chunks(engine, tenant, person, None))
    return {"ingest.notification": naming} if naming else {}


def _log_chunks(engine: Engine, tenant: str, person: Person, under_way: Erasure | None) -> Iterator[Chunk]:
    """Yield the chunks of the log, and show the progress.

    Raises:
        typer.Exit: a signal stopped the command.
    """
    since = under_way.reached.received_at if under_way is not None and under_way.reached is not None else BEFORE_ANY
    with engine.begin() as connection:
        total = count(connection, Scope(tenant, since, clock.now()))
    done = 0
    with WorkProgress("notifications") as progress, until_asked_to_stop() as stop:
        piece = progress.begin(total, tenant=tenant)
        for chunk in go_through_log(engine, tenant, person, under_way):
            done += chunk.notifications
            piece.advance(done, reached_at=chunk.last.received_at.isoformat())
            yield chunk
            if stop.is_set():
                errors.print(
                    f"{tenant}: stopped. Nothing was changed."
                    if under_way is None
                    else f"{tenant}: stopped before the end. Run the same command again to continue.",
                    soft_wrap=True,
                )
                raise typer.Exit(stop.exit_code)


def _confirm(tenant: str, person: Person, rows: dict[str, int], *, can_ask: bool) -> None:
    if not can_ask:
        raise EraseError("erasing cannot be undone: add --yes, or --dry-run to see what it would change.")
    _print_rows(tenant, person, rows, "would change", as_json=False)
    typer.confirm(f"{tenant}: erase user {person.user_id} for good?", abort=True)


def _print_rows(tenant: str, person: Person, rows: dict[str, int], verb: str, *, as_json: bool) -> None:
    tags = sum(identity.what == "id_tag" for identity in person.known_by)
    addresses = len(person.known_by) - tags
    if as_json:
        print_json({"tenant": tenant, "id_tags": tags, "addresses": addresses, "rows": dict(sorted(rows.items()))})
        return
    if not rows:
        console.print(f"{tenant}: nothing was left of user {person.user_id}.", highlight=False, soft_wrap=True)
        return
    title = f"{tenant}: user {person.user_id}; id tags: {tags}, e-mail addresses: {addresses}"
    table = Table("Table", title=title, title_justify="left")
    table.add_column(f"Rows {verb}", justify="right")
    for name, number in sorted(rows.items()):
        table.add_row(name, f"{number:,}")
    console.print(table)
