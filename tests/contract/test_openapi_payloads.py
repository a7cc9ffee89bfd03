"""Our models read whatever AMPECO's own schemas allow.

Where a model requires more than its schema, it is listed here: these are the only reasons
for which a documented notification or answer may be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from ampeco import payloads, resources
from ampeco.catalogue import CATALOGUE, DEFAULT_SUBSCRIPTION, SUBSCRIBABLE
from ampeco.errors import NoHandler
from ampeco.model import Model
from tests.contract.generation import values_of
from tests.contract.openapi import JsonSchema, load_document, payload_schema, request_schema, response_schema
from tests.unit.ampeco.samples import NOTIFICATIONS, sample

RESOURCES = "/public-api/resources"
SUBSCRIPTIONS = "/public-api/notifications/v2.0"

HANDLED = [known.name for known in CATALOGUE if known.handler]
UNHANDLED = [known.name for known in CATALOGUE if not known.handler]

#: What our payload models require beyond the schemas.
REQUIRED_OF_PAYLOADS: dict[str, Sequence[str]] = {
    "SessionStartStopNotification": ["action"],
    "SessionUpdateNotification": ["session.lastUpdatedAt"],
    "SessionMeterValuesNotification": ["meterValues.[].timestamp", "meterValues.[].value"],
    "BootNotification": ["notification", "chargePointId", "timestamp"],
    "LocationChangedNotification": ["location.id"],
    "ChargePointChangedNotification": ["chargePoint.evses.[].connectors.[].id"],
}

#: Each read that the client makes, its model, and what that requires beyond the schema.
READS: list[tuple[str, type[Model], Sequence[str]]] = [
    (f"{RESOURCES}/sessions/v1.0/{{session}}", resources.Session, ["lastUpdatedAt"]),
    (f"{RESOURCES}/sessions/v1.0", resources.Session, ["lastUpdatedAt"]),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}", resources.ChargePoint, []),
    (f"{RESOURCES}/charge-points/v2.0", resources.ChargePoint, []),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/evses", resources.Evse, []),
    (f"{RESOURCES}/evses/v2.1/{{evse}}", resources.Evse, []),
    (f"{RESOURCES}/evses/v2.1", resources.Evse, []),
    (f"{RESOURCES}/locations/v2.0/{{location}}", resources.Location, ["id"]),
    (f"{RESOURCES}/locations/v2.0", resources.Location, ["id"]),
    (f"{RESOURCES}/authorizations/v2.1", resources.Authorization, []),
    (f"{RESOURCES}/evses/v2.0/{{evse}}/latest-hardware-status-log", resources.StatusLogEntry, []),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/latest-hardware-status-log", resources.StatusLogEntry, []),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/latest-network-status-log", resources.NetworkStatusLogEntry, []),
    (SUBSCRIPTIONS, resources.Subscription, ["id"]),
]

#: Session ids are strings in the schema, and spell an integer.
NUMERIC_STRING = {"type": "string", "pattern": "[0-9]{1,18}"}

drawn = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    # Drawing from a schema of a hundred keys is slow whatever the model does.
    suppress_health_check=list(HealthCheck),
)


def adjusted_payload(name: str) -> JsonSchema:
    schema = payload_schema(name)
    if name == "SessionUpdateNotification":
        schema["properties"]["session"]["properties"]["id"] = NUMERIC_STRING
    if name == "ChargePointChangedNotification":
        # A power, as a number without bounds: it is kept as a 64-bit integer.
        for part in schema["properties"]["chargePoint"]["allOf"]:
            for evse in part["properties"].get("evses", {}).get("items", {}).get("allOf", []):
                evse["properties"].get("maxPower", {}).update(minimum=-(2**62), maximum=2**62)
    return schema


def resource_schema(path: str, model: type[Model]) -> JsonSchema:
    schema: JsonSchema = response_schema(path, "get", 200)["properties"]["data"]
    schema = schema.get("items", schema)
    if model is resources.Session:
        schema["properties"]["id"] = NUMERIC_STRING
    if model is resources.Subscription:
        schema["properties"]["id"] = {"type": "integer"}  # "number" in the document, and an id
    return schema


@pytest.mark.parametrize("name", HANDLED)
def test_every_payload_that_the_schema_allows_is_read(name: str) -> None:
    bodies = values_of(adjusted_payload(name), REQUIRED_OF_PAYLOADS.get(name, []))

    @drawn
    @given(bodies)
    def is_read(body: dict[str, Any]) -> None:
        assert payloads.parse(body).notification == name

    is_read()


@pytest.mark.parametrize(("path", "model", "required"), READS, ids=[path for path, _, _ in READS])
def test_every_resource_that_the_schema_allows_is_read(path: str, model: type[Model], required: Sequence[str]) -> None:
    bodies = values_of(resource_schema(path, model), required)

    @drawn
    @given(bodies)
    def is_read(body: dict[str, Any]) -> None:
        assert model.model_validate(body)

    is_read()


@pytest.mark.parametrize("name", UNHANDLED)
def test_a_notification_without_state_is_known_by_its_name(name: str) -> None:
    with pytest.raises(NoHandler):
        payloads.parse({"notification": name})


def test_the_catalogue_holds_exactly_the_documented_names() -> None:
    callbacks = load_document()["paths"][SUBSCRIPTIONS]["post"]["callbacks"]

    assert set(SUBSCRIBABLE) == set(_subscribable())
    assert {known.name for known in CATALOGUE} == {*_subscribable(), *callbacks}


def test_the_catalogue_calls_deprecated_and_undocumented_what_the_document_calls_so() -> None:
    callbacks = load_document()["paths"][SUBSCRIPTIONS]["post"]["callbacks"]
    documented = {name: next(iter(callback.values()))["post"] for name, callback in callbacks.items()}

    for known in CATALOGUE:
        if known.name not in documented:
            assert known.status == "undocumented", known.name
        else:
            deprecated = documented[known.name].get("deprecated", False)
            assert known.status == ("deprecated" if deprecated else "current"), known.name


def test_ampeco_accepts_our_default_subscription() -> None:
    body: dict[str, Any] = {
        "id": 0,  # read-only, and yet in the document's list of required keys
        "via": "webhook",
        "notifications": list(DEFAULT_SUBSCRIPTION),
        "webhook": {"callbackUrl": "https://hooks.example.com/ampeco"},
    }

    jsonschema.validate(body, request_schema(SUBSCRIPTIONS, "post"))


@pytest.mark.parametrize("name", NOTIFICATIONS)
def test_each_sample_notification_is_one_that_the_schema_allows(name: str) -> None:
    body = sample(name)

    jsonschema.validate(body, payload_schema(body["notification"]))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("session_read", f"{RESOURCES}/sessions/v1.0/{{session}}"),
        ("sessions_page_cursor", f"{RESOURCES}/sessions/v1.0"),
        ("charge_point_read", f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}"),
        ("latest_hardware_status_log", f"{RESOURCES}/evses/v2.0/{{evse}}/latest-hardware-status-log"),
        ("latest_network_status_log", f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/latest-network-status-log"),
        ("notification_subscription", f"{SUBSCRIPTIONS}/{{notification}}"),
    ],
)
def test_each_sample_answer_is_one_that_the_schema_allows(name: str, path: str) -> None:
    jsonschema.validate(sample(f"rest/{name}.json"), response_schema(path, "get", 200))


def _subscribable() -> list[str]:
    names: list[str] = request_schema(SUBSCRIPTIONS, "post")["properties"]["notifications"]["items"]["enum"]
    return names
