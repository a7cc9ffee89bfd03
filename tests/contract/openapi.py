"""AMPECO's own OpenAPI document, as plain JSON Schema.

The document is not part of this repository. It is looked for at ``AMPECO_OPENAPI``, else beside
the repository; where it is absent, the tests that need it are skipped and say so.
"""

from __future__ import annotations

import copy
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

JsonSchema = dict[str, Any]

_REPOSITORY = Path(__file__).parents[2]
_DEFAULT_PATH = _REPOSITORY.parent / "shared" / "ampeco" / "openapi-3.110.0.json"
_SUBSCRIBE = "/public-api/notifications/v2.0"

#: Keywords of OpenAPI 3.0 that say nothing about which values are valid, and one that cannot be
#: checked for binary floats: 117.6 is no multiple of 0.1.
_LEFT_OUT = frozenset(
    {"default", "deprecated", "description", "example", "examples", "multipleOf", "nullable", "readOnly", "title"}
    | {"writeOnly", "xml"}
)
#: The only formats that constrain a string here; AMPECO's others (``decimal``, ``url``, misspellings) do not.
_FORMATS = frozenset({"date", "date-time"})


@cache
def load_document() -> dict[str, Any]:
    """Return the OpenAPI document, or skip the test where there is none."""
    path = Path(os.environ.get("AMPECO_OPENAPI", _DEFAULT_PATH))
    if not path.is_file():
        pytest.skip(f"AMPECO's OpenAPI document is not at {path}; set AMPECO_OPENAPI to check against it")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def payload_schema(name: str) -> JsonSchema:
    """Return the JSON Schema of a notification's body."""
    callback = load_document()["paths"][_SUBSCRIBE]["post"]["callbacks"][name]
    (operation,) = callback.values()
    schema = _converted(operation["post"]["requestBody"]["content"]["application/json"]["schema"])
    # The document requires `charge-point` and describes `chargePoint`: the property is meant.
    schema["required"] = ["chargePoint" if key == "charge-point" else key for key in schema.get("required", [])]
    return schema


def response_schema(path: str, method: str, status: int) -> JsonSchema:
    """Return the JSON Schema of an answer's body, for a path as the document spells it."""
    answer = load_document()["paths"][path][method.lower()]["responses"][str(status)]
    return _converted(answer["content"]["application/json"]["schema"])


def one_of_a_listing(path: str) -> str:
    """Return the path that reads one entity of a listing's, as the document spells it."""
    (found,) = reads_of_one(path)
    return found


def reads_of_one(path: str) -> list[str]:
    """Return the paths that read one entity of a listing's, none or one."""
    pattern = re.compile(rf"{re.escape(path)}/{{[^/]+}}")
    return [known for known, calls in load_document()["paths"].items() if pattern.fullmatch(known) and "get" in calls]


def query_parameters(path: str) -> dict[str, JsonSchema]:
    """Return the schemas of what a read may be asked with, by name."""
    return {
        parameter["name"]: _converted(parameter["schema"])
        for held in (load_document()["paths"][path], load_document()["paths"][path]["get"])
        for parameter in map(_resolved, held.get("parameters", []))
        if parameter["in"] == "query"
    }


def is_deprecated(path: str) -> bool:
    """Whether the document calls a read deprecated."""
    return bool(load_document()["paths"][path]["get"].get("deprecated", False))


def request_schema(path: str, method: str) -> JsonSchema:
    """Return the JSON Schema of a request's body, for a path as the document spells it."""
    body = load_document()["paths"][path][method.lower()]["requestBody"]
    return _converted(body["content"]["application/json"]["schema"])


def _converted(schema: JsonSchema) -> JsonSchema:
    """Turn an OpenAPI 3.0 schema into JSON Schema: nullable, references, formats, annotations."""
    if "$ref" in schema:
        return _converted(_resolved(schema))
    plain: JsonSchema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                plain[key] = {name: _converted(held) for name, held in value.items()}
            case "items" | "not":
                plain[key] = _converted(value)
            case "additionalProperties":
                plain[key] = _converted(value) if isinstance(value, dict) else value
            case "allOf" | "anyOf" | "oneOf":
                plain[key] = [_converted(held) for held in value]
            case "required" if not isinstance(value, list):
                pass  # misplaced: a boolean on a property, as parameters have it
            case "format" if value == "datetime":
                plain[key] = "date-time"
            case "format" if value not in _FORMATS:
                pass
            case _ if key in _LEFT_OUT or key.startswith("x-"):
                pass
            case _:
                plain[key] = copy.deepcopy(value)
    return _with_null(plain) if schema.get("nullable") else plain


def _resolved(held: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    if "$ref" not in held:
        return held
    target: Any = load_document()
    for part in held["$ref"].removeprefix("#/").split("/"):
        target = target[part.replace("~1", "/").replace("~0", "~")]
    return _resolved(target)


def _with_null(schema: JsonSchema) -> JsonSchema:
    if "type" not in schema:
        return {"anyOf": [schema, {"type": "null"}]} if schema else {}
    schema["type"] = [schema["type"], "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    return schema
