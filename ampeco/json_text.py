"""Parse bytes as a JSON document.

orjson parses nearly every document. It refuses a document for one number that no double can hold
and for one half of a surrogate pair, although JSON's grammar allows both. The slower parser of the
standard library parses such a document.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

#: Integers of fewer digits fit into 64 bits; orjson reads longer ones as floats, if they do not.
_SURE_DIGITS = 18


def read_json(content: bytes) -> Any:
    """Parse ``content`` as JSON.

    A number that no double can hold is returned as its text.

    Raises:
        orjson.JSONDecodeError: it is not JSON, or nested too deep to be parsed.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content.decode(), parse_int=_integer, parse_float=_float, parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        raise


def _integer(text: str) -> int | float | str:
    if len(text) <= _SURE_DIGITS:
        return int(text)
    number: int | float | str = orjson.loads(text) if not math.isinf(float(text)) else text
    return number


def _float(text: str) -> float | str:
    number = float(text)
    return text if math.isinf(number) else number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
