"""Refresh: read from the API what the database does not know, or knows only in part.

Any number of marks of one entity cost one read, and many marks of one kind cost the pages
of one listing. A tenant that is down, refuses the token or asks for a pause holds up its
own reads alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from ampeco.client import Answer, Client
from ampeco.errors import ApiError, Forbidden, NotFound, RateLimited, Unauthorised, Unavailable
from ampeco.kinds import KINDS
from ampeco.listing import Params
from storage import refresh_queue, refusals, walks
from storage.clock import clock
from storage.drift import record_drift
from storage.errors import is_passing
from storage.findings import Entity, Findings
from storage.forgotten import withhold
from storage.known import Known, known
from storage.refresh_queue import RefreshRequest
from storage.write import write_changes
from workers.budget import HeldBackError
from workers.context import Context
from workers.errors import describe
from workers.logs import get_logger
from workers.metrics import API_READS
from workers.pause import fail, pause, recovered
from workers.reads import Wanted, findings_of_absence, findings_of_answer, look_up, read_entity
from workers.statuses import LogReads

logger = get_logger(__name__)

#: What one listing can be hoped to show; a killed worker holds back no more until its leases run out.
MOST_REQUESTS = 500

#: Fewer than this are read one by one, as a page costs a call, too.
LEAST_FOR_A_LISTING = 3

#: So many unknown ones of a kind that was never walked: its walk, which is due, shows them all
#: for a call a hundred, so they wait for it.
LEAST_FOR_A_WALK = 10
WALK_DELAY = timedelta(seconds=30)

#: Longer than this nothing waits for a walk: perhaps nobody walks.
WALK_PATIENCE = timedelta(minutes=15)

#: A page that settles fewer than this was not worth its call; the rest is read one by one.
LEAST_OF_A_PAGE = 2

#: A listing is asked for what changed this long before the first mark, as the tenant's clock
#: is known to a second, and a notification comes a moment after its change.
LISTING_MARGIN = timedelta(seconds=30)

#: Short, so that a tenant with much to read shares the threads with the others.
TIME_BUDGET_SECONDS = 5.0

#: A round that failed by a fault of ours is left for this long: of Postgres's, which is most often over
#: by then, or of any other kind, so that it does not use up the tenant's calls.
PASSING_DELAY = timedelta(seconds=1)
FAULT_DELAY = timedelta(seconds=30)

#: For how long a Postgres that is away is waited for, to give back what is in hand.
GIVE_BACK_SECONDS = 60.0

#: A tenant that gave no usable answer is left alone for this long, doubled with each failure.
UNAVAILABLE_PAUSE_SECONDS = 10.0
LONGEST_UNAVAILABLE_PAUSE_SECONDS = 300.0

#: A refused token needs a person; asking once a minute notices when it has been mended.
UNAUTHORISED_PAUSE_SECONDS = 60.0

#: A read that did not settle its entity is tried again after about 5 s, 10 s, … up to an hour.
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(hours=1)

#: What so many reads did not settle, some two days, waits for a person, or for nothing: it is tried
#: once a day, so that it does not eat up the tenant's budget for ever.
MANY_ATTEMPTS = 60
RETRY_OF_MANY = timedelta(days=1)

#: The API may lag behind its own notifications; after so many reads that still show less
#: than we know, it is right and something else is wrong.
MOST_STALE_READS = 8

#: A kind that walks can list, and so may be read, is refused when so many single ones were in a row.
MOST_REFUSED_IN_A_ROW = 3

#: What speaks for the whole tenant, or for the whole kind.
_OF_THE_TENANT = (Forbidden, RateLimited, Unauthorised, Unavailable)


def refresh_tenant(context: Context, tenant: str) -> int:
    """Read what is due of one tenant, until nothing is, it is held back, or the time budget is spent.

    Returns:
        How many requests were settled.
    """
    with context.turn(tenant) as granted:
        if not granted:
            return 0
        deadline = time.monotonic() + TIME_BUDGET_SECONDS
        settled = 0
        while time.monotonic() < deadline:
            with context.engine.begin() as connection:
                requests = refresh_queue.claim(connection, tenant, most=MOST_REQUESTS, holder=context.process_id)
            if not requests:
                break
            round_ = _Round(context, tenant, requests, deadline)
            try:
                round_.run()
            except BaseException as error:
                _give_back(context, tenant, requests, error)
                raise
            settled += round_.settled
            if round_.left:
                break
        return settled


def _give_back(context: Context, tenant: str, requests: Sequence[RefreshRequest], error: BaseException) -> None:
    """Free what a round that failed still has in hand; where Postgres stays away, the leases run out.

    What it settled, or left for later, is no longer under its claim and stays as it is.
    """
    passing = isinstance(error, RedisError | SQLAlchemyError | OSError) and is_passing(error)

    def attempt() -> None:
        with context.engine.begin() as connection:
            delay = PASSING_DELAY if passing else FAULT_DELAY
            refresh_queue.postpone(connection, tenant, requests, delay=delay, error=None, counts=not passing)

    # A Postgres that comes back from a crash is waited for: this thread has nothing else to do.
    patient = Retrying(
        retry=retry_if_exception_type(SQLAlchemyError),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        stop=stop_after_delay(GIVE_BACK_SECONDS),
        reraise=True,
    )
    try:
        patient(attempt)
    except SQLAlchemyError as failure:
        logger.warning("reads stay leased", tenant=tenant, reads=len(requests), error=describe(failure))


class _Round:
    """The claimed reads of one kind: settled by what is stored, by a listing, or one by one."""

    def __init__(self, context: Context, tenant: str, requests: Sequence[RefreshRequest], deadline: float) -> None:
        self._context = context
        self._tenant = tenant
        self._kind = requests[0].entity
        self._deadline = deadline
        self._settled_marks = 0
        #: What is still in hand, most urgent first.
        self.open = {request.key: request for request in requests}
        self._calls = 0
        self._is_trial = False
        self._refused_in_a_row = 0
        self.settled = 0
        #: Whether reads were left because of the tenant or the time.
        self.left = False

    def run(self) -> None:
        try:
            client = self._context.client(self._tenant, "refresh")
        except KeyError:
            self._leave(LONGEST_RETRY, "the tenant is no longer in tenants.toml", counts=True)
            return
        try:
            self._settle_known()
            self._await_walk()
            if self._may_ask():
                self._read_listing(client)
            else:
                self._leave_kind()
            while self.open and time.monotonic() < self._deadline:
                self._read_one(client, next(iter(self.open.values())))
            self._leave(timedelta(0), None, counts=False)
        except Forbidden as error:
            note_refusal(self._context, self._tenant, self._kind, error)
            self._leave_kind()
        except HeldBackError as held:
            # No trouble of these reads: `status` shows a pause, and a pace is no trouble at all.
            self._leave(timedelta(seconds=held.seconds), None, counts=False)
        except (RateLimited, Unauthorised, Unavailable) as error:
            # It speaks for the whole tenant: leave the rest of what we claimed, too.
            seconds = hold_back(self._context, self._tenant, error)
            self._leave(timedelta(seconds=seconds), str(error), counts=False)
        self._context.usage.saved(self._tenant, "refresh", self._settled_marks - self._calls)

    def _settle_known(self) -> None:
        """End the reads that a whole snapshot has made needless."""
        moot = [request for request in self.open.values() if request.reason in ("unknown", "provisional")]
        if not moot:
            return
        with self._context.engine.begin() as connection:
            stored = known(connection, self._tenant, self._kind, [request.entity_id for request in moot])
            done = [request for request in moot if stored[request.entity_id].is_whole]
            refresh_queue.finish(connection, self._tenant, done)
        self._note_settled(done)

    def _await_walk(self) -> None:
        """Leave what the first walk through the kind's listing will show."""
        since = clock.now() - WALK_PATIENCE
        unknown = [one for one in self.open.values() if one.reason == "unknown" and one.marked_at > since]
        if len(unknown) < LEAST_FOR_A_WALK:
            return
        with self._context.engine.begin() as connection:
            if self._was_walked(connection):
                return
        self._postpone(unknown, WALK_DELAY, None, counts=False)

    def _was_walked(self, connection: Connection) -> bool:
        cursor = walks.cursors(connection, [self._tenant]).get((self._tenant, self._kind))
        return cursor is not None and cursor.changed_until is not None

    def _may_ask(self) -> bool:
        """Whether the kind may be read, as far as is known; a refused one is tried once an hour."""
        with self._context.engine.begin() as connection:
            permission = refusals.may_ask(connection, self._tenant, self._kind)
        self._is_trial = permission == "trial"
        return permission != "refused"

    def _leave_kind(self) -> None:
        """Leave what may not be read: `status` shows the refusal, and other kinds go on."""
        self._leave(timedelta(0), None, counts=False)
        self.left = False

    def _read_listing(self, client: Client) -> None:
        """Read pages of a listing, as long as each settles more than its own cost."""
        query = self._listing_query(client)
        while query and len(self.open) >= LEAST_FOR_A_LISTING and time.monotonic() < self._deadline:
            self._calls += 1
            try:
                page = client.page(KINDS[self._kind], query)
            except ApiError as error:
                if isinstance(error, _OF_THE_TENANT) and not is_of_one(error):
                    raise
                logger.warning("listing failed", tenant=self._tenant, kind=self._kind, error=str(error))
                return
            recovered(self._context.redis, self._tenant)
            # By id, as a page may list one twice.
            wanted = list({one.resource.id: one for one in page.answers if (one.resource.id, "") in self.open}.values())
            self._take(client, wanted)
            if len(wanted) < LEAST_OF_A_PAGE:
                return
            query = page.following

    def _listing_query(self, client: Client) -> Params | None:
        """The listing of what changed since the first mark; None where reading one by one is cheaper."""
        kind = KINDS[self._kind]
        changed = [one for one in self.open.values() if not one.reference and one.reason != "unknown"]
        if kind.changed_since is None or len(changed) < LEAST_FOR_A_LISTING:
            return None
        since = min(request.marked_at for request in changed) - LISTING_MARGIN
        return client.first_query(kind, **{kind.changed_since: client.tenant_time(since)})

    def _read_one(self, client: Client, request: RefreshRequest) -> None:
        self._calls += 1
        try:
            gone = False
            if request.reference:
                found = look_up(self._kind, client, request.reference)
            else:
                wanted = self._wanted([request.entity_id], LogReads())[request.entity_id]
                try:
                    found = read_entity(self._kind, client, wanted)
                except NotFound as error:
                    found, gone = findings_of_absence(self._kind, request.entity_id, error.tenant_time), True
        except Forbidden as error:
            if not self._is_alone_refused():
                raise
            self._fail(request, error)
        except Unavailable as error:
            if is_of_one(error):
                # The others come first the next time, whoever was at fault.
                self._fail(request, error)
            raise
        except _OF_THE_TENANT:
            raise
        except (ApiError, ValidationError, ValueError) as error:
            self._fail(request, error)
        else:
            recovered(self._context.redis, self._tenant)
            API_READS.labels(self._tenant, "gone" if gone else "found").inc()
            self._store_one(request, found, gone=gone)

    def _store_one(self, request: RefreshRequest, found: Findings, *, gone: bool) -> None:
        try:
            self._store(found, [request], gone=gone)
        except DBAPIError as error:
            if is_passing(error):
                raise
            # Our models take what Postgres does not: the others are not to wait for it.
            self._fail(request, error)

    def _is_alone_refused(self) -> bool:
        """Whether a refusal speaks for one entity, and not for its kind: others were listed, and read since."""
        self._refused_in_a_row += 1
        if self._is_trial or self._refused_in_a_row >= MOST_REFUSED_IN_A_ROW:
            return False
        with self._context.engine.begin() as connection:
            return self._was_walked(connection)

    def _take(self, client: Client, answers: Sequence[Answer[Any]]) -> None:
        """Store what a page said of the entities that are in hand."""
        logs = LogReads(are_optional=True)
        wanted = self._wanted([answer.resource.id for answer in answers], logs)
        found, requests = Findings(), []
        failure: ApiError | HeldBackError | None = None
        for answer in answers:
            request = self.open[answer.resource.id, ""]
            try:
                one = findings_of_answer(self._kind, client, answer, wanted[request.entity_id])
            except (*_OF_THE_TENANT, HeldBackError) as error:
                if isinstance(error, ApiError) and is_of_one(error):
                    self._fail(request, error)
                failure = error
                break  # what was understood before it is stored all the same
            except (ApiError, ValidationError, ValueError) as error:
                self._fail(request, error)
                continue
            found.add(one)
            requests.append(request)
        API_READS.labels(self._tenant, "listed").inc(len(requests))
        if requests:
            try:
                self._store(found, requests)
            except DBAPIError as error:
                if is_passing(error):
                    raise
                # Postgres refuses a value of one of them: they stay in hand, and are read one by one.
                logger.warning("page refused", tenant=self._tenant, kind=self._kind, error=describe(error))
        if failure is not None:
            raise failure
        logs.end()

    def _wanted(self, ids: Sequence[int], logs: LogReads) -> dict[int, Wanted]:
        with self._context.engine.begin() as connection:
            stored = known(connection, self._tenant, self._kind, ids)
        return {entity_id: Wanted(entity_id, stored[entity_id], logs) for entity_id in ids}

    def _store(self, found: Findings, requests: Sequence[RefreshRequest], *, gone: bool = False) -> None:
        ids = [request.entity_id for request in requests]
        with self._context.engine.begin() as connection:
            if self._is_trial:
                refusals.lift(connection, self._tenant, self._kind)
            withhold(connection, self._tenant, [found])
            reading = {Entity(self._kind, request.entity_id) for request in self.open.values()}
            write_changes(connection, self._tenant, found, skip_confirmed=True, reading=reading)
            stored = known(connection, self._tenant, self._kind, ids)
            done = [
                request
                for request in requests
                if gone or self._is_settled(request, stored[request.entity_id], was_found=bool(found.facts))
            ]
            refresh_queue.finish(connection, self._tenant, done)
            record_drift(connection, self._tenant, found.drift)
        self._is_trial = False
        self._refused_in_a_row = 0
        self._note_settled(done)
        for request in requests:
            if request not in done:
                why = "no listing shows it yet" if request.reference else "the API still shows an older state"
                self._postpone([request], _retry_delay(request.attempts), why, counts=True)

    def _is_settled(self, request: RefreshRequest, stored: Known, *, was_found: bool) -> bool:
        if request.reference:
            return was_found
        if stored.is_whole:
            return True
        if request.attempts >= MOST_STALE_READS:
            logger.warning("the API keeps showing less than its notifications told", **_labels(request))
            return True
        return False

    def _note_settled(self, requests: Sequence[RefreshRequest]) -> None:
        """Count reads that were finished, once that is committed."""
        for request in requests:
            del self.open[request.key]
            self.settled += 1
            self._settled_marks += request.generation
            logger.debug("settled", **_labels(request), reason=request.reason)

    def _fail(self, request: RefreshRequest, error: Exception) -> None:
        described = _describe(error)
        logger.warning("read failed", **_labels(request), error=described)
        API_READS.labels(self._tenant, type(error).__name__.lower()).inc()
        self._postpone([request], _retry_delay(request.attempts), described, counts=True)

    def _leave(self, delay: timedelta, error: str | None, *, counts: bool) -> None:
        if self.open:
            self.left = True
            self._postpone(list(self.open.values()), delay, error, counts=counts)

    def _postpone(
        self, requests: Sequence[RefreshRequest], delay: timedelta, error: str | None, *, counts: bool
    ) -> None:
        with self._context.engine.begin() as connection:
            refresh_queue.postpone(connection, self._tenant, requests, delay=delay, error=error, counts=counts)
        for request in requests:
            del self.open[request.key]


