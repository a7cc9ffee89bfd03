"""From bytes to a JSON document.

orjson reads nearly every document. It refuses a whole one for one number that no double can
hold and for one half of a surrogate pair, both of which JSON's grammar allows: such a document is
read by the slower reader of the standard library.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import orjson

#: Integers of fewer digits fit into 64 bits; orjson reads longer ones as floats, if they do not.
_SURE_DIGITS = 18


def read_json(content: bytes) -> Any:
    """Return the document that ``content`` spells.

    A number that no double can hold is returned as its text.

    Raises:
        orjson.JSONDecodeError: it is not JSON, or nested too deep to be read.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(content.decode(), parse_int=_integer, parse_float=_float, parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        raise


def _integer(spelled: str) -> int | float | str:
    if len(spelled) <= _SURE_DIGITS:
        return int(spelled)
    number: int | float | str = orjson.loads(spelled) if not math.isinf(float(spelled)) else spelled
    return number


def _float(spelled: str) -> float | str:
    number = float(spelled)
    return spelled if math.isinf(number) else number


def _refuse(spelled: str) -> NoReturn:
    raise ValueError(f"{spelled} is not JSON")
