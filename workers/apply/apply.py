"""Apply: turn accepted notifications into state, history and refresh requests, one chunk of batches at a time.

A chunk is one transaction: remove suppressed people, parse, fold, write one upsert for each table, the observations,
the refresh requests and the outcomes, redact the secrets in the bodies, and close the batches. If the transaction is
interrupted, the batches stay open.

A notification with a value that Postgres rejects gets the outcome ``failed``, and the rest of its batch is applied.
A poison message is found by trying its batch alone, then each of its notifications alone. Any other failure is
recorded with no notification: the batches are postponed.
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
from ampeco.notifications.parsing import parse
from ampeco.privacy.body_redaction import needs_cleaning
from ampeco.privacy.redaction import CleanObject, redact
from runtime.errors import describe, frames
from runtime.logging import get_logger
from storage.clock import clock
from storage.erasure.suppression import remove_suppressed, remove_suppressed_again
from storage.errors import is_unrelated_to_values
from storage.inbox import attempts
from storage.inbox import batches as inbox
from storage.inbox.batches import Batch, LoggedBody, Outcome
from storage.inbox.rewrite import redact_bodies, rewrite
from storage.state.changes import ChangeSet
from storage.state.clocks import bounded
from storage.state.notifications import changes_from_notification, reads_of_unusable
from storage.state.unknown_fields import record_unknown_fields
from storage.write import write_changes
from workers.apply.postponing import PostponedError
from workers.apply.share import POISON_THRESHOLD_SECONDS, Share
from workers.apply.trial import Trials
from workers.metrics import APPLIED_LAG, CLOCKS_AHEAD, NOTIFICATIONS_APPLIED, NOTIFICATIONS_NOT_APPLIED

logger = get_logger(__name__)

#: Limits of a chunk. It is large enough that its fixed cost of some fifteen statements is small compared with its
#: rows, and small enough that it takes a second or two and little memory.
MAX_BATCHES = 200
MAX_NOTIFICATIONS = 2_000

#: Limit of a chunk, bytes of bodies: parsing keeps several copies of a body in memory.
MAX_BYTES = 16 * 1024 * 1024

#: After this time a message claims no further batches and leaves them to the next message. It is well within the
#: time limit of a message.
TIME_BUDGET_SECONDS = 10.0

#: After so many workers ended while they applied a batch, each of its notifications is tried alone.
ATTEMPTS_AS_A_WHOLE = 2

#: After so many workers in a row ended while they tried the same notification alone, it is a poison message. A single
#: worker may have been killed by chance.
MAX_ENDED_WORKERS = 2

#: After a batch failed so often because of the database or our code, its notifications are tried one by one: if our
#: code fails at one of them, the others need not wait for a release with a fix.
FAILURES_AS_A_WHOLE = 2

#: If the first few notifications of a batch fail one by one, the others are not tried: they would fail, too.
MAX_FAILURES_ALONE = 3


#: The threads of this process that apply.
_trials = Trials()


@dataclass(slots=True)
class Parsed:
    """The result of parsing a chunk.

    Attributes:
        changes: the change set of all notifications.
        outcomes: the outcomes of the notifications that are ignored or failed.
        applied: number of notifications without an outcome.
        ahead: number of notifications from a charge point whose clock is more than a day ahead.
        unclean: the notifications whose bodies may hold secrets.
    """

    changes: ChangeSet = field(default_factory=ChangeSet)
    outcomes: list[Outcome] = field(default_factory=list)
    applied: int = 0
    ahead: int = 0
    unclean: list[LoggedBody] = field(default_factory=list)


def apply_open_batches(engine: Engine, holder: UUID | None = None) -> int:
    """Apply open batches, oldest first, until none is left or the time budget is spent.

    Parameters:
        holder: the id under which this process is registered.

    Returns:
        The number of notifications that were applied or got an outcome.

    Raises:
        PostponedError: batches were postponed because the database or this release failed.
        DBAPIError: batches could not be claimed or postponed.
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
        raise PostponedError(describe(share.failure)) from share.failure
    return share.resolved


