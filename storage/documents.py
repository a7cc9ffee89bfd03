"""Encode rows as JSON documents, so that one parameter of a statement holds many of them."""

from __future__ import annotations

from decimal import Decimal

import orjson


def encode_value(value: object) -> str:
    """Encode a value that orjson does not know: a decimal as text, which Postgres reads exactly.

    Raises:
        TypeError: the value has another type.
    """
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


def to_json(value: object) -> str:
    """Return rows, or a part of a row, as JSON text for a parameter of a statement."""
    return orjson.dumps(value, default=encode_value).decode()
