"""Our models read whatever AMPECO's own schemas allow.

Where a model requires more than its schema, it is listed here: these are the only reasons
for which a documented notification or answer, or a part of it, may be refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from pydantic.alias_generators import to_camel

from ampeco.errors import NoHandler
from ampeco.model import Model
from ampeco.notifications.catalogue import CATALOGUE, DEFAULT_SUBSCRIPTION, SUBSCRIBABLE
from ampeco.notifications.parsing import parse
from ampeco.privacy.redaction import is_secret
from ampeco.resources import charging as resources
from ampeco.resources.commercial import Resource
from ampeco.resources.documented import UNREAD
from ampeco.resources.kind import Kind
from ampeco.resources.kinds import KINDS
from ampeco.resources.read_rules import READ_RULES, named_ids
from ampeco.resources.unknown_fields import unknown_fields
from tests.contract.generation import values_of
from tests.contract.openapi import (
    JsonSchema,
    is_deprecated,
    load_document,
    payload_schema,
    query_parameters,
    reads_of_one,
    request_schema,
    response_schema,
)
from tests.unit.ampeco.samples import NOTIFICATIONS, sample

RESOURCES = "/public-api/resources"
SUBSCRIPTIONS = "/public-api/notifications/v2.0"
DOCS = Path(__file__).parents[2] / "docs"
AMPECO = DOCS / "ampeco.md"
DATA_MODEL = DOCS / "data-model.md"

HANDLED = [known.name for known in CATALOGUE if known.handler]
UNHANDLED = [known.name for known in CATALOGUE if not known.handler]

#: What our payload models require beyond the schemas, of the whole or of a part.
REQUIRED_OF_PAYLOADS: dict[str, Sequence[str]] = {
    "SessionUpdateNotification": ["session.lastUpdatedAt"],
    "SessionMeterValuesNotification": ["meterValues.[].timestamp", "meterValues.[].value"],
    "BootNotification": ["notification", "chargePointId", "timestamp"],
    "LocationChangedNotification": ["location.id"],
    "ChargePointChangedNotification": ["chargePoint.evses.[].connectors.[].id"],
    "ChargePointSyncConfigurationNotification": ["notification"],
    "CircuitConsumptionNotification": ["notification"],
    "SubOperatorChangedNotification": ["subOperator.id"],
    "UserChangedNotification": ["user.id"],
}

#: What the models of our kinds require beyond the schemas, and beyond the id, which some schemas do not require.
REQUIRED_OF_KINDS = {"session": ["lastUpdatedAt"], "location": ["chargingZones.[].id"]}

#: Each other read that the client makes, its model, and what that requires beyond the schema.
READS: list[tuple[str, type[Model], Sequence[str]]] = [
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/evses", resources.Evse, []),
    (f"{RESOURCES}/evses/v2.0/{{evse}}/latest-hardware-status-log", resources.StatusLogEntry, []),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/latest-hardware-status-log", resources.StatusLogEntry, []),
    (f"{RESOURCES}/charge-points/v2.0/{{chargePoint}}/latest-network-status-log", resources.NetworkStatusLogEntry, []),
    (f"{RESOURCES}/sessions/v1.0/{{session}}/consumption-stats", resources.ConsumptionPoint, []),
    (SUBSCRIPTIONS, resources.Subscription, ["id"]),
]

#: Session and user ids are strings in the schema, and spell an integer.
NUMERIC_STRING = {"type": "string", "pattern": "[0-9]{1,18}"}

drawn = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    # Drawing from a schema of a hundred keys is slow whatever the model does.
    suppress_health_check=list(HealthCheck),
)


def unreadable(model: Model) -> list[str]:
    """The fields whose values the models cannot read."""
    return [f"{found.model}.{found.name}" for found in unknown_fields(model) if found.what == "value"]


def adjusted_payload(name: str) -> JsonSchema:
    schema = payload_schema(name)
    if name == "SessionUpdateNotification":
        schema["properties"]["session"]["properties"]["id"] = NUMERIC_STRING
    if name == "UserChangedNotification":
        schema["properties"]["user"]["properties"]["id"] = NUMERIC_STRING
    if name == "ChargePointChangedNotification":
        # A power, as a number without bounds: it is kept as a 64-bit integer.
        for part in schema["properties"]["chargePoint"]["allOf"]:
            for evse in part["properties"].get("evses", {}).get("items", {}).get("allOf", []):
                evse["properties"].get("maxPower", {}).update(minimum=-(2**62), maximum=2**62)
    return schema


def resource_schema(path: str) -> JsonSchema:
    schema: JsonSchema = response_schema(path, "get", 200)
    schema = schema["properties"].get("data", schema)
    schema = schema.get("items", schema)
    for part in (schema, *schema.get("allOf", [])):
        properties = part.get("properties", {})
        if properties.get("id", {}).get("type") == "string":
            properties["id"] = NUMERIC_STRING
        elif properties.get("id", {}).get("type") == "number":
            properties["id"] = {"type": "integer"}
        if properties.get("lastUpdatedAt", {}).get("type") == "string":
            properties["lastUpdatedAt"]["format"] = "date-time"  # one description says so, and not the schema
    return schema


@pytest.mark.parametrize("name", HANDLED)
def test_every_payload_that_the_schema_allows_is_read(name: str) -> None:
    bodies = values_of(adjusted_payload(name), REQUIRED_OF_PAYLOADS.get(name, []))

    @drawn
    @given(bodies)
    def is_read(body: dict[str, Any]) -> None:
        payload = parse(body)
        assert payload.notification == name
        assert unreadable(payload) == []

    is_read()


@pytest.mark.parametrize(("path", "model", "required"), READS, ids=[path for path, _, _ in READS])
def test_every_resource_that_the_schema_allows_is_read(path: str, model: type[Model], required: Sequence[str]) -> None:
    bodies = values_of(resource_schema(path), required)

    @drawn
    @given(bodies)
    def is_read(body: dict[str, Any]) -> None:
        assert unreadable(model.model_validate(body)) == []

    is_read()


def documented(kind: Kind[Any]) -> str:
    """Return the listing of a kind by its newest version in the document, which is older than some versions."""
    paths = [f"{RESOURCES}/{path}" for path in kind.paths]
    return next(path for path in paths if path in load_document()["paths"] or not kind.has_listing)


def reads(kind: Kind[Any]) -> list[str]:
    """Return the paths of the listing of a kind and of the read of one entity, as far as it has them."""
    listing = documented(kind)
    return [*([listing] if kind.has_listing else []), *reads_of_one(listing)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_entity_that_the_schemas_allow_is_read_by_its_kind(kind: Kind[Any]) -> None:
    required = ["id", *REQUIRED_OF_KINDS.get(kind.name, [])]
    for path in reads(kind):
        test_every_resource_that_the_schema_allows_is_read(path, kind.model, required)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_is_asked_for_as_the_document_says(kind: Kind[Any]) -> None:
    for path in reads(kind):
        asked = query_parameters(path)
        assert not is_deprecated(path)
        for part, value in kind.parts:
            name = part.removesuffix("[]")
            assert name in asked, part
            if part != name:
                assert value in asked[name]["items"]["enum"]
    if kind.has_listing:
        asked = query_parameters(documented(kind))
        filters = asked.get("filter", {}).get("properties", {})
        assert kind.paging == ("page" if "cursor" not in asked else "empty cursor" if "page" in asked else "cursor")
        assert ("lastUpdatedAfter" in filters) == ("last_updated_after" in kind.changed_filters)
        assert {to_camel(name) for name in kind.changed_filters} <= filters.keys()
        assert kind.reference_filter is None or to_camel(kind.reference_filter) in filters
    assert kind.has_read == bool(reads_of_one(documented(kind)))


def test_the_documented_example_of_a_kind_is_one_of_the_registry() -> None:
    section = DATA_MODEL.read_text().partition("## Adding a kind of entity")[2].partition("\n## ")[0]
    kind = eval(section.partition("```python\n")[2].partition("```")[0], {"Kind": Kind, "Resource": Resource})

    assert kind == KINDS[kind.name]


@pytest.mark.parametrize("notification", READ_RULES)
def test_every_notification_that_requests_a_read_holds_its_id(notification: str) -> None:
    body = sample(next(name for name in NOTIFICATIONS if sample(name)["notification"] == notification))
    payload = parse(body)

    for kind, rule in READ_RULES[notification]:
        ids = named_ids(payload, rule)
        if rule.urgency == "changed":
            assert ids, f"{notification} names no {kind.name}"
        assert all(isinstance(one, str if kind.reference_filter else int) for one in ids)


@pytest.mark.parametrize("name", UNHANDLED)
def test_a_notification_without_state_is_known_by_its_name(name: str) -> None:
    with pytest.raises(NoHandler):
        parse({"notification": name})


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
        ("session_consumption_stats", f"{RESOURCES}/sessions/v1.0/{{session}}/consumption-stats"),
        ("notification_subscription", f"{SUBSCRIPTIONS}/{{notification}}"),
    ],
)
def test_each_sample_answer_is_one_that_the_schema_allows(name: str, path: str) -> None:
    jsonschema.validate(sample(f"rest/{name}.json"), response_schema(path, "get", 200))


def _subscribable() -> list[str]:
    names: list[str] = request_schema(SUBSCRIPTIONS, "post")["properties"]["notifications"]["items"]["enum"]
    return names


def _properties(schema: JsonSchema) -> dict[str, JsonSchema]:
    """The keys that a schema names, of itself or of its items, with their schemas."""
    found: dict[str, JsonSchema] = {}
    for part in (part for word in ("allOf", "anyOf", "oneOf") for part in schema.get(word, [])):
        found = _properties(part) | found
    found |= schema.get("properties", {})
    return found | (_properties(schema["items"]) if "items" in schema else {})


def _model_in(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)


def _note_unread(found: dict[str, set[str]], model: type[Model], schema: JsonSchema) -> None:
    fields = {name: field for key, field in model.model_fields.items() for name in (key, field.alias or key)}
    for name, held in _properties(schema).items():
        if name not in fields:
            if not is_secret(name) and name not in model.NOT_KEPT:
                found.setdefault(model.__name__, set()).add(name)
        elif (nested := _model_in(fields[name].annotation)) is not None:
            _note_unread(found, nested, held)


def test_the_fields_that_are_documented_and_not_read_are_those_that_we_say() -> None:
    found: dict[str, set[str]] = {}
    for known in CATALOGUE:
        if known.handler is not None:
            _note_unread(found, known.handler, payload_schema(known.name))
    for kind in KINDS.values():
        answer = response_schema(reads(kind)[-1], "get", 200)
        _note_unread(found, kind.model, _properties(answer).get("data", answer))
    assert {model: frozenset(names) for model, names in found.items()} == UNREAD


def test_every_documented_listing_is_mirrored_or_named_as_left_out() -> None:
    paths = {path.removeprefix(f"{RESOURCES}/") for path in load_document()["paths"] if is_listing(path)}
    mirrored = {path for kind in KINDS.values() for path in kind.paths}
    section = AMPECO.read_text().partition("\nThese listings are left out:\n")[2].partition("\n## ")[0]
    left_out = set(re.findall(r"`([a-z-]+/v[0-9./a-zA-Z{}-]+)`", section))

    assert paths - mirrored - left_out == set()
    assert left_out <= paths
    assert not left_out & mirrored


def is_listing(path: str) -> bool:
    """Whether the document shows a list at a path below the resources, and does not call it deprecated."""
    if not path.startswith(f"{RESOURCES}/") or "get" not in load_document()["paths"][path] or is_deprecated(path):
        return False
    schema = response_schema(path, "get", 200)
    return "array" in (schema.get("type"), schema.get("properties", {}).get("data", {}).get("type"))
