"""Apply: from accepted bytes to state, history and marks, a bite of batches at a time.

A bite is one transaction: forgotten people taken out, parse, fold, one upsert a table,
observations, marks, outcomes, the bodies' secrets blanked, and the batches closed. Whatever
interrupts it leaves the batches open. A notification that cannot be applied is set aside and the
rest of its batch goes on; one that ends its worker is found by trying its batch alone, then each
notification alone.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from dramatiq.middleware import TimeLimitExceeded
from pydantic import ValidationError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from ampeco.errors import NoHandler, UnknownNotification
from ampeco.json_text import read_json
from ampeco.payloads import parse
from ampeco.redaction import clean
from ampeco.values import clean_text
from storage import batches as inbox
from storage import refresh_queue
from storage.batches import Batch, Logged, Outcome
from storage.blanking import blank, rewrite
from storage.clocks import bounded
from storage.drift import record_drift
from storage.facts import findings_of, reads_of_unusable
from storage.findings import Findings
from storage.fold import Fold
from storage.forgotten import spare, spare_again
from storage.history import observe
from storage.upsert import upsert
from workers.logs import get_logger
from workers.metrics import CLOCKS_AHEAD, NOTIFICATIONS_APPLIED, NOTIFICATIONS_SET_ASIDE

logger = get_logger(__name__)

#: A bite is large enough that its fixed cost, some fifteen statements, is small beside
#: its rows, and small enough that it takes a second or two and little memory.
MOST_BATCHES = 200
MOST_NOTIFICATIONS = 2_000

#: Bodies are held in memory several times over while they are parsed.
MOST_BYTES = 16 * 1024 * 1024

#: Later than this a message that found much to do leaves the rest to the next one, well
#: within its time limit.
TIME_BUDGET_SECONDS = 10.0

#: A first attempt takes a batch together with others, the next two by itself; from then
#: on each of its notifications is tried alone.
ATTEMPTS_TOGETHER = 1
ATTEMPTS_AS_A_WHOLE = 3

#: A notification that was being tried alone for this long when its worker's time was up
#: is the one that took it.
SUSPICIOUS_SECONDS = 5.0

#: SQLSTATE class 54: longer than an index, a row or a statement can hold. psycopg counts it among
#: the failures of the server, but trying again does not help.
BEYOND_A_LIMIT = "54"

#: Of an error's text so much is kept: names in it may be the sender's.
LONGEST_ERROR = 500

#: Innermost frames of an error that are kept.
FRAMES_KEPT = 5


@dataclass(slots=True)
class Settled:
    """What became of the notifications of a bite; ``ahead`` counts those by clocks that are ahead."""

    findings: Findings = field(default_factory=Findings)
    outcomes: list[Outcome] = field(default_factory=list)
    applied: int = 0
    ahead: int = 0


def apply_open_batches(engine: Engine) -> int:
    """Apply open batches, oldest first, until none is left or the time budget is spent.

    Returns:
        How many notifications were settled.
    """
    deadline = time.monotonic() + TIME_BUDGET_SECONDS
    settled = 0
    while time.monotonic() < deadline:
        with engine.begin() as connection:
            claimed = inbox.claim(
                connection,
                most_batches=MOST_BATCHES,
                most_notifications=MOST_NOTIFICATIONS,
                most_bytes=MOST_BYTES,
            )
        if not claimed:
            break
        try:
            settled += _apply_claimed(engine, claimed)
        except BaseException as error:
            _give_back(engine, claimed, error)
            raise
    return settled


def _apply_claimed(engine: Engine, claimed: Sequence[Batch]) -> int:
    together = [batch for batch in claimed if batch.attempts <= ATTEMPTS_TOGETHER]
    settled = _apply_bite(engine, together) if together else 0
    for batch in claimed:
        if ATTEMPTS_TOGETHER < batch.attempts <= ATTEMPTS_AS_A_WHOLE:
            settled += _apply_bite(engine, [batch])
        elif batch.attempts > ATTEMPTS_AS_A_WHOLE:
            settled += _apply_one_by_one(engine, batch)
    return settled


def _apply_bite(engine: Engine, batches: Sequence[Batch]) -> int:
    began = time.monotonic()
    tenant = batches[0].tenant
    try:
        with engine.begin() as connection:
            held = inbox.hold(connection, tenant, [batch.batch_id for batch in batches])
            batches = [batch for batch in batches if batch.batch_id in held]
            if not batches:
                return 0
            logged = spare(connection, tenant, partial(inbox.notifications_of, connection, batches))
            settled = settle(logged)
            marked = write(connection, tenant, settled)
            blank(connection, tenant, logged)
            inbox.close(connection, tenant, [batch.batch_id for batch in batches])
    except Exception as error:
        if is_passing(error):
            raise
        # Something in the bite passes our models and cannot be written: find it.
        logger.warning("bite refused, trying each notification alone", tenant=tenant, error=describe(error))
        return sum(_apply_one_by_one(engine, batch) for batch in batches)
    _report(tenant, batches, settled, marked, began)
    return len(logged)


def _report(tenant: str, batches: Sequence[Batch], settled: Settled, marked: int, began: float) -> None:
    NOTIFICATIONS_APPLIED.labels(tenant).inc(settled.applied)
    CLOCKS_AHEAD.labels(tenant).inc(settled.ahead)
    for outcome in settled.outcomes:
        NOTIFICATIONS_SET_ASIDE.labels(tenant, outcome.state).inc()
        if outcome.state == "failed":
            logger.warning(
                "notification failed",
                tenant=tenant,
                request_id=str(outcome.notification_id),
                batch_id=str(outcome.batch_id),
                reason=outcome.reason,
            )
    logger.info(
        "applied",
        tenant=tenant,
        batches=len(batches),
        first_batch=str(batches[0].batch_id),
        applied=settled.applied,
        set_aside=len(settled.outcomes),
        marked=marked,
        milliseconds=round((time.monotonic() - began) * 1000),
    )


def settle(logged: Sequence[Logged]) -> Settled:
    """Parse each notification; one that cannot be applied gets its own outcome, and its read all the same."""
    settled = Settled()
    for notification in logged:
        try:
            body = _read(notification.body)
            payload = parse(body)
            found = findings_of(payload, body, notification.notification_id)
            is_ahead = _bound_clocks(found, notification)
            found.drift.see_fields(payload, notification.received_at, notification.notification_id)
        except UnknownNotification as error:
            settled.findings.drift.see_type(error.name, body, notification.received_at, notification.notification_id)
            settled.outcomes.append(_outcome(notification, "ignored", "unknown type"))
        except NoHandler:
            settled.outcomes.append(_outcome(notification, "ignored", "no handler"))
        except Exception as error:  # noqa: BLE001 - whatever a body provokes is its own outcome alone
            settled.outcomes.append(failed(notification, error))
            settled.findings.absorb(_reads_asked_by(notification), notification.notification_id)
        else:
            settled.findings.absorb(found, notification.notification_id)
            settled.applied += 1
            settled.ahead += is_ahead
    return settled


def _bound_clocks(found: Findings, notification: Logged) -> bool:
    """Let no fact be newer than its notification; returns whether one was."""
    told = found.facts
    if bounded(told, notification.received_at) != told:  # seldom, so only now the header is read
        found.facts = bounded(told, notification.learnt_at)
    return found.facts != told


def write(connection: Connection, tenant: str, settled: Settled) -> int:
    """Write what a bite says; returns how many reads it asked for.

    What is set aside comes last: counting it locks the tenant's total, which all workers share.
    """
    findings = settled.findings
    contested = upsert(connection, tenant, Fold(findings.facts), told_by=findings.told_by)
    observe(connection, tenant, findings.observations)
    marked = refresh_queue.mark(connection, tenant, findings, contested)
    record_drift(connection, tenant, findings.drift)
    inbox.set_aside(connection, tenant, settled.outcomes)
    return marked


def _read(body: bytes) -> dict[str, Any]:
    document = read_json(body)
    if not isinstance(document, dict):
        raise TypeError("the body is JSON, but not an object")
    cleaned: dict[str, Any] = clean(document)
    return cleaned


def _reads_asked_by(notification: Logged) -> Findings:
    """The reads that a notification asks for though it cannot be applied."""
    try:
        document = read_json(notification.body)
    except ValueError:
        return Findings()
    return reads_of_unusable(document) if isinstance(document, dict) else Findings()


def _apply_one_by_one(engine: Engine, batch: Batch) -> int:
    """Try each notification in a transaction of its own, noting beforehand which.

    A try that ends the worker leaves its note behind, and the next attempt sets that
    notification aside. Applying the others again changes nothing.
    """
    with engine.begin() as connection:
        if not inbox.hold(connection, batch.tenant, [batch.batch_id]):
            return 0
        logged = inbox.notifications_of(connection, [batch])
    guilty = batch.trying
    marked, total, started = 0, Settled(), time.monotonic()
    for notification in logged:
        with engine.begin() as connection:
            inbox.note_trying(connection, batch, notification.notification_id)
        began = time.monotonic()
        try:
            settled, asked = _apply_alone(engine, batch, notification, is_guilty=notification.notification_id == guilty)
            marked += asked
        except TimeLimitExceeded:
            if time.monotonic() - began < SUSPICIOUS_SECONDS:
                _forget_trying(engine, batch)
            raise
        except BaseException:
            _forget_trying(engine, batch)
            raise
        total.applied += settled.applied
        total.ahead += settled.ahead
        total.outcomes += settled.outcomes
    with engine.begin() as connection:
        inbox.close(connection, batch.tenant, [batch.batch_id])
    _report(batch.tenant, [batch], total, marked, started)
    return len(logged)


def _apply_alone(engine: Engine, batch: Batch, notification: Logged, *, is_guilty: bool) -> tuple[Settled, int]:
    """Apply one notification; returns what became of it, and how many reads it asked for."""
    spared: Sequence[Logged] = [notification]
    try:
        with engine.begin() as connection:
            if is_guilty:
                settled = Settled(outcomes=[_outcome(notification, "failed", "its worker ended while applying it")])
            else:
                spared = spare_again(connection, batch.tenant, [notification])
                settled = settle(spared)
            marked = write(connection, batch.tenant, settled)
            blank(connection, batch.tenant, spared)
            return settled, marked
    except Exception as error:
        if is_passing(error):
            raise
        settled = Settled(outcomes=[failed(notification, error)])
        for one in spared:
            settled.findings.absorb(_reads_asked_by(one), one.notification_id)
        with engine.begin() as connection:
            marked = write(connection, batch.tenant, settled)
            rewrite(connection, batch.tenant, [_body(one) for one in spared if one is not notification])
            blank(connection, batch.tenant, spared)
        return settled, marked


def _body(logged: Logged) -> tuple[datetime, UUID, bytes]:
    return logged.received_at, logged.notification_id, logged.body


def _forget_trying(engine: Engine, batch: Batch) -> None:
    with engine.begin() as connection:
        inbox.note_trying(connection, batch, None)


def is_passing(error: Exception) -> bool:
    """Whether the machine failed (Postgres down, a deadlock, a timeout), rather than what it was given."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, SQLAlchemyError | OSError | MemoryError)
    if (getattr(error.orig, "sqlstate", None) or "").startswith(BEYOND_A_LIMIT):
        return False
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def _give_back(engine: Engine, claimed: Sequence[Batch], error: BaseException) -> None:
    """Let the batches be claimed again soon; where Postgres stays away, their leases run out."""
    attempts = max(batch.attempts for batch in claimed)
    after = min(timedelta(seconds=0.2 * 2 ** min(attempts, 8)), inbox.LEASE)

    def attempt() -> None:
        with engine.begin() as connection:
            inbox.give_back(
                connection, claimed[0].tenant, [batch.batch_id for batch in claimed], after=after, error=describe(error)
            )

    # A Postgres that comes back from a crash is waited for: this thread has nothing else to do.
    patient = Retrying(
        retry=retry_if_exception(lambda failure: isinstance(failure, DBAPIError) and is_passing(failure)),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(inbox.LEASE),
        reraise=True,
    )
    try:
        patient(attempt)
    except DBAPIError as failure:
        logger.warning("batches stay leased", tenant=claimed[0].tenant, error=type(failure.orig).__name__)


def _outcome(notification: Logged, state: Any, reason: str, **details: str) -> Outcome:
    return Outcome(
        notification.batch_id, notification.notification_id, notification.received_at, state, reason, **details
    )


def failed(notification: Logged, error: Exception) -> Outcome:
    """The outcome of a notification that raised: what, and where, without its values."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_KEPT:]
    where = "\n".join(f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames)
    reason = {
        orjson.JSONDecodeError: "not JSON",
        ValidationError: "not as documented",
    }.get(type(error), "refused by Postgres" if isinstance(error, DBAPIError) else "cannot be applied")
    return _outcome(notification, "failed", reason, error=describe(error), traceback=where)


def describe(error: BaseException) -> str:
    """One line about an error, without what was sent, fit for Postgres."""
    return clean_text(_told(error))[:LONGEST_ERROR]


def _told(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return "; ".join(f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}" for one in found[:5])
    if isinstance(error, DBAPIError):
        return f"{type(error.orig).__name__}: {getattr(getattr(error.orig, 'diag', None), 'message_primary', '') or ''}"
    return f"{type(error).__name__}: {error}"
