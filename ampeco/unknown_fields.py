"""What AMPECO sends that this release does not know: fields that no model has and no document names, and
values that the models cannot read.

Of a value only its shape is told, never the value: the JSON types, and the names of an object's
keys. A name counts as one only if it looks like AMPECO's names do, as a key may be data, such as
an e-mail address or a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from ampeco.documented import UNREAD
from ampeco.model import Model, Unreadable
from ampeco.values import Instant

#: Stands for every name that cannot be shown, or is one too many.
OTHERS = "*"

_NAME = re.compile(r"(?=.{1,64}$)(?!(?:.*\d){6})[A-Za-z_][A-Za-z0-9_.-]*", re.DOTALL)

#: Keys of an object whose types are told.
_MAX_KEYS = 20

_INSTANT: TypeAdapter[Any] = TypeAdapter(Instant)


class UnknownField(NamedTuple):
    """A field that this release does not know, or one whose value it cannot read.

    ``model`` is the name of the model that it came with.
    """

    what: Literal["field", "value"]
    model: str
    name: str
    value: Any


def unknown_fields(model: Model) -> Iterator[UnknownField]:
    """What a model, and all below it, was sent beside what is documented, and what it cannot read."""
    kind = type(model)
    if model.model_extra:
        known = UNREAD.get(kind.__name__, frozenset())
        for name, value in model.model_extra.items():
            if isinstance(value, Unreadable):
                yield UnknownField("value", kind.__name__, name, value.value)
            elif name not in known and not _is_local_twin(kind, name):
                yield UnknownField("field", kind.__name__, shown_name(name), value)
    for name in _nested(kind):
        held = getattr(model, name)
        for one in held if isinstance(held, tuple) else (held,):
            if isinstance(one, Model):
                yield from unknown_fields(one)


def is_known_field(model: str, name: str) -> bool:
    """Whether this release knows a field by now."""
    if name in UNREAD.get(model, ()):
        return True
    kind = _models().get(model)
    return kind is not None and (name in _names(kind) or _is_local_twin(kind, name))


def shown_name(name: str) -> str:
    """The name as it may be shown: AMPECO's spell words in letters, with few digits and no space or ``@``."""
    return name if _NAME.fullmatch(name) else OTHERS


def shape(value: Any, *, depth: int = 2) -> str:
    """The shape of a JSON value, such as ``object {amount: number, currency: text}``."""
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
            keys = [f"{shown_name(key)}: {shape(held, depth=depth - 1)}" for key, held in value.items()]
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
    """Whether it repeats a time that is read in the tenant's own zone, as an option of AMPECO's makes it."""
    return name.endswith("Local") and name.removesuffix("Local") in _names(kind)


@cache
def _names(kind: type[Model]) -> frozenset[str]:
    """The keys that a model reads, in either spelling."""
    return frozenset(kind.model_fields) | {field.alias for field in kind.model_fields.values() if field.alias}


@cache
def _nested(kind: type[Model]) -> tuple[str, ...]:
    """The fields of a model that hold models."""
    return tuple(name for name, field in kind.model_fields.items() if _holds_model(field.annotation))


def _holds_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return True
    return any(_holds_model(argument) for argument in get_args(annotation))


@cache
def _models() -> dict[str, type[Model]]:
    """Every model by its name."""
    found: dict[str, type[Model]] = {}
    kinds: list[type[Model]] = [Model]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return found
