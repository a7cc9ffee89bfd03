"""Read claimed entities from the API: by the pages of a listing if that is cheaper, else one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ampeco.api.client import Answer, Client
from ampeco.api.listing import Params
from ampeco.errors import ApiError, Forbidden, NotFound, NotOffered, RateLimited, Unauthorized, Unavailable
from ampeco.resources.kinds import KINDS
from runtime.errors import describe
from runtime.logging import get_logger
from storage.erasure.suppression import remove_suppressed_from_changes
from storage.errors import is_unrelated_to_values
from storage.state.changes import ChangeSet
from storage.state.stored import StoredEntity, load_stored
from storage.state.unknown_fields import record_unknown_fields
from storage.sync import inaccessible_kinds, refresh_queue, sync_runs
from storage.sync.refresh_queue import RefreshRequest
from storage.sync.sync_runs import Cursor
from storage.write import write_changes
from workers.api.backoff import is_of_one
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.metrics import API_READS
from workers.sync.claimed_reads import ClaimedReads, request_labels
from workers.sync.reads import (
    EntityRead,
    changes_from_absence,
    changes_from_answer,
    listing_filters,
    look_up,
    read_entity,
)
from workers.sync.schedule import OVERLAP
from workers.sync.statuses import LogReads

logger = get_logger(__name__)

#: Fewer entities than this are read one by one, because a page costs a call, too. A second listing, which begins
#: earlier, is less likely to show them.
MIN_FOR_A_LISTING = 2
MIN_FOR_A_SECOND_LISTING = 3

#: If a page contains fewer requested entities than this, it was not worth its call; the rest is read one by one.
MIN_OF_A_PAGE = 2

#: The listing is filtered by changes since this long before the first request: the tenant's clock is known to a second
#: only, and a notification arrives a moment after its change.
LISTING_MARGIN = timedelta(seconds=30)

#: The API may lag behind its own notifications. After so many reads that still show an older state, the request counts
#: as resolved: the API is right, and something else is wrong.
MAX_STALE_READS = 8

#: A kind that sync runs can list may be read. It counts as forbidden only after so many single reads in a row were.
MAX_REFUSED_IN_A_ROW = 3

#: Errors that concern the whole tenant, or the whole kind.
_OF_THE_TENANT = (Forbidden, NotOffered, RateLimited, Unauthorized, Unavailable)


class RefreshReader:
    """Reads claimed entities, and writes the changes.

    Parameters:
        is_trial: whether the kind was forbidden before, and is tried again.
        deadline: when to stop reading, by the monotonic clock.

    Attributes:
        calls: number of calls that were made, without those for status logs.
    """

    def __init__(self, claimed: ClaimedReads, client: Client, *, is_trial: bool, deadline: float) -> None:
        self._claimed = claimed
        self._client = client
        self._deadline = deadline
        self._is_trial = is_trial
        self._refused_in_a_row = 0
        #: The path by which the kind's listing answered after an uncertain 404; None before that.
        self._listing_path: str | None = None
        self.calls = 0

    def read_listings(self) -> None:
        """Read pages of listings, as long as each page saves calls.

        The first one shows what changed since it was requested. The second one shows what has changed since the last
        sync run: changes whose notifications came late are older than the requests.
        """
        requested_since = self._first_requested()
        if requested_since is None or len(self._changed()) < MIN_FOR_A_LISTING:
            return
        self._read_listing(requested_since)
        if len(self._changed()) >= MIN_FOR_A_SECOND_LISTING:
            synced_until = self._last_synced()
            if synced_until is not None and synced_until < requested_since:
                self._read_listing(synced_until)

    def _read_listing(self, since: datetime) -> None:
        query: Params | None = self._listing_query(since)
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
            # By id, because a page may list an entity twice.
            by_id = {answer.resource.id: answer for answer in page.answers}
            requested = [answer for entity_id, answer in by_id.items() if (entity_id, "") in self._claimed.open]
            self._store_page(requested)
            if len(requested) < MIN_OF_A_PAGE:
                return
            query = page.following

    def _changed(self) -> list[RefreshRequest]:
        """Return the open requests that a listing of what changed may resolve; none if the kind has no such filter."""
        # The filters of other kinds do not show every change, or show it late.
        if KINDS[self._claimed.kind].changed_filters != ("last_updated_after",):
            return []
        open_requests = self._claimed.open.values()
        return [request for request in open_requests if not request.reference and request.reason != "unknown"]

    def _first_requested(self) -> datetime | None:
        """Return when the first of the open requests was made, by the tenant's clock."""
        requested_at = min((request.requested_at for request in self._changed()), default=None)
        return None if requested_at is None else self._client.tenant_time(requested_at - LISTING_MARGIN)

    def _last_synced(self) -> datetime | None:
        """Return up to when sync runs have read every change, by the tenant's clock; None if there was none."""
        with self._claimed.context.engine.begin() as connection:
            cursor = kind_cursor(connection, self._claimed)
        return None if cursor is None or cursor.changed_until is None else cursor.changed_until - OVERLAP

    def _listing_query(self, since: datetime) -> Params:
        kind = KINDS[self._claimed.kind]
        # Requested entities that these filters leave out are read one by one.
        filters = listing_filters(kind, self._claimed.context.tenants[self._claimed.tenant])
        filters[kind.changed_filters[0]] = since
        return self._client.first_query(kind, **filters)

    def read_one(self, request: RefreshRequest) -> None:
        """Read one entity by its id, or look it up by its reference."""
        kind = self._claimed.kind
        self.calls += 1
        try:
            gone = False
            if request.reference:
                changes = self._look_up_offered(request.reference)
            else:
                read = self._entity_reads([request.entity_id], LogReads())[request.entity_id]
                try:
                    changes = self._read_offered(read)
                except NotFound as error:
                    changes, gone = changes_from_absence(kind, request.entity_id, error.tenant_time), True
        except Forbidden as error:
            if not self._is_only_entity_forbidden():
                raise
            self._claimed.fail(request, error)
        except Unavailable as error:
            if is_of_one(error):
                # In case this entity caused it: the other requests come first the next time.
                self._claimed.fail(request, error)
            raise
        except _OF_THE_TENANT:
            raise
        except (ApiError, ValidationError, ValueError) as error:
            self._claimed.fail(request, error)
        else:
            recovered(self._claimed.context.redis, self._claimed.tenant)
            API_READS.labels(self._claimed.tenant, "gone" if gone else "found").inc()
            self._store_one(request, changes, gone=gone)

    def _look_up_offered(self, reference: str) -> ChangeSet:
        """Look entities up by a reference; a listing has no record that could be missing, so its 404 is of the kind.

        Raises:
            NotOffered: the listing does not exist.
        """
        try:
            return look_up(self._claimed.kind, self._client, reference)
        except NotFound as error:
            raise NotOffered(error.method, error.path, error.status, error.reason) from None

    def _read_offered(self, read: EntityRead) -> ChangeSet:
        """Read an entity, and make sure that a 404 concerns the record, and not its kind.

        Raises:
            NotFound: the record does not exist: AMPECO says so, or the kind's listing answers.
            NotOffered: the listing does not exist, either.
            ApiError: the entity or the listing cannot be read now, so a 404 decides nothing.
        """
        kind = self._claimed.kind
        try:
            return read_entity(kind, self._client, read)
        except NotFound as error:
            if error.is_certain or self._is_listed_by(error.path):
                raise
            if not KINDS[kind].has_listing:
                raise NotOffered(error.method, error.path, error.status, error.reason) from None
            self._require_listing(error)
            if self._is_listed_by(error.path):
                raise
        # The listing answers by another version than the one by which the entity was not found.
        return read_entity(kind, self._client, read)

    def _is_listed_by(self, path: str) -> bool:
        """Return whether the listing answered by the version of the endpoint that a call of one entity used."""
        return self._listing_path is not None and f"/{self._listing_path}/" in path

    def _require_listing(self, error: NotFound) -> None:
        kind = KINDS[self._claimed.kind]
        self.calls += 1
        try:
            self._client.page(kind, self._client.first_query(kind))
        except (NotFound, NotOffered):
            raise NotOffered(error.method, error.path, error.status, error.reason) from None
        self._listing_path = self._client.path(kind)

    def _store_one(self, request: RefreshRequest, changes: ChangeSet, *, gone: bool) -> None:
        try:
            self._store(changes, [request], gone=gone)
        except DBAPIError as error:
            if is_unrelated_to_values(error):
                raise
            # Our models accepted a value that Postgres rejects: the other requests must not wait for this one.
            self._claimed.fail(request, error)

    def _is_only_entity_forbidden(self) -> bool:
        """Return whether a 403 concerns one entity and not its kind: the kind was synced, and 403s in a row are few."""
        self._refused_in_a_row += 1
        if self._is_trial or self._refused_in_a_row >= MAX_REFUSED_IN_A_ROW:
            return False
        with self._claimed.context.engine.begin() as connection:
            return was_synced(connection, self._claimed)

    def _store_page(self, answers: Sequence[Answer[Any]]) -> None:
        """Store the claimed entities that a page lists."""
        logs = LogReads(are_optional=True)
        reads = self._entity_reads([answer.resource.id for answer in answers], logs)
        page_changes, requests = ChangeSet(), []
        failure: ApiError | CallDeferredError | None = None
        for answer in answers:
            request = self._claimed.open[answer.resource.id, ""]
            try:
                changes = changes_from_answer(self._claimed.kind, self._client, answer, reads[request.entity_id])
            except (*_OF_THE_TENANT, CallDeferredError) as error:
                if isinstance(error, ApiError) and is_of_one(error):
                    self._claimed.fail(request, error)
                failure = error
                break  # the entities before this one are stored nevertheless
            except (ApiError, ValidationError, ValueError) as error:
                self._claimed.fail(request, error)
                continue
            page_changes.add(changes)
            requests.append(request)
        API_READS.labels(self._claimed.tenant, "listed").inc(len(requests))
        if requests:
            try:
                self._store(page_changes, requests)
            except DBAPIError as error:
                if is_unrelated_to_values(error):
                    raise
                # Postgres rejects a value of one of the entities: their requests stay open, and are read one by one.
                logger.warning(
                    "page not stored", tenant=self._claimed.tenant, kind=self._claimed.kind, error=describe(error)
                )
        if failure is not None:
            raise failure
        logs.end()

    def _entity_reads(self, ids: Sequence[int], logs: LogReads) -> dict[int, EntityRead]:
        with self._claimed.context.engine.begin() as connection:
            stored = load_stored(connection, self._claimed.tenant, self._claimed.kind, ids)
        return {entity_id: EntityRead(entity_id, stored[entity_id], logs) for entity_id in ids}

    def _store(self, changes: ChangeSet, requests: Sequence[RefreshRequest], *, gone: bool = False) -> None:
        """Write changes, and resolve the requests that they satisfy, in one transaction; retry the others later."""
        ids = [request.entity_id for request in requests]
        with self._claimed.context.engine.begin() as connection:
            if self._is_trial:
                inaccessible_kinds.clear_inaccessible(connection, self._claimed.tenant, self._claimed.kind)
            remove_suppressed_from_changes(connection, self._claimed.tenant, [changes])
            write_changes(
                connection, self._claimed.tenant, changes, skip_confirmed=True, is_being_read=self._claimed.holds
            )
            stored = load_stored(connection, self._claimed.tenant, self._claimed.kind, ids)
            resolved = [
                request
                for request in requests
                if gone or self._is_resolved(request, stored[request.entity_id], was_found=bool(changes.facts))
            ]
            refresh_queue.finish(connection, self._claimed.tenant, resolved)
            record_unknown_fields(connection, self._claimed.tenant, changes.unknown_fields)
        self._is_trial = False
        self._refused_in_a_row = 0
        self._claimed.note_resolved(resolved)
        for request in requests:
            if request not in resolved:
                if request.reference:
                    self._claimed.retry_lookup(request)
                else:
                    self._claimed.retry(request, "the API still shows an older state")

    def _is_resolved(self, request: RefreshRequest, stored: StoredEntity, *, was_found: bool) -> bool:
        if request.reference:
            return was_found
        if stored.is_complete:
            return True
        if request.attempts >= MAX_STALE_READS:
            logger.warning("the API keeps showing an older state than its notifications", **request_labels(request))
            return True
        return False


def kind_cursor(connection: Connection, claimed: ClaimedReads) -> Cursor | None:
    """Return how far the claimed kind is reconciled; None if it was never synced."""
    return sync_runs.cursors(connection, [claimed.tenant]).get((claimed.tenant, claimed.kind))


def was_synced(connection: Connection, claimed: ClaimedReads) -> bool:
    """Return whether a sync run of the claimed kind was finished before."""
    cursor = kind_cursor(connection, claimed)
    return cursor is not None and cursor.changed_until is not None
