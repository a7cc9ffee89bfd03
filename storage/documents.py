"""Rows as JSON documents, the form in which one statement takes many of them."""

from __future__ import annotations

from decimal import Decimal

import orjson


def encode_value(value: object) -> str:
    """Encode what orjson does not know; Postgres reads the text of a decimal exactly."""
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


def to_json(value: object) -> str:
    """Return rows, or a part of one, as JSON text for a parameter of a statement."""
    return orjson.dumps(value, default=encode_value).decode()
