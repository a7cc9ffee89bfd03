"""Apply: from accepted bytes to state, history and marks, a chunk of batches at a time.

A chunk is one transaction: forgotten people taken out, parse, fold, one upsert a table,
observations, marks, outcomes, the bodies' secrets redacted, and the batches closed. Whatever
interrupts it leaves the batches open. A notification whose values Postgres refuses is set aside and the
rest of its batch is applied; one that ends its worker is found by trying its batch alone, then each
notification alone. Any other failure is recorded against no notification: the batches are put off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ampeco.errors import NoHandler, UnknownNotification
from ampeco.json_text import read_json
from ampeco.payloads import parse
from ampeco.redaction import clean
from storage import attempts
from storage import batches as inbox
from storage.batches import Batch, Logged, Outcome
from storage.changes import ChangeSet
from storage.clocks import bounded
from storage.errors import is_passing
from storage.facts import changes_from_notification, reads_of_unusable
from storage.rewrite import redact_bodies, rewrite
from storage.suppression import remove_suppressed, remove_suppressed_again
from storage.unknown_fields import record_unknown_fields
from storage.write import write_changes
from workers.errors import describe, frames
from workers.logs import get_logger
from workers.metrics import CLOCKS_AHEAD, NOTIFICATIONS_APPLIED, NOTIFICATIONS_NOT_APPLIED
from workers.putting_off import PutOffError
from workers.share import POISON_THRESHOLD_SECONDS, Share

logger = get_logger(__name__)

#: A chunk is large enough that its fixed cost, some fifteen statements, is small beside
#: its rows, and small enough that it takes a second or two and little memory.
MAX_BATCHES = 200
MAX_NOTIFICATIONS = 2_000

#: Bodies are held in memory several times over while they are parsed.
MAX_BYTES = 16 * 1024 * 1024

#: Later than this a message that found much to do leaves the rest to the next one, well
#: within its time limit.
TIME_BUDGET_SECONDS = 10.0

#: So many workers may end while they have a batch in hand until each of its notifications is tried alone.
ATTEMPTS_AS_A_WHOLE = 2

#: So many workers in a row end while they try the same notification alone until it is to blame: a single one may have
#: been killed by chance.
MAX_ENDED_WORKERS = 2

#: A batch that failed so often through no fault of what was sent has its notifications tried one by one: if our code
#: fails at one of them, its neighbours do not wait for a release that does not.
FAILURES_AS_A_WHOLE = 2

#: When the first few notifications of a batch fail one by one, the others would, too.
MAX_FAILURES_ALONE = 3


@dataclass(slots=True)
class Parsed:
    """What became of the notifications of a chunk; ``ahead`` counts those by clocks that are ahead."""

    changes: ChangeSet = field(default_factory=ChangeSet)
    outcomes: list[Outcome] = field(default_factory=list)
    applied: int = 0
    ahead: int = 0


def apply_open_batches(engine: Engine, holder: UUID | None = None) -> int:
    """Apply open batches, oldest first, until none is left or the time budget is spent.

    Parameters:
        holder: this process, as it is registered.

    Returns:
        How many notifications were settled.

    Raises:
        PutOffError: some were left for later, as the surroundings or this release failed.
        DBAPIError: Postgres let no batch be claimed, or none be put off.
    """
    share = Share(engine, partial(_apply, engine), seconds=TIME_BUDGET_SECONDS)
    while not share.is_over:
        with engine.begin() as connection:
            claimed = inbox.claim(
                connection,
                max_batches=MAX_BATCHES,
                max_notifications=MAX_NOTIFICATIONS,
                max_bytes=MAX_BYTES,
                holder=holder,
            )
        if not claimed:
            break
        share.work(claimed)
    if share.failure is not None:
        raise PutOffError(describe(share.failure)) from share.failure
    return share.resolved


def _apply(engine: Engine, batches: Sequence[Batch]) -> int:
    """Apply batches together, or a single one in trouble one by one; return how many notifications are done with."""
    batch = batches[0] if len(batches) == 1 else None
    if batch is not None and batch.attempts > ATTEMPTS_AS_A_WHOLE:
        return _apply_one_by_one(engine, batch)
    try:
        return _apply_chunk(engine, batches)
    except Exception as error:
        if batch is None or (is_passing(error) and batch.failures < FAILURES_AS_A_WHOLE):
            raise
        logger.debug("trying each notification alone", tenant=batch.tenant, error=describe(error))
        return _apply_one_by_one(engine, batch)


def _apply_chunk(engine: Engine, batches: Sequence[Batch]) -> int:
    began = time.monotonic()
    tenant = batches[0].tenant
    with engine.begin() as connection:
        held = inbox.lock_batches(connection, tenant, [batch.batch_id for batch in batches])
        batches = [batch for batch in batches if batch.batch_id in held]
        if not batches:
            return 0
        logged = remove_suppressed(connection, tenant, partial(inbox.notifications_of, connection, batches))
        parsed = parse_all(logged)
        requested = write(connection, tenant, parsed)
        redact_bodies(connection, tenant, logged)
        inbox.close(connection, tenant, [batch.batch_id for batch in batches])
    _report(tenant, batches, parsed, requested, began)
    return len(logged)


def _report(tenant: str, batches: Sequence[Batch], parsed: Parsed, requested: int, began: float) -> None:
    NOTIFICATIONS_APPLIED.labels(tenant).inc(parsed.applied)
    CLOCKS_AHEAD.labels(tenant).inc(parsed.ahead)
    for outcome in parsed.outcomes:
        NOTIFICATIONS_NOT_APPLIED.labels(tenant, outcome.state).inc()
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
        applied=parsed.applied,
        not_applied=len(parsed.outcomes),
        reads_requested=requested,
        milliseconds=round((time.monotonic() - began) * 1000),
    )


def parse_all(logged: Sequence[Logged]) -> Parsed:
    """Parse each notification; one that cannot be applied gets its own outcome, and its read all the same."""
    parsed = Parsed()
    for notification in logged:
        try:
            body = _read(notification.body)
            payload = parse(body)
            found = changes_from_notification(payload, body, notification.notification_id)
            is_ahead = _bound_clocks(found, notification)
            found.unknown_fields.see_fields(payload, notification.received_at, notification.notification_id)
        except UnknownNotification as error:
            parsed.changes.unknown_fields.see_type(
                error.name, body, notification.received_at, notification.notification_id
            )
            parsed.outcomes.append(_outcome(notification, "ignored", "unknown type"))
        except NoHandler:
            parsed.outcomes.append(_outcome(notification, "ignored", "no handler"))
        except (OSError, MemoryError, ImportError):  # no body brings about what the machine lacks
            raise
        except Exception as error:  # noqa: BLE001 - whatever a body provokes is its own outcome alone
            parsed.outcomes.append(failed(notification, error))
            parsed.changes.absorb(_reads_asked_by(notification), notification.notification_id)
        else:
            parsed.changes.absorb(found, notification.notification_id)
            parsed.applied += 1
            parsed.ahead += is_ahead
    return parsed


def _bound_clocks(found: ChangeSet, notification: Logged) -> bool:
    """Let no fact be newer than its notification; returns whether one was."""
    told = found.facts
    if bounded(told, notification.received_at) != told:  # seldom, so only now the header is read
        found.facts = bounded(told, notification.learnt_at)
    return found.facts != told


def write(connection: Connection, tenant: str, parsed: Parsed) -> int:
    """Write what a chunk says; returns how many reads it asked for."""
    changes = parsed.changes
    written = write_changes(connection, tenant, changes)
    record_unknown_fields(connection, tenant, changes.unknown_fields)
    inbox.record_outcomes(connection, tenant, parsed.outcomes)
    return written.requested


def _read(body: bytes) -> dict[str, Any]:
    document = read_json(body)
    if not isinstance(document, dict):
        raise TypeError("the body is JSON, but not an object")
    cleaned: dict[str, Any] = clean(document)
    return cleaned


def _reads_asked_by(notification: Logged) -> ChangeSet:
    """The reads that a notification asks for though it cannot be applied."""
    try:
        document = read_json(notification.body)
    except ValueError:
        return ChangeSet()
    return reads_of_unusable(document) if isinstance(document, dict) else ChangeSet()


def _apply_one_by_one(engine: Engine, batch: Batch) -> int:
    """Try each notification in a transaction of its own, noting beforehand which; the batch is closed if none fails.

    A try that ends the worker leaves its note behind: the next worker tries that notification first, and if it ends,
    too, the one after it sets the notification aside. Applying the others again changes nothing.

    Raises:
        Exception: some notifications could not be applied, through no fault of what was sent; the others were.
    """
    with engine.begin() as connection:
        if not inbox.lock_batches(connection, batch.tenant, [batch.batch_id]):
            return 0
        logged = inbox.notifications_of(connection, [batch])
    suspect = batch.probing_notification_id
    is_poison = batch.attempts >= ATTEMPTS_AS_A_WHOLE + 1 + MAX_ENDED_WORKERS
    requested, total, started = 0, Parsed(), time.monotonic()
    failures: list[Exception] = []
    for notification in sorted(logged, key=lambda one: one.notification_id != suspect):
        is_suspect = notification.notification_id == suspect
        # A worker that comes this far has survived the suspect, so the count begins again.
        attempt = batch.attempts if is_suspect else min(batch.attempts, ATTEMPTS_AS_A_WHOLE + 1)
        with engine.begin() as connection:
            attempts.note_probing(connection, batch, notification.notification_id, attempts=attempt)
        began_computing = time.thread_time()
        try:
            parsed, asked = _apply_alone(engine, batch, notification, is_poison=is_suspect and is_poison)
        except Exception as error:
            failures.append(error)
            if len(failures) == MAX_FAILURES_ALONE and not total.applied and not total.outcomes:
                raise
            continue
        except BaseException:  # the worker's time is up
            if time.thread_time() - began_computing < POISON_THRESHOLD_SECONDS:
                with engine.begin() as connection:
                    attempts.clear_probing(connection, batch)
            raise
        requested += asked
        total.applied += parsed.applied
        total.ahead += parsed.ahead
        total.outcomes += parsed.outcomes
    if failures:
        raise failures[0]
    with engine.begin() as connection:
        inbox.close(connection, batch.tenant, [batch.batch_id])
    _report(batch.tenant, [batch], total, requested, started)
    return len(logged)


def _apply_alone(engine: Engine, batch: Batch, notification: Logged, *, is_poison: bool) -> tuple[Parsed, int]:
    """Apply one notification; returns what became of it, and how many reads it asked for."""
    cleaned: Sequence[Logged] = [notification]
    try:
        with engine.begin() as connection:
            if is_poison:
                parsed = Parsed(outcomes=[_outcome(notification, "failed", "its worker ended while applying it")])
            else:
                cleaned = remove_suppressed_again(connection, batch.tenant, [notification])
                parsed = parse_all(cleaned)
            requested = write(connection, batch.tenant, parsed)
            redact_bodies(connection, batch.tenant, cleaned)
            return parsed, requested
    except Exception as error:
        if is_passing(error):
            raise
        parsed = Parsed(outcomes=[failed(notification, error)])
        for one in cleaned:
            parsed.changes.absorb(_reads_asked_by(one), one.notification_id)
        with engine.begin() as connection:
            requested = write(connection, batch.tenant, parsed)
            rewrite(connection, batch.tenant, [_body(one) for one in cleaned if one is not notification])
            redact_bodies(connection, batch.tenant, cleaned)
        return parsed, requested


def _body(logged: Logged) -> tuple[datetime, UUID, bytes]:
    return logged.received_at, logged.notification_id, logged.body


def _outcome(notification: Logged, state: Any, reason: str, **details: str) -> Outcome:
    return Outcome(
        notification.batch_id, notification.notification_id, notification.received_at, state, reason, **details
    )


def failed(notification: Logged, error: Exception) -> Outcome:
    """The outcome of a notification that raised: what, and where, without its values."""
    reason = {
        orjson.JSONDecodeError: "not JSON",
        ValidationError: "not as documented",
    }.get(type(error), "refused by Postgres" if isinstance(error, DBAPIError) else "cannot be applied")
    return _outcome(notification, "failed", reason, error=describe(error), traceback="\n".join(frames(error)))
