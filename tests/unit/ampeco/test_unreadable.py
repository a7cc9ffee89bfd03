"""One value that cannot be read costs that value, in every model: only identity and clock fail an entity."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ampeco.model import DECISIVE, Model, Unreadable
from ampeco.notifications.catalogue import CATALOGUE
from ampeco.notifications.payloads import ChargePointSnapshotChanged, SessionUpdate
from ampeco.privacy.redaction import clean, redact
from ampeco.resources import charging as resources
from ampeco.resources.kinds import KINDS
from ampeco.resources.unknown_fields import unknown_fields
from tests.unit.ampeco.samples import sample

#: What AMPECO's values were seen to be, and what no column can hold.
JUNK: tuple[Any, ...] = (
    "-0001-11-30T00:00:00Z",
    "",
    "+02",
    {},
    [],
    [[]],
    {"id": {}},
    float("inf"),
    "NaN",
    10**30,
    "\0",
    True,
    "x" * 5_000,
)

MODELS: list[type[Model]] = sorted(
    {
        *(known.handler for known in CATALOGUE if known.handler is not None),
        *(kind.model for kind in KINDS.values()),
        *(resources.StatusLogEntry, resources.NetworkStatusLogEntry, resources.Subscription),
        resources.ConsumptionPoint,
    },
    key=lambda model: model.__name__,
)

#: Stands under a key of which any value is one.
ANYTHING = "anything"

Path = tuple[str | int, ...]


def parts(annotation: Any) -> list[Any]:
    """The types that an annotation allows, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return [part for one in get_args(annotation) for part in parts(one)]
    metadata = getattr(annotation, "__metadata__", None)
    if metadata is not None:
        return parts(annotation.__origin__)
    return [] if annotation is type(None) else [annotation]


def valid(annotation: Any) -> Any:
    """A value that a field of this type reads."""
    (kind,) = parts(annotation)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return [valid(item), valid(item)]
    if get_origin(kind) is dict:
        return {"en": "text"}
    if isinstance(kind, type) and issubclass(kind, Model):
        return whole(kind)
    simple: dict[Any, Any] = {
        int: 7,
        str: "text",
        Decimal: 1.5,
        bool: True,
        datetime: "2026-03-04T07:00:00Z",
        Any: ANYTHING,
    }
    return simple[kind]


def whole(model: type[Model]) -> dict[str, Any]:
    """An object with every field of a model."""
    found = {key_of(name, field): valid(field.annotation) for name, field in model.model_fields.items()}
    if model is ChargePointSnapshotChanged:
        found["chargePoint"]["evses"] = found.pop("evses")
    return found


def key_of(name: str, field: FieldInfo) -> str:
    return field.alias or name


def fields_of(model: type[Model]) -> dict[str, tuple[str, FieldInfo]]:
    """The fields of a model with their names, by key."""
    return {key_of(name, field): (name, field) for name, field in model.model_fields.items()}


def is_dispensable(field: FieldInfo) -> bool:
    return not field.is_required() and DECISIVE not in field.metadata


def model_in(annotation: Any) -> type[Model] | None:
    for kind in parts(annotation):
        if get_origin(kind) is tuple:
            return model_in(get_args(kind)[0])
        if isinstance(kind, type) and issubclass(kind, Model):
            return kind
    return None


def places(model: type[Model], value: dict[str, Any]) -> Iterator[tuple[Path, Path | None]]:
    """Every place in an object, with the place that is lost where it cannot be read; None: the object itself."""
    for key, (name, field) in fields_of(model).items():
        if key not in value:
            continue
        lost: Path | None = (name,) if is_dispensable(field) else None
        yield (key,), lost
        inner = model_in(field.annotation)
        items: list[tuple[Path, Path, Any]] = [((key,), (name,), value[key])]
        if isinstance(value[key], list):
            items = [((key, at), (name, at), item) for at, item in enumerate(value[key])]
            for path, own, _ in items:
                yield path, own if is_dispensable(field) else None
        for path, own, held in items:
            if inner is None:
                continue
            of_item = own if len(own) > 1 and is_dispensable(field) else lost
            for further, lost_inside in places(inner, held):
                yield (*path, *further), (*own, *lost_inside) if lost_inside is not None else of_item


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def replaced(value: Any, path: Path, other: Any) -> Any:
    """A copy with another value in one place."""
    if not path:
        return other
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], other)
    return changed


def shown(value: Any) -> Any:
    """What a model says, without what was sent beside it."""
    if isinstance(value, Model):
        return {name: shown(getattr(value, name)) for name in type(value).model_fields}
    return [shown(one) for one in value] if isinstance(value, tuple) else value


