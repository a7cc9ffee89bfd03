"""Reading what a request brings; what cannot be used is answered with 422 and its reasons by field."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from ampeco.faults import faults
from simulator.problems import Problem

Model = TypeVar("Model", bound=BaseModel)

_MESSAGE = "The given data was invalid."


def json_object(raw: bytes) -> dict[str, Any]:
    """Read a body that must be a JSON object.

    Raises:
        Problem: 422, it is something else.
    """
    try:
        held = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(422, _MESSAGE, {"body": ["The body is not JSON."]}) from None
    if not isinstance(held, dict):
        raise Problem(422, _MESSAGE, {"body": ["The body is not a JSON object."]})
    return held


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """Make a model of values.

    Raises:
        Problem: 422, with what is wrong by field.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for fault in faults(error):
            found.setdefault(fault.field or "body", []).append(fault.message)
        raise Problem(422, _MESSAGE, found) from None


def parsed(model: type[Model], raw: bytes) -> Model:
    """Make a model of a body.

    Raises:
        Problem: 422, with what is wrong by field.
    """
    return validated(model, json_object(raw))
