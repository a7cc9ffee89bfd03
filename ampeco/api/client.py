"""The client of AMPECO's API: reads of entities, and calls that manage subscriptions.

It is synchronous, for workers. It requests full resources, follows cursors and retries idempotent
calls after a short failure. Rate limits are left to the caller, because all processes share them
(AMPECO API, resources and notifications v2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import SecretStr
from pydantic.alias_generators import to_camel
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from ampeco import errors
from ampeco.api.answer_headers import AnswerHeaders
from ampeco.api.answers import Answer, M, read_answer, unwrapped
from ampeco.api.listing import Listing, Page, Params, read_page
from ampeco.api.offered import OfferedPaths
from ampeco.api.transport import AfterCall, Exchange, Transport
from ampeco.resources.charging import (
    Authorization,
    ChargePoint,
    ConsumptionPoint,
    Evse,
    Location,
    NetworkStatusLogEntry,
    Session,
    StatusLogEntry,
    Subscription,
)
from ampeco.resources.kind import Kind
from ampeco.resources.registry import fleet, sessions

__all__ = ["Answer", "Client", "Filter"]

Filter = str | int | bool | datetime | None

_RESOURCES = "/public-api/resources"
_SUBSCRIPTIONS = "/public-api/notifications/v2.0"
_SUBSCRIPTION_ACTIONS = "/public-api/actions/notifications/v1.0"

#: The wait before a retry: a random part of 0.5 s, then of 1 s, at most of 4 s, so that many
#: workers do not retry at the same time.
_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 4.0


class Client:
    """AMPECO's API for one tenant; a context manager, safe to share between threads.

    Every method raises an ``ampeco.errors.ApiError`` if its call fails. A listing's filters are
    AMPECO's own in snake_case (``last_updated_after``). A filter of None is left out, and times
    must be aware. ``ampeco.api.listing.Listing`` describes how a listing deals with failures.

    Parameters:
        base_url: the tenant's address, such as ``https://tenant.eu.charge.ampeco.tech``.
        token: an API access token. It is in no text form of this object and in no error.
        timeout_seconds: for connecting, and for each wait for a part of the answer.
        per_page: resources in one page of a listing, 1 to 100.
        max_attempts: how often an idempotent call is tried while the tenant is unavailable.
        before_call: called before each call, to count it, to delay it, or to refuse it by raising.
        on_answer: called with the headers of each answer.
        after_call: called after each call, with its failure and its duration.
        offered: the endpoints that the tenant offers of kinds with several versions; clients of a tenant share it.
        now: returns our time, aware; the tenant's clock is measured against it.
        transport: replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str,
        token: SecretStr,
        *,
        timeout_seconds: float = 10,
        per_page: int = 100,
        max_attempts: int = 3,
        before_call: Callable[[], None] | None = None,
        on_answer: Callable[[AnswerHeaders], None] | None = None,
        after_call: AfterCall | None = None,
        offered: OfferedPaths | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(
            base_url,
            token,
            timeout_seconds=timeout_seconds,
            before_call=before_call,
            on_answer=on_answer,
            after_call=after_call,
            now=now,
            transport=transport,
        )
        self._offered = OfferedPaths() if offered is None else offered
        self._paged: Params = [("per_page", str(per_page))]
        self._max_attempts = max_attempts

    def __repr__(self) -> str:
        return f"Client({self._transport.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def tenant_time(self, moment: datetime) -> datetime:
        """Return the tenant's time at a moment of our clock, estimated from its answers; see ``ampeco.api.clock``."""
        return self._transport.clock.at(moment)

    @property
    def clock_offset(self) -> timedelta | None:
        """How far the tenant's clock is ahead of ours, to a second; None before the first answer with a ``Date``."""
        return self._transport.clock.offset

    def read(self, kind: Kind[M], entity_id: int) -> Answer[M]:
        """Read one entity in full."""
        exchange = self._get_of(kind, f"/{entity_id}", [*kind.parts])
        return read_answer(kind.model, unwrapped(exchange.body), exchange)

    def list(self, kind: Kind[M], **filters: Filter) -> Iterator[Answer[M]]:
        """List the entities of a kind, each with the same parts as from ``read``."""
        return Listing(lambda page: self._get_of(kind, "", page), kind.model, self.first_query(kind, **filters))

    def page(self, kind: Kind[M], query: Params) -> Page[M]:
        """Read one page of a listing.

        Parameters:
            query: the result of ``first_query``, or ``following`` of the page before.
        """
        return read_page(self._get_of(kind, "", query), kind.model, query)

    def path(self, kind: Kind[Any]) -> str:
        """Return the path of a kind's listing that is used first: the newest version, unless the tenant lacks it."""
        return self._offered.paths(kind)[0]

    def first_query(self, kind: Kind[Any], **filters: Filter) -> Params:
        """Return the query of a listing's first page."""
        return [*self._paged, *_filters(filters), *kind.listing_parameters]

    def session(self, session_id: int) -> Answer[Session]:
        """Read a session with its authorization and charging periods."""
        return self.read(sessions.SESSION, session_id)

    def charge_point(self, charge_point_id: int) -> Answer[ChargePoint]:
        """Read a charge point with its last boot notification; ``evses`` lists its EVSEs."""
        return self.read(fleet.CHARGE_POINT, charge_point_id)

    def evse(self, evse_id: int) -> Answer[Evse]:
        """Read an EVSE with its connectors."""
        return self.read(fleet.EVSE, evse_id)

    def location(self, location_id: int) -> Answer[Location]:
        """Read a location."""
        return self.read(fleet.LOCATION, location_id)

    def evse_hardware_status(self, evse_id: int) -> Answer[StatusLogEntry]:
        """Read the latest hardware status of an EVSE, with its own time."""
        return self._latest(StatusLogEntry, f"{_RESOURCES}/evses/v2.0/{evse_id}/latest-hardware-status-log")

    def charge_point_hardware_status(self, charge_point_id: int) -> Answer[StatusLogEntry]:
        """Read the latest hardware status of a charge point as a whole, with its own time."""
        path = f"{_RESOURCES}/charge-points/v2.0/{charge_point_id}/latest-hardware-status-log"
        return self._latest(StatusLogEntry, path)

    def charge_point_network_status(self, charge_point_id: int) -> Answer[NetworkStatusLogEntry]:
        """Read the latest network status of a charge point, with its own time."""
        path = f"{_RESOURCES}/charge-points/v2.0/{charge_point_id}/latest-network-status-log"
        return self._latest(NetworkStatusLogEntry, path)

    def evse_hardware_log(self, evse_id: int, **filters: Filter) -> Iterator[Answer[StatusLogEntry]]:
        """List the hardware statuses of an EVSE; the filters are ``created_after`` and ``created_before``."""
        return self._log(StatusLogEntry, f"evses/v2.0/{evse_id}/hardware-status-logs", filters)

    def charge_point_hardware_log(self, charge_point_id: int, **filters: Filter) -> Iterator[Answer[StatusLogEntry]]:
        """List the hardware statuses of a charge point as a whole; the filters are those of ``evse_hardware_log``."""
        return self._log(StatusLogEntry, f"charge-points/v2.0/{charge_point_id}/hardware-status-logs", filters)

    def charge_point_network_log(
        self, charge_point_id: int, **filters: Filter
    ) -> Iterator[Answer[NetworkStatusLogEntry]]:
        """List the network statuses of a charge point; the filters are those of ``evse_hardware_log``."""
        return self._log(NetworkStatusLogEntry, f"charge-points/v2.0/{charge_point_id}/network-status-logs", filters)

    def consumption_stats(self, session_id: int) -> Iterator[Answer[ConsumptionPoint]]:
        """List the points of a session's consumption, which AMPECO shows on one page."""
        return self._list(ConsumptionPoint, f"{_RESOURCES}/sessions/v1.0/{session_id}/consumption-stats", [])

    def sessions(self, **filters: Filter) -> Iterator[Answer[Session]]:
        """List sessions."""
        return self.list(sessions.SESSION, **filters)

    def charge_points(self, **filters: Filter) -> Iterator[Answer[ChargePoint]]:
        """List charge points."""
        return self.list(fleet.CHARGE_POINT, **filters)

    def evses(self, **filters: Filter) -> Iterator[Answer[Evse]]:
        """List EVSEs."""
        return self.list(fleet.EVSE, **filters)

    def locations(self, **filters: Filter) -> Iterator[Answer[Location]]:
        """List locations."""
        return self.list(fleet.LOCATION, **filters)

    def authorizations(self, **filters: Filter) -> Iterator[Answer[Authorization]]:
        """List authorizations."""
        return self.list(sessions.AUTHORIZATION, **filters)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """List all subscriptions of the tenant, not only those that we manage."""
        return tuple(answer.resource for answer in self._list(Subscription, _SUBSCRIPTIONS, self._paged))

    def subscribe(
        self, callback_url: str, notifications: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> Subscription:
        """Create a subscription; AMPECO signs its notifications with this client's token.

        The call is not retried: every success adds a subscription, and with it a copy of every
        notification. After an ``Unavailable``, check ``subscriptions`` before the next attempt.
        """
        body = _subscription_body(callback_url, notifications, options)
        return self._write("POST", _SUBSCRIPTIONS, body, attempts=1)

    def update_subscription(
        self,
        subscription_id: int,
        callback_url: str,
        notifications: Sequence[str],
        options: Mapping[str, Any] | None = None,
    ) -> Subscription:
        """Replace a subscription's callback URL, notification types and options.

        Parameters:
            options: further keys of the subscription and of its ``webhook``, by AMPECO's names.
        """
        body = _subscription_body(callback_url, notifications, options)
        return self._write("PUT", f"{_SUBSCRIPTIONS}/{subscription_id}", body, self._max_attempts)

    def unsubscribe(self, subscription_id: int) -> None:
        """Remove a subscription."""
        retrying = self._retrying(self._max_attempts)
        try:
            retrying(self._transport.exchange, "DELETE", f"{_SUBSCRIPTIONS}/{subscription_id}")
        except errors.NotFound:
            # On a retry the subscription is gone because the first attempt removed it, and only the answer was lost.
            if retrying.statistics["attempt_number"] == 1:
                raise

    def resend(
        self,
        subscription_id: int,
        notifications: Sequence[str],
        start_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> None:
        """Request that AMPECO send again the notifications that it could not deliver (AMPECO API, resend).

        AMPECO accepts this once in 15 minutes for a subscription, and sends each failed notification
        once; one that fails again returns to its list of failures. The call is not retried, because
        AMPECO would refuse the second one.

        Parameters:
            notifications: the notification types to send again.
            start_time, end_time: by the tenant's clock, aware; None sets no limit.

        Raises:
            errors.Conflict: 409, within the 15 minutes, or the subscription is disabled.
            errors.Invalid: 422, AMPECO does not understand the request.
            errors.NotFound: the subscription does not exist, so its list of failures does not either.
        """
        body: dict[str, Any] = {"notifications": list(notifications)}
        for name, moment in (("startTime", start_time), ("endTime", end_time)):
            if moment is not None:
                body[name] = _spelled(moment)
        self._transport.exchange("POST", f"{_SUBSCRIPTION_ACTIONS}/{subscription_id}/resend", body=body)

    def _read(self, model: type[M], path: str, parts: Params | None = None) -> Answer[M]:
        exchange = self._get(path, parts)
        return read_answer(model, unwrapped(exchange.body), exchange)

    def _latest(self, model: type[M], path: str) -> Answer[M]:
        exchange = self._get(path)
        entry = unwrapped(exchange.body)
        if not entry:
            raise errors.NotFound(*exchange.call, "nothing was ever logged", exchange.tenant_time)
        return read_answer(model, entry, exchange)

    def _list(self, model: type[M], path: str, query: Params) -> Iterator[Answer[M]]:
        return Listing(lambda page: self._get(path, page), model, query)

    def _log(self, model: type[M], path: str, filters: dict[str, Filter]) -> Iterator[Answer[M]]:
        return self._list(model, f"{_RESOURCES}/{path}", [*self._paged, *_filters(filters)])

    def _get(self, path: str, query: Params | None = None) -> Exchange:
        return self._retrying(self._max_attempts)(self._transport.exchange, "GET", path, query or [])

    def _get_of(self, kind: Kind[Any], below: str, query: Params) -> Exchange:
        """Read a listing of a kind, or with ``below`` one of its entities, by the newest version that is offered."""
        paths = self._offered.paths(kind)
        for path in paths:
            try:
                exchange = self._get(f"{_RESOURCES}/{path}{below}", query)
            except errors.NotOffered:
                if path == paths[-1]:
                    raise
            except errors.NotFound:
                # An entity may be missing; a listing has nothing that could be.
                if below or path == paths[-1]:
                    raise
            else:
                self._offered.remember(kind, path)
                return exchange
        raise AssertionError("a kind has a path")

    def _write(self, method: str, path: str, body: dict[str, Any], attempts: int) -> Subscription:
        exchange = self._retrying(attempts)(self._transport.exchange, method, path, body=body)
        return read_answer(Subscription, unwrapped(exchange.body), exchange).resource

    @staticmethod
    def _retrying(attempts: int) -> Retrying:
        return Retrying(
            stop=stop_after_attempt(attempts),
            wait=wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_MAX_WAIT_SECONDS),
            retry=retry_if_exception(_worth_repeating),
            reraise=True,
        )


def _worth_repeating(error: BaseException) -> bool:
    """Return whether a failure is short, and not one for which the tenant requested a longer delay."""
    return isinstance(error, errors.Unavailable) and error.retry_after_seconds is None


def _filters(filters: dict[str, Filter]) -> Params:
    return [(f"filter[{to_camel(name)}]", _spelled(value)) for name, value in filters.items() if value is not None]


def _spelled(value: str | int | datetime) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, datetime):
        return str(value)
    if value.tzinfo is None:
        raise ValueError("a filter's time needs a zone")
    # Full seconds, as in AMPECO's own examples: an `after` includes at most one second more.
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _subscription_body(
    callback_url: str, notifications: Sequence[str], options: Mapping[str, Any] | None
) -> dict[str, Any]:
    others = dict(options or {})
    webhook = {**others.pop("webhook", {}), "callbackUrl": callback_url}
    return {**others, "via": "webhook", "notifications": list(notifications), "webhook": webhook}