def without(said: Any, path: Path, *, is_item_gone: bool = False) -> Any:
    """What a model says but for one place."""
    step, *rest = path
    if isinstance(said, list):
        if not rest:
            return said if is_item_gone else [one for at, one in enumerate(said) if at != step]
        return [
            without(one, tuple(rest), is_item_gone=is_item_gone) if at == step else one for at, one in enumerate(said)
        ]
    return {
        name: (without(held, tuple(rest), is_item_gone=is_item_gone) if rest else ...) if name == step else held
        for name, held in said.items()
    }


@cache
def all_places(model: type[Model]) -> list[tuple[Path, Path | None]]:
    value = whole(model)
    if model is not ChargePointSnapshotChanged:
        return list(places(model, value))
    found = [one for one in places(model, value) if one[0][:2] != ("chargePoint", "evses")]
    evses: Any = {"evses": value["chargePoint"]["evses"]}
    return found + [(("chargePoint", *path), lost) for path, lost in places(model, evses)]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_clean_object_is_parsed_alike_with_and_without_leniency(model: type[Model]) -> None:
    sent = redact(whole(model) | {"addedLater": {"a": [1]}})
    # Given a complete object, which is parsed without it
    assert repr(model.read(sent)) == repr(model.model_validate(sent))
    for path, _ in all_places(model):
        for junk in JUNK:
            # When a value cannot be read, then the lenient parsing reads the others, or raises its error
            other = replaced(sent, path, clean(junk))
            assert outcome(model.read, other) == outcome(model.model_validate, other)


def outcome(parse: Callable[[Any], Model], sent: Any) -> str:
    try:
        return repr(parse(sent))
    except ValidationError as error:
        return str(error)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_value_that_cannot_be_read_costs_no_other(model: type[Model]) -> None:
    sent = whole(model)
    complete = shown(model.model_validate(sent))
    for path, lost in all_places(model):
        if lost is None:
            continue  # identity or clock: see below
        others = without(complete, lost)
        held = at(sent, path)
        takes_objects = isinstance(held, dict) or held == ANYTHING
        for junk in JUNK:
            # When one value is junk, then the object is read, and all its other values are what they were
            read = model.model_validate(replaced(sent, path, junk))
            after = shown(read)
            is_gone = isinstance(lost[-1], int) and len(at(after, lost[:-1])) < len(at(complete, lost[:-1]))
            assert without(after, lost, is_item_gone=is_gone) == others, (path, junk)
            # And it is counted, where it is no value of the field
            is_counted = any(one.what == "value" for one in unknown_fields(read))
            is_no_value = is_gone or (junk == {} and not takes_objects)
            assert is_counted or not is_no_value, (path, junk)


