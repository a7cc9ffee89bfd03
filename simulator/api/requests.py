"""Parse and validate the content of requests; invalid content gets 422 with the reasons by field."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from ampeco.faults import faults
from simulator.api.problems import Problem

Model = TypeVar("Model", bound=BaseModel)

_MESSAGE = "The given data was invalid."


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object.

    Raises:
        Problem: 422, the body is something else.
    """
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(422, _MESSAGE, {"body": ["The body is not JSON."]}) from None
    if not isinstance(content, dict):
        raise Problem(422, _MESSAGE, {"body": ["The body is not a JSON object."]})
    return content


def validated(model: type[Model], values: dict[str, Any]) -> Model:
    """Validate values as a model.

    Raises:
        Problem: 422, with the faults by field.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        messages: dict[str, list[str]] = {}
        for fault in faults(error):
            messages.setdefault(fault.field or "body", []).append(fault.message)
        raise Problem(422, _MESSAGE, messages) from None


def parsed(model: type[Model], raw: bytes) -> Model:
    """Parse a body as a model.

    Raises:
        Problem: 422, with the faults by field.
    """
    return validated(model, json_object(raw))