def _apply(engine: Engine, batches: Sequence[Batch]) -> int:
    """Apply batches together, or a single failing batch one by one; return the number of notifications handled."""
    batch = batches[0] if len(batches) == 1 else None
    if batch is not None and batch.attempts > ATTEMPTS_AS_A_WHOLE:
        with _trials.alone():
            return _apply_one_by_one(engine, batch)
    try:
        with _trials.together():
            return _apply_chunk(engine, batches)
    except Exception as error:
        if batch is None or (is_unrelated_to_values(error) and batch.failures < FAILURES_AS_A_WHOLE):
            raise
        logger.debug("trying each notification alone", tenant=batch.tenant, error=describe(error))
        with _trials.alone():
            return _apply_one_by_one(engine, batch)


def _apply_chunk(engine: Engine, batches: Sequence[Batch]) -> int:
    began = time.monotonic()
    tenant = batches[0].tenant
    with engine.begin() as connection:
        locked = inbox.lock_batches(connection, tenant, [batch.batch_id for batch in batches])
        batches = [batch for batch in batches if batch.batch_id in locked]
        if not batches:
            return 0
        logged = remove_suppressed(connection, tenant, partial(inbox.notifications_of, connection, batches))
        parsed = parse_all(logged)
        requested = write(connection, tenant, parsed)
        redact_bodies(connection, tenant, parsed.unclean)
        inbox.close(connection, tenant, [batch.batch_id for batch in batches])
    _report(tenant, batches, parsed, requested, began)
    return len(logged)


def _report(tenant: str, batches: Sequence[Batch], parsed: Parsed, requested: int, began: float) -> None:
    now = clock.now()
    for batch in batches:
        APPLIED_LAG.labels(tenant).observe(max((now - batch.committed_at).total_seconds(), 0.0))
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


def parse_all(logged: Sequence[LoggedBody]) -> Parsed:
    """Parse each notification.

    A notification that cannot be applied gets its own outcome and does not affect the others. Its change set still
    contains the reads that it requests.
    """
    parsed = Parsed()
    for notification in logged:
        is_unclean = needs_cleaning(notification.body)
        if is_unclean:
            parsed.unclean.append(notification)
        try:
            body = _read(notification.body, is_unclean=is_unclean)
            payload = parse(body)
            changes = changes_from_notification(payload, body, notification.notification_id)
            is_ahead = _bound_clocks(changes, notification)
            changes.unknown_fields.see_fields(payload, notification.received_at, notification.notification_id)
        except UnknownNotification as error:
            parsed.changes.unknown_fields.see_type(
                error.name, body, notification.received_at, notification.notification_id
            )
            parsed.outcomes.append(_outcome(notification, "ignored", "unknown type"))
        except NoHandler:
            parsed.outcomes.append(_outcome(notification, "ignored", "no handler"))
        except (OSError, MemoryError, ImportError):  # the machine causes these, never a body
            raise
        except Exception as error:  # noqa: BLE001 - an error that a body causes must not affect the others
            parsed.outcomes.append(failed(notification, error))
            parsed.changes.absorb(_reads_requested_by(notification), notification.notification_id)
        else:
            parsed.changes.absorb(changes, notification.notification_id)
            parsed.applied += 1
            parsed.ahead += is_ahead
    return parsed


def _bound_clocks(changes: ChangeSet, notification: LoggedBody) -> bool:
    """Date facts of a clock that is too far ahead by the time of their notification; return whether there were any."""
    facts = changes.facts
    if bounded(facts, notification.received_at) != facts:  # the header is read only in this rare case
        changes.facts = bounded(facts, notification.arrived_at)
    return changes.facts != facts


def write(connection: Connection, tenant: str, parsed: Parsed) -> int:
    """Write the changes and outcomes of a chunk; return the number of reads that it requested."""
    changes = parsed.changes
    requested = write_changes(connection, tenant, changes)
    record_unknown_fields(connection, tenant, changes.unknown_fields)
    inbox.record_outcomes(connection, tenant, parsed.outcomes)
    return requested


