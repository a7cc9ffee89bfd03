"""Enter and withdraw exclusions, from the page of an EVSE's uptime."""

from __future__ import annotations

from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receiver.console.access.users import User
from receiver.console.console import Console, require_actor
from receiver.console.months import Month
from receiver.console.pages.uptime_evidence import FIELDS, address_of, show_with_form, subject_ids
from receiver.console.queries import id_of_path
from receiver.times import TimeError, parse_time
from storage.clock import clock
from storage.operator_actions import recorded
from storage.operator_exclusions import (
    SUBJECTS,
    ExclusionError,
    ExclusionField,
    NewExclusion,
    add_exclusion,
    new_exclusion,
    withdraw_exclusion,
)
from storage.reports.uptime_figures import Place, place_of

#: The field of the form that gives each part of an entry.
_FIELD_OF: dict[ExclusionField, str] = {
    "subject": "subject",
    "began_at": "from",
    "ended_at": "to",
    "reason": "reason",
    "evidence": "evidence",
}


async def exclude(request: Request) -> Response:
    """Enter an exclusion, as the command ``exclude`` does, and lead back to the page."""
    user, console = require_actor(request), Console.of(request)
    tenant, evse_id = console.tenant_of(request), id_of_path(request, "evse_id")
    form = await request.form()
    place = await console.read(lambda connection: place_of(connection, tenant, evse_id))
    if place is None:
        raise HTTPException(404, f"No EVSE {evse_id} is known of {tenant}.")
    try:
        exclusion = _entered(form, place, user)
    except ExclusionError as error:
        problem = (_FIELD_OF[error.field], str(error))
        values = {name: _text(form, name) for name in FIELDS}
        return await show_with_form(request, values, problem=problem, status=400)
    number = await run_in_threadpool(_add, console, tenant, user, exclusion)
    return _back(request, tenant, evse_id, number)


def _add(console: Console, tenant: str, user: User, exclusion: NewExclusion) -> int:
    details = {
        "subject": exclusion.subject,
        "subject_id": exclusion.subject_id,
        "began_at": exclusion.began_at,
        "ended_at": exclusion.ended_at,
        "reason": exclusion.reason,
    }
    with recorded(console.acting, tenant, user.name, "exclude", details) as action:
        with console.acting.begin() as connection:
            number = add_exclusion(connection, tenant, exclusion)
        action.affected = 1
    return number


async def withdraw(request: Request) -> Response:
    """Withdraw an exclusion, as the command ``exclude --withdraw`` does, and lead back to the page."""
    user, console = require_actor(request), Console.of(request)
    tenant, evse_id, number = console.tenant_of(request), id_of_path(request, "evse_id"), id_of_path(request, "number")
    if not await run_in_threadpool(_withdraw, console, tenant, user, number):
        raise HTTPException(404, f"{tenant} has no entry {number} that holds.")
    return _back(request, tenant, evse_id, number)


def _withdraw(console: Console, tenant: str, user: User, number: int) -> bool:
    with recorded(console.acting, tenant, user.name, "withdraw_exclusion", {"exclusion_id": number}) as action:
        with console.acting.begin() as connection:
            is_done = withdraw_exclusion(connection, tenant, number, clock.now())
        action.affected = int(is_done)
    return is_done


def _back(request: Request, tenant: str, evse_id: int, number: int) -> Response:
    """Lead back to the page, which says what became of an entry."""
    month = Month.parse(request.query_params.get("month"))
    return RedirectResponse(address_of(tenant, evse_id, month, entry=number) + "#entries", 303)


def _entered(form: FormData, place: Place, user: User) -> NewExclusion:
    """Return what the form enters.

    Raises:
        ExclusionError: a field is missing, or contradicts another.
    """
    ids, chosen = subject_ids(place), _text(form, "subject")
    subjects = {subject: number for subject in SUBJECTS if subject == chosen and (number := ids[subject]) is not None}
    began_at, ended_at = _time(form, "began_at"), _time(form, "ended_at")
    reason, evidence = _text(form, "reason"), _text(form, "evidence")
    return new_exclusion(subjects, began_at, ended_at, reason, evidence, entered_by=user.name)


def _time(form: FormData, field: ExclusionField) -> datetime | None:
    value = _text(form, _FIELD_OF[field])
    try:
        return parse_time(value) if value else None
    except TimeError as error:
        raise ExclusionError(field, str(error)) from None


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, "")).strip()


_PATH = "/tenants/{tenant}/uptime/{evse_id}/exclusions"

routes = [
    Route(_PATH, exclude, methods=["POST"]),
    Route(f"{_PATH}/{{number}}/withdraw", withdraw, methods=["POST"]),
]
