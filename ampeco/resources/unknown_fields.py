"""Find unknown fields: fields that this release does not know, and values that its models cannot parse.

A field is known if a model has it or AMPECO documents it. Of a value only its shape is shown, never
the value: the JSON types, and the names of an object's keys. A name is shown only if it looks like
AMPECO's names, because a key may be data, such as an e-mail address or a token.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from ampeco.model import Model, Unreadable
from ampeco.resources.documented import UNREAD
from ampeco.values import Instant

#: Replaces every name that cannot be shown, or that exceeds the limit of names.
OTHERS = "*"

_NAME = re.compile(r"(?=.{1,64}$)(?!(?:.*\d){6})[A-Za-z_][A-Za-z0-9_.-]*", re.DOTALL)

#: The number of keys of an object whose types are shown.
_MAX_KEYS = 20

_INSTANT: TypeAdapter[Any] = TypeAdapter(Instant)


class UnknownField(NamedTuple):
    """A field that this release does not know, or one whose value it cannot parse.

    ``model`` is the name of the model whose JSON contains it.
    """

    what: Literal["field", "value"]
    model: str
    name: str
    value: Any


def unknown_fields(model: Model) -> list[UnknownField]:
    """Return the unknown fields of a model and of all models in it."""
    found: list[UnknownField] = []
    _find_unknown(model, found)
    return found


def _find_unknown(model: Model, found: list[UnknownField]) -> None:
    """Add the unknown fields of a model and of all models in it to a list."""
    kind = type(model)
    if model.model_extra:
        known = UNREAD.get(kind.__name__, frozenset())
        for name, value in model.model_extra.items():
            if isinstance(value, Unreadable):
                found.append(UnknownField("value", kind.__name__, name, value.value))
            elif name not in known and not _is_local_twin(kind, name):
                found.append(UnknownField("field", kind.__name__, shown_name(name), value))
    for name in _nested(kind):
        value = getattr(model, name)
        if value is None:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Model):
                _find_unknown(item, found)


def is_known_field(model: str, name: str) -> bool:
    """Return whether this release knows a field, which an earlier release may have recorded as unknown."""
    if name in UNREAD.get(model, ()):
        return True
    kind = _models().get(model)
    return kind is not None and (name in _names(kind) or _is_local_twin(kind, name))


def shown_name(name: str) -> str:
    """Return the name if it can be shown, else ``OTHERS``: AMPECO's names have few digits and no space or ``@``."""
    return name if _NAME.fullmatch(name) else OTHERS


def shape(value: Any, *, depth: int = 2) -> str:
    """Return the shape of a JSON value, such as ``object {amount: number, currency: text}``."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "time" if _is_time(value) else "text"
        case list() | tuple():
            return f"array of {shape(value[0], depth=depth - 1)}" if value and depth else "array"
        case dict() if value and depth:
            keys = [f"{shown_name(key)}: {shape(member, depth=depth - 1)}" for key, member in value.items()]
            more = ["…"] if len(keys) > _MAX_KEYS else []
            return f"object {{{', '.join(keys[:_MAX_KEYS] + more)}}}"
        case _:
            return "object"


def _is_time(value: str) -> bool:
    try:
        _INSTANT.validate_python(value)
    except ValidationError:
        return False
    return True


def _is_local_twin(kind: type[Model], name: str) -> bool:
    """Return whether a field repeats a known time in the tenant's own zone, which is an option of AMPECO."""
    return name.endswith("Local") and name.removesuffix("Local") in _names(kind)


@cache
def _names(kind: type[Model]) -> frozenset[str]:
    """Return the keys that a model has, in both spellings."""
    return frozenset(kind.model_fields) | {field.alias for field in kind.model_fields.values() if field.alias}


@cache
def _nested(kind: type[Model]) -> tuple[str, ...]:
    """Return the fields of a model that contain models."""
    return tuple(name for name, field in kind.model_fields.items() if _holds_model(field.annotation))


def _holds_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return True
    return any(_holds_model(argument) for argument in get_args(annotation))


@cache
def _models() -> dict[str, type[Model]]:
    """Return every model by its name."""
    by_name: dict[str, type[Model]] = {}
    kinds: list[type[Model]] = [Model]
    while kinds:
        kind = kinds.pop()
        by_name[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return by_name
