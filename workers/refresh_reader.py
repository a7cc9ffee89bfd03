"""Reading claimed entities from the API: by the pages of a listing where those are cheaper, else one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ampeco.client import Answer, Client
from ampeco.errors import ApiError, Forbidden, NotFound, RateLimited, Unauthorized, Unavailable
from ampeco.kinds import KINDS
from ampeco.listing import Params
from storage import forbidden_kinds, refresh_queue, sync_runs
from storage.changes import ChangeSet, Entity
from storage.errors import is_passing
from storage.refresh_queue import RefreshRequest
from storage.stored import StoredEntity, load_stored
from storage.suppression import remove_suppressed_from_changes
from storage.unknown_fields import record_unknown_fields
from storage.write import write_changes
from workers.backoff import is_of_one
from workers.claimed_reads import ClaimedReads, request_labels
from workers.errors import describe
from workers.logs import get_logger
from workers.metrics import API_READS
from workers.pause import recovered
from workers.rate_limit import CallDeferredError
from workers.reads import EntityRead, changes_from_absence, changes_from_answer, look_up, read_entity
from workers.statuses import LogReads

logger = get_logger(__name__)

#: Fewer than this are read one by one, as a page costs a call, too.
MIN_FOR_A_LISTING = 3

#: A page that settles fewer than this was not worth its call; the rest is read one by one.
MIN_OF_A_PAGE = 2

#: A listing is asked for what changed this long before the first mark, as the tenant's clock
#: is known to a second, and a notification comes a moment after its change.
LISTING_MARGIN = timedelta(seconds=30)

#: The API may lag behind its own notifications; after so many reads that still show less
#: than we know, it is right and something else is wrong.
MAX_STALE_READS = 8

#: A kind that sync runs can list, and so may be read, is refused when so many single ones were in a row.
MAX_REFUSED_IN_A_ROW = 3

#: What speaks for the whole tenant, or for the whole kind.
_OF_THE_TENANT = (Forbidden, RateLimited, Unauthorized, Unavailable)


class RefreshReader:
    """Reads what is claimed, and writes what the answers say.

    Parameters:
        is_trial: whether the kind was refused before, and is tried again.
        deadline: when to stop reading, by the monotonic clock.

    Attributes:
        calls: how many calls were made, those into status logs left out.
    """

    def __init__(self, claimed: ClaimedReads, client: Client, *, is_trial: bool, deadline: float) -> None:
        self._claimed = claimed
        self._client = client
        self._deadline = deadline
        self._is_trial = is_trial
        self._refused_in_a_row = 0
        self.calls = 0

    def read_listing(self) -> None:
        """Read pages of a listing, as long as each settles more than its own cost."""
        query = self._listing_query()
        while query and len(self._claimed.open) >= MIN_FOR_A_LISTING and time.monotonic() < self._deadline:
            self.calls += 1
            try:
                page = self._client.page(KINDS[self._claimed.kind], query)
            except ApiError as error:
                if isinstance(error, _OF_THE_TENANT) and not is_of_one(error):
                    raise
                logger.warning("listing failed", tenant=self._claimed.tenant, kind=self._claimed.kind, error=str(error))
                return
            recovered(self._claimed.context.redis, self._claimed.tenant)
            # By id, as a page may list one twice.
            wanted = list(
                {one.resource.id: one for one in page.answers if (one.resource.id, "") in self._claimed.open}.values()
            )
            self._take(wanted)
            if len(wanted) < MIN_OF_A_PAGE:
                return
            query = page.following

    def _listing_query(self) -> Params | None:
        """The listing of what changed since the first mark; None where reading one by one is cheaper."""
        kind = KINDS[self._claimed.kind]
        changed = [one for one in self._claimed.open.values() if not one.reference and one.reason != "unknown"]
        if kind.changed_since is None or len(changed) < MIN_FOR_A_LISTING:
            return None
        since = min(request.requested_at for request in changed) - LISTING_MARGIN
        return self._client.first_query(kind, **{kind.changed_since: self._client.tenant_time(since)})

    def read_one(self, request: RefreshRequest) -> None:
        """Read one entity, or look one up by its reference."""
        self.calls += 1
        try:
            gone = False
            if request.reference:
                found = look_up(self._claimed.kind, self._client, request.reference)
            else:
                wanted = self._wanted([request.entity_id], LogReads())[request.entity_id]
                try:
                    found = read_entity(self._claimed.kind, self._client, wanted)
                except NotFound as error:
                    found, gone = changes_from_absence(self._claimed.kind, request.entity_id, error.tenant_time), True
        except Forbidden as error:
            if not self._is_alone_refused():
                raise
            self._claimed.fail(request, error)
        except Unavailable as error:
            if is_of_one(error):
                # The others come first the next time, whoever was at fault.
                self._claimed.fail(request, error)
            raise
        except _OF_THE_TENANT:
            raise
        except (ApiError, ValidationError, ValueError) as error:
            self._claimed.fail(request, error)
        else:
            recovered(self._claimed.context.redis, self._claimed.tenant)
            API_READS.labels(self._claimed.tenant, "gone" if gone else "found").inc()
            self._store_one(request, found, gone=gone)

    def _store_one(self, request: RefreshRequest, found: ChangeSet, *, gone: bool) -> None:
        try:
            self._store(found, [request], gone=gone)
        except DBAPIError as error:
            if is_passing(error):
                raise
            # Our models take what Postgres does not: the others are not to wait for it.
            self._claimed.fail(request, error)

    def _is_alone_refused(self) -> bool:
        """Whether a refusal speaks for one entity, and not for its kind: others were listed, and read since."""
        self._refused_in_a_row += 1
        if self._is_trial or self._refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
            return False
        with self._claimed.context.engine.begin() as connection:
            return was_synced(connection, self._claimed)

    def _take(self, answers: Sequence[Answer[Any]]) -> None:
        """Store what a page said of the entities that are in hand."""
        logs = LogReads(are_optional=True)
        wanted = self._wanted([answer.resource.id for answer in answers], logs)
        found, requests = ChangeSet(), []
        failure: ApiError | CallDeferredError | None = None
        for answer in answers:
            request = self._claimed.open[answer.resource.id, ""]
            try:
                one = changes_from_answer(self._claimed.kind, self._client, answer, wanted[request.entity_id])
            except (*_OF_THE_TENANT, CallDeferredError) as error:
                if isinstance(error, ApiError) and is_of_one(error):
                    self._claimed.fail(request, error)
                failure = error
                break  # what was understood before it is stored all the same
            except (ApiError, ValidationError, ValueError) as error:
                self._claimed.fail(request, error)
                continue
            found.add(one)
            requests.append(request)
        API_READS.labels(self._claimed.tenant, "listed").inc(len(requests))
        if requests:
            try:
                self._store(found, requests)
            except DBAPIError as error:
                if is_passing(error):
                    raise
                # Postgres refuses a value of one of them: they stay in hand, and are read one by one.
                logger.warning(
                    "page refused", tenant=self._claimed.tenant, kind=self._claimed.kind, error=describe(error)
                )
        if failure is not None:
            raise failure
        logs.end()

    def _wanted(self, ids: Sequence[int], logs: LogReads) -> dict[int, EntityRead]:
        with self._claimed.context.engine.begin() as connection:
            stored = load_stored(connection, self._claimed.tenant, self._claimed.kind, ids)
        return {entity_id: EntityRead(entity_id, stored[entity_id], logs) for entity_id in ids}

    def _store(self, found: ChangeSet, requests: Sequence[RefreshRequest], *, gone: bool = False) -> None:
        ids = [request.entity_id for request in requests]
        with self._claimed.context.engine.begin() as connection:
            if self._is_trial:
                forbidden_kinds.clear_forbidden(connection, self._claimed.tenant, self._claimed.kind)
            remove_suppressed_from_changes(connection, self._claimed.tenant, [found])
            reading = {Entity(self._claimed.kind, request.entity_id) for request in self._claimed.open.values()}
            write_changes(connection, self._claimed.tenant, found, skip_confirmed=True, reading=reading)
            stored = load_stored(connection, self._claimed.tenant, self._claimed.kind, ids)
            done = [
                request
                for request in requests
                if gone or self._is_settled(request, stored[request.entity_id], was_found=bool(found.facts))
            ]
            refresh_queue.finish(connection, self._claimed.tenant, done)
            record_unknown_fields(connection, self._claimed.tenant, found.unknown_fields)
        self._is_trial = False
        self._refused_in_a_row = 0
        self._claimed.note_resolved(done)
        for request in requests:
            if request not in done:
                why = "no listing shows it yet" if request.reference else "the API still shows an older state"
                self._claimed.retry(request, why)

    def _is_settled(self, request: RefreshRequest, stored: StoredEntity, *, was_found: bool) -> bool:
        if request.reference:
            return was_found
        if stored.is_complete:
            return True
        if request.attempts >= MAX_STALE_READS:
            logger.warning("the API keeps showing less than its notifications told", **request_labels(request))
            return True
        return False


def was_synced(connection: Connection, claimed: ClaimedReads) -> bool:
    """Whether the listing of the claimed kind was synced to its end before."""
    cursor = sync_runs.cursors(connection, [claimed.tenant]).get((claimed.tenant, claimed.kind))
    return cursor is not None and cursor.changed_until is not None
