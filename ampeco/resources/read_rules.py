"""Which entities a notification names, whether or not its model can parse it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from ampeco.model import Model
from ampeco.notifications.catalogue import lookup
from ampeco.resources.kind import Kind, ReadRule
from ampeco.resources.kinds import KINDS
from ampeco.values import BigInt, Word


def _read_rules_by_notification() -> Mapping[str, tuple[tuple[Kind[Any], ReadRule], ...]]:
    by_notification: dict[str, list[tuple[Kind[Any], ReadRule]]] = defaultdict(list)
    for kind in KINDS.values():
        for rule in kind.read_rules:
            by_notification[rule.notification].append((kind, rule))
    return {name: tuple(read_rules) for name, read_rules in by_notification.items()}


#: The kinds that a notification type names, each with its rule, by the type's name.
READ_RULES = _read_rules_by_notification()


def named_ids(payload: Model, rule: ReadRule) -> list[Any]:
    """Return the ids in the field of a payload that ``rule`` names; none if the payload names no entity."""
    values: list[Any] = [payload]
    for name in rule.field.split("."):
        nested = [getattr(value, name) for value in values if value is not None]
        values = [item for value in nested for item in (value if isinstance(value, tuple) else (value,))]
    return [value for value in values if value is not None]


_ID: TypeAdapter[Any] = TypeAdapter(BigInt)
_REFERENCE: TypeAdapter[Any] = TypeAdapter(Word)


def readable_ids(body: dict[str, Any]) -> list[tuple[Kind[Any], ReadRule, Any]]:
    """Return the ids in a notification that its model cannot parse, each with its kind and rule.

    Parameters:
        body: the notification's JSON.
    """
    name = body.get("notification")
    known = lookup(name) if isinstance(name, str) else None
    if known is None or known.handler is None:
        return []
    body = known.handler.in_present_words(body)
    return [
        (kind, rule, entity_id)
        for kind, rule in READ_RULES.get(known.name, ())
        for entity_id in _read_ids(body, rule.field, _ID if kind.reference_filter is None else _REFERENCE)
    ]


def _read_ids(body: dict[str, Any], field: str, of: TypeAdapter[Any]) -> list[Any]:
    values: list[Any] = [body]
    for name in field.split("."):
        nested = [value.get(to_camel(name), value.get(name)) for value in values if isinstance(value, dict)]
        values = [item for value in nested for item in (value if isinstance(value, list) else [value])]
    ids = []
    for value in values:
        try:
            ids.append(of.validate_python(value))
        except ValidationError:
            continue  # null, or no id
    return ids
