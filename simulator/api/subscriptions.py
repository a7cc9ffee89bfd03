"""Subscriptions to notifications, v2.0, and the resend action."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ampeco.notifications.catalogue import lookup
from simulator.api.listings import Listing
from simulator.api.problems import Problem
from simulator.api.requests import parsed
from simulator.api.responses import json_response
from simulator.delivery.delivery import Delivery
from simulator.delivery.subscribers import OPTIONS, Subscribers, Subscription
from simulator.fleet.fleet import Fleet

PATH = "/public-api/notifications/v2.0"
RESEND_PATH = "/public-api/actions/notifications/v1.0/{id:int}/resend"

#: AMPECO accepts one resend in this time for a subscription.
RESEND_INTERVAL = timedelta(minutes=15)

_ADDRESS: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


def _as_given(url: str) -> str:
    """Refuse text that is no URL; return a URL unchanged, because subscribers compare it with their own."""
    _ADDRESS.validate_python(url)
    return url


class _Webhook(_Body):
    callback_url: Annotated[str, AfterValidator(_as_given)]


class _SubscriptionBody(_Body):
    model_config = ConfigDict(extra="allow")

    via: Literal["webhook"]  # Kafka is not simulated
    notifications: Annotated[list[str], Field(min_length=1)]
    webhook: _Webhook


def _aware(moment: datetime) -> datetime:
    """Return a time with a zone; one without is UTC (AMPECO API, conventions)."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _ResendBody(_Body):
    notifications: Annotated[list[str], Field(min_length=1)]
    start_time: Annotated[datetime, AfterValidator(_aware)] | None = None
    end_time: Annotated[datetime, AfterValidator(_aware)] | None = None


class SubscriptionApi:
    """The calls that read and change subscriptions."""

    def __init__(self, fleet: Fleet, subscribers: Subscribers, delivery: Delivery) -> None:
        self._fleet = fleet
        self._subscribers = subscribers
        self._delivery = delivery

    def routes(self) -> list[Route]:
        """Return the routes of subscriptions v2.0 and of the resend action."""
        return [
            Route(PATH, self._list, methods=["GET"]),
            Route(PATH, self._create, methods=["POST"]),
            Route(f"{PATH}/{{id:int}}", self._read, methods=["GET"]),
            Route(f"{PATH}/{{id:int}}", self._update, methods=["PUT"]),
            Route(f"{PATH}/{{id:int}}", self._delete, methods=["DELETE"]),
            Route(RESEND_PATH, self._resend, methods=["POST"]),
        ]

    def _found(self, request: Request) -> Subscription:
        subscription = self._subscribers.by_id.get(request.path_params["id"])
        if subscription is None:
            raise Problem(404)
        return subscription

    async def _list(self, request: Request) -> Response:
        listing = Listing(self._subscribers.by_id.values, lambda row: row.id, Subscription.resource, {})
        return json_response(listing.answer(str(request.url.replace(query="")), request.query_params.multi_items()))

    async def _read(self, request: Request) -> Response:
        return json_response({"data": self._found(request).resource()})

    async def _create(self, request: Request) -> Response:
        body = _subscription_body(await request.body())
        token = request.headers["authorization"].removeprefix("Bearer ")
        subscription = self._subscribers.add(body.webhook.callback_url, body.notifications, token)
        subscription.options = _options(body)
        return json_response({"data": subscription.resource()}, 201)

    async def _update(self, request: Request) -> Response:
        subscription = self._found(request)
        body = _subscription_body(await request.body())
        subscription.callback_url = body.webhook.callback_url
        subscription.notifications = body.notifications
        subscription.options = _options(body)
        return json_response({"data": subscription.resource()})

    async def _delete(self, request: Request) -> Response:
        subscription = self._found(request)
        del self._subscribers.by_id[subscription.id]
        self._delivery.forget(subscription.id)
        return Response(status_code=204)

    async def _resend(self, request: Request) -> Response:
        subscription = self._found(request)
        body = parsed(_ResendBody, await request.body())
        now = self._fleet.now
        if subscription.resent_at is not None and now - subscription.resent_at < RESEND_INTERVAL:
            raise Problem(409, "The notifications of this subscription were resent less than 15 minutes ago.")
        subscription.resent_at = now
        self._delivery.resend(subscription, set(body.notifications), body.start_time, body.end_time)
        return Response(status_code=202)


def _options(body: _SubscriptionBody) -> dict[str, bool]:
    """Return the options of a subscription that a body sets; the others have their default."""
    return {name: bool(value) for name, value in (body.model_extra or {}).items() if name in OPTIONS}


def _subscription_body(raw: bytes) -> _SubscriptionBody:
    body = parsed(_SubscriptionBody, raw)
    unknown = [name for name in body.notifications if (known := lookup(name)) is None or not known.subscribable]
    if unknown:
        raise Problem(
            422,
            "The given data was invalid.",
            {"notifications": [f"The selected notification {name} is invalid." for name in unknown]},
        )
    return body