def is_of_one(error: ApiError) -> bool:
    """Whether a failure may be about what was asked for alone: AMPECO's own code failed, and not its servers."""
    return isinstance(error, Unavailable) and error.status == HTTPStatus.INTERNAL_SERVER_ERROR


def note_refusal(context: Context, tenant: str, kind: str, error: Forbidden) -> None:
    """Tell people once of a kind that the token may not read, and leave it for an hour."""
    API_READS.labels(tenant, "forbidden").inc()
    with context.engine.begin() as connection:
        is_new = refusals.note(connection, tenant, kind, str(error))
    if is_new:
        logger.warning("the token may not read this kind", tenant=tenant, kind=kind, error=str(error))


def hold_back(context: Context, tenant: str, error: RateLimited | Unauthorised | Unavailable) -> float:
    """Pause a tenant for every process after an answer that speaks for the whole of it; returns the seconds."""
    API_READS.labels(tenant, type(error).__name__.lower()).inc()
    told = str(error)
    if isinstance(error, RateLimited):
        seconds = pause(context.redis, tenant, error.retry_after_seconds, told)
    elif isinstance(error, Unauthorised):
        seconds = pause(context.redis, tenant, UNAUTHORISED_PAUSE_SECONDS, told)
    elif error.retry_after_seconds is not None:
        seconds = pause(context.redis, tenant, error.retry_after_seconds, told)
    else:
        first, longest = UNAVAILABLE_PAUSE_SECONDS, LONGEST_UNAVAILABLE_PAUSE_SECONDS
        only_path = error.path if is_of_one(error) else None
        seconds = fail(context.redis, tenant, first, longest, told, only_path=only_path)
    logger.warning("tenant paused", tenant=tenant, seconds=seconds, error=told)
    return seconds


def _retry_delay(attempts: int) -> timedelta:
    longest = min(
        FIRST_RETRY * 2 ** min(attempts - 1, 20), LONGEST_RETRY if attempts < MANY_ATTEMPTS else RETRY_OF_MANY
    )
    return timedelta(seconds=longest.total_seconds() * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret


def _describe(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        return describe(error)
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
    return str(error)


def _labels(request: RefreshRequest) -> dict[str, object]:
    return {
        "tenant": request.tenant,
        "entity": request.entity,
        "entity_id": request.entity_id,
        "request_id": str(request.marked_by) if request.marked_by else None,
    }