def _read(body: bytes, *, is_unclean: bool) -> CleanObject:
    document = read_json(body)
    if not isinstance(document, dict):
        raise TypeError("the body is JSON, but not an object")
    return redact(document) if is_unclean else CleanObject(document)


def _reads_requested_by(notification: LoggedBody) -> ChangeSet:
    """Return the reads that a notification requests although it cannot be applied."""
    try:
        document = read_json(notification.body)
    except ValueError:
        return ChangeSet()
    return reads_of_unusable(document) if isinstance(document, dict) else ChangeSet()


def _apply_one_by_one(engine: Engine, batch: Batch) -> int:
    """Try each notification in a transaction of its own, and close the batch if none fails.

    The id of each notification is recorded before it is tried. If the try ends the worker, that record stays: the next
    worker tries that notification first, and if it ends, too, the worker after it records the notification as failed.
    Applying the other notifications again changes nothing.

    Returns:
        The number of notifications of the batch; 0 if another process has it.

    Raises:
        Exception: some notifications could not be applied because the database or our code failed; the others were.
    """
    with engine.begin() as connection:
        if not inbox.lock_batches(connection, batch.tenant, [batch.batch_id]):
            return 0
        logged = inbox.notifications_of(connection, [batch])
    suspect = batch.probing_notification_id
    is_poison = batch.attempts >= ATTEMPTS_AS_A_WHOLE + 1 + MAX_ENDED_WORKERS
    requested, total, started = 0, Parsed(), time.monotonic()
    failures: list[Exception] = []
    for notification in sorted(logged, key=lambda each: each.notification_id != suspect):
        is_suspect = notification.notification_id == suspect
        # A worker that tries another notification has survived the suspect, so the count starts again.
        attempt = batch.attempts if is_suspect else min(batch.attempts, ATTEMPTS_AS_A_WHOLE + 1)
        with engine.begin() as connection:
            attempts.note_probing(connection, batch, notification.notification_id, attempts=attempt)
        began_computing = time.thread_time()
        try:
            parsed, reads = _apply_alone(engine, batch, notification, is_poison=is_suspect and is_poison)
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
        requested += reads
        total.applied += parsed.applied
        total.ahead += parsed.ahead
        total.outcomes += parsed.outcomes
    if failures:
        raise failures[0]
    with engine.begin() as connection:
        inbox.close(connection, batch.tenant, [batch.batch_id])
    _report(batch.tenant, [batch], total, requested, started)
    return len(logged)


def _apply_alone(engine: Engine, batch: Batch, notification: LoggedBody, *, is_poison: bool) -> tuple[Parsed, int]:
    """Apply one notification; return the result of parsing it, and the number of reads that it requested."""
    cleaned: Sequence[LoggedBody] = [notification]
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
        if is_unrelated_to_values(error):
            raise
        parsed = Parsed(outcomes=[failed(notification, error)])
        for logged in cleaned:
            parsed.changes.absorb(_reads_requested_by(logged), logged.notification_id)
        with engine.begin() as connection:
            requested = write(connection, batch.tenant, parsed)
            rewrite(connection, batch.tenant, [_body(logged) for logged in cleaned if logged is not notification])
            redact_bodies(connection, batch.tenant, cleaned)
        return parsed, requested


def _body(logged: LoggedBody) -> tuple[datetime, UUID, bytes]:
    return logged.received_at, logged.notification_id, logged.body


def _outcome(notification: LoggedBody, state: Any, reason: str, **details: str) -> Outcome:
    return Outcome(
        notification.batch_id, notification.notification_id, notification.received_at, state, reason, **details
    )


def failed(notification: LoggedBody, error: Exception) -> Outcome:
    """Return the outcome of a notification that raised an error: the error and its place, without any values."""
    reason = {
        orjson.JSONDecodeError: "not JSON",
        ValidationError: "not as documented",
    }.get(type(error), "refused by Postgres" if isinstance(error, DBAPIError) else "cannot be applied")
    return _outcome(notification, "failed", reason, error=describe(error), traceback="\n".join(frames(error)))