def test_every_place_of_every_model_is_tried() -> None:
    tried = {model.__name__: len([lost for _, lost in all_places(model) if lost]) for model in MODELS}
    assert tried["Session"] > 80
    assert tried["ChargePointSnapshotChanged"] > 80
    assert all(tried[model.__name__] for model in MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_identity_and_clock_are_read_or_fail_the_whole(model: type[Model]) -> None:
    sent = whole(model)
    for path, lost in all_places(model):
        for junk in JUNK if lost is None else ():
            key = next(str(step) for step in path if isinstance(step, str))
            assert unreadable_or_failed(model, replaced(sent, path, junk), key) == [], (path, junk)


def unreadable_or_failed(model: type[Model], body: Any, key: str) -> list[Any]:
    """What was left out of an object; nothing where it failed, and said by which key."""
    try:
        read = model.model_validate(body)
    except ValidationError as error:
        return [] if key in str(error) else [str(error)]
    return [one for one in unknown_fields(read) if one.what == "value"]


def test_only_these_fail_their_object() -> None:
    """Identity and clock, by model; and what changes a subscription at AMPECO."""
    kinds: list[type[Model]] = [Model]
    decisive: dict[str, list[str]] = {}
    while kinds:
        kind = kinds.pop()
        kinds += [one for one in kind.__subclasses__() if one.__module__.startswith("ampeco.")]
        own = [name for name, field in kind.model_fields.items() if not is_dispensable(field)]
        if own:
            decisive[kind.__name__] = own
    names = {name for fields in decisive.values() for name in fields}
    is_identity = re.compile(r"(.+_)?id$|id_tags_id")
    clocks = {"timestamp", "applied_at", "last_updated_at"}
    parts_with_identity = {"session", "charge_point", "location", "tariff", "user", "sub_operator"}
    others = {name for name in names if not is_identity.fullmatch(name)} - clocks - parts_with_identity
    assert others == {"measurand", "value", "status", "callback_url", "notifications", "webhook"}
    assert decisive["StatusLogEntry"] == ["status", "timestamp"]
    assert decisive["MeterValue"] == ["timestamp", "measurand", "value"]
    assert "last_updated_at" in decisive["Session"]


@given(data=st.data())
def test_several_unreadable_values_cost_no_more_than_themselves(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(MODELS))
    sent = whole(model)
    before = shown(model.model_validate(sent))
    # Places at the top, so that none lies within another
    at_the_top = [(path, lost) for path, lost in all_places(model) if len(path) == 1 and lost is not None]
    chosen = data.draw(st.lists(st.sampled_from(at_the_top), max_size=5, unique=True)) if at_the_top else []
    body = sent
    for path, _ in chosen:
        body = replaced(body, path, data.draw(st.sampled_from(JUNK)))
    after = shown(model.model_validate(body))
    for _, lost in chosen:
        before, after = without(before, lost), without(after, lost)
    assert after == before


def session(**fields: Any) -> resources.Session:
    body = sample("SessionUpdateNotification.active.json")
    body["session"] |= fields
    return SessionUpdate.model_validate(body).session


def test_what_was_sent_is_kept_beside_the_model() -> None:
    read = session(stoppedAt="-0001-11-30T00:00:00Z")
    assert read.stopped_at is None
    assert not read.was_read("stopped_at")
    assert read.was_read("started_at")
    assert (read.model_extra or {})["stoppedAt"] == Unreadable("-0001-11-30T00:00:00Z")


def test_a_list_is_read_without_its_unreadable_parts() -> None:
    read = session(chargingPeriods=[{"id": 1, "energy": 5}, {"energy": 6}, {"id": 2, "energy": {}}, 7])
    assert [(one.id, one.energy) for one in read.charging_periods or ()] == [(1, 5), (2, None)]
    assert not read.was_read("charging_periods")
    assert [(one.model, one.name) for one in unknown_fields(read)] == [
        ("Session", "chargingPeriods"),
        ("ChargingPeriod", "energy"),
    ]


@pytest.mark.parametrize("nothing", [{}, "none", [7], [{}], {"0": {"id": 1}}])
def test_a_list_of_which_nothing_can_be_read_is_unknown_and_not_empty(nothing: Any) -> None:
    read = session(chargingPeriods=nothing)
    assert read.charging_periods is None
    assert not read.was_read("charging_periods")


def test_a_part_without_its_own_identity_is_left_out_and_no_more() -> None:
    read = session(authorization={"id": {}, "method": "id_tag"})
    assert read.authorization is None
    assert read.status == "active"


@pytest.mark.parametrize(
    "name",
    [
        [{"locale": "en", "translation": "Quay"}, {"locale": "de", "translation": {}}, 7, ["fr", "x"]],
        {"en": "Quay", "de": {}},
    ],
)
def test_a_translation_that_cannot_be_read_hides_no_other(name: Any) -> None:
    read = resources.Location.model_validate({"id": 66, "name": name})
    assert read.name == {"en": "Quay"}
    assert not read.was_read("name")


def test_null_is_absent_and_no_news() -> None:
    body = sample("SessionMeterValuesNotification.json")
    for model, sent in ((KINDS["location"].model, {"id": 1, "name": None}), (resources.Subscription, {"id": 1})):
        assert list(unknown_fields(model.model_validate(sent))) == []
    handler = next(known.handler for known in CATALOGUE if known.name == body["notification"])
    assert handler is not None
    assert list(unknown_fields(handler.model_validate(body | {"meterValues": None}))) == []


def test_what_identifies_a_sample_or_a_status_is_not_guessed() -> None:
    """Without its measurand a sample would be one of another quantity, without its EVSE a status the charge point's."""
    values = sample("SessionMeterValuesNotification.json")
    values["meterValues"][0]["measurand"] = {}
    handlers = {known.name: known.handler for known in CATALOGUE}
    handler = handlers["SessionMeterValuesNotification"]
    assert handler is not None
    assert len(handler.model_validate(values).meter_values) == len(values["meterValues"]) - 1  # type: ignore[attr-defined]
    handler = handlers["HardwareStatusNotification"]
    assert handler is not None
    with pytest.raises(ValidationError, match="evseId"):
        handler.model_validate(sample("HardwareStatusNotification.evse.json") | {"evseId": {}})


def test_an_error_names_what_failed_the_object_alone() -> None:
    with pytest.raises(ValidationError) as caught:
        session(id={}, energy={}, tax={})
    assert "session.id" in str(caught.value)
    assert "energy" not in str(caught.value)
