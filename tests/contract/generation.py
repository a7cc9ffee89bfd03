"""Values drawn from AMPECO's schemas, within the bounds that our models document.

``values_of`` draws what a schema allows, with what our models require beyond it, and with
integers that 64 bits hold. At every depth it adds, at times, a field that no schema has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from math import ceil, floor
from typing import Any

from hypothesis import strategies as st

from ampeco.values import MAX_BIGINT, MIN_BIGINT
from tests.contract.openapi import JsonSchema

Values = st.SearchStrategy[Any]

ANYTHING: Values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def _spelled(moment: datetime, offset_minutes: int, form: str) -> str:
    match form:
        case "zulu":
            return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case "zoneless":
            return moment.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return moment.astimezone(timezone(timedelta(minutes=offset_minutes))).isoformat()


INSTANTS: Values = st.builds(
    _spelled,
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(-12 * 60, 14 * 60),
    st.sampled_from(["offset", "zulu", "zoneless"]),
)


def values_of(schema: JsonSchema, required: Sequence[str] = ()) -> Values:
    """Return a strategy for a schema's values.

    Parameters:
        required: dotted paths to what our models require beyond the schema; ``[]`` steps
            into an array's items.
    """
    whole = _flattened(schema)
    for path in required:
        _require(whole, path.split("."))
    return _drawn(whole)


def _require(schema: JsonSchema, path: list[str]) -> None:
    for choice in schema.get("anyOf", ()):
        _require(choice, path)
    if "anyOf" in schema:
        return
    *outer, name = path
    for step in outer:
        schema = schema["items"] if step == "[]" else schema["properties"][step]
    assert name in schema["properties"], f"the schema has no {name}"
    schema["required"] = sorted({*schema.get("required", []), name})


def _drawn(schema: JsonSchema) -> Values:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of([_drawn(choice) for choice in schema["anyOf"]])
    kinds = schema.get("type", [])
    if not kinds:
        return ANYTHING
    return st.one_of([_of_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _of_kind(kind: str, schema: JsonSchema) -> Values:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", MIN_BIGINT), schema.get("maximum", MAX_BIGINT))
        case "number":
            least, most = schema.get("minimum"), schema.get("maximum")
            whole = st.integers(None if least is None else ceil(least), None if most is None else floor(most))
            return whole | st.floats(least, most, allow_nan=False, allow_infinity=False)
        case "string":
            return _strings(schema)
        case "array":
            return st.lists(_drawn(schema.get("items", {})), max_size=3)
        case "object":
            return _objects(schema)
    raise AssertionError(f"no values are known of the type {kind}")


def _strings(schema: JsonSchema) -> Values:
    match schema:
        case {"format": "date-time"}:
            return INSTANTS
        case {"format": "date"}:
            return st.dates().map(str)
        case {"pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
    return st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength"))


def _objects(schema: JsonSchema) -> Values:
    if "properties" not in schema:
        held = schema.get("additionalProperties", True)
        return st.dictionaries(st.text(), _drawn(held) if isinstance(held, dict) else ANYTHING, max_size=3)
    fields = {name: _drawn(held) for name, held in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: values for name, values in fields.items() if name in required},
        optional={name: values for name, values in fields.items() if name not in required} | {"addedLater": ANYTHING},
    )


def _flattened(schema: JsonSchema) -> JsonSchema:
    """Return a copy in which each ``allOf`` is one schema, as a person reads it."""
    whole: JsonSchema = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema.get("allOf", ()):
        whole = _merged(whole, part)
    if "allOf" in whole:
        return _flattened(whole)
    if "oneOf" in whole and "properties" not in whole:
        whole["anyOf"] = whole.pop("oneOf")
    if "properties" in whole:
        whole["properties"] = {name: _flattened(held) for name, held in whole["properties"].items()}
    if "items" in whole:
        whole["items"] = _flattened(whole["items"])
    if "anyOf" in whole:
        whole["anyOf"] = [_flattened(choice) for choice in whole["anyOf"]]
    return whole


def _merged(one: JsonSchema, other: JsonSchema) -> JsonSchema:
    merged = {**other, **one}
    if "allOf" in one and "allOf" in other:
        merged["allOf"] = [*one["allOf"], *other["allOf"]]
    if "properties" in one and "properties" in other:
        merged["properties"] = {**other["properties"], **one["properties"]}
        for name in one["properties"].keys() & other["properties"].keys():
            merged["properties"][name] = _merged(one["properties"][name], other["properties"][name])
    if "items" in one and "items" in other:
        merged["items"] = _merged(one["items"], other["items"])
    if "required" in one and "required" in other:
        merged["required"] = sorted({*one["required"], *other["required"]})
    return merged
