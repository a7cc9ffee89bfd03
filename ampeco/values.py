"""The types of the values in AMPECO's JSON.

Each is an annotated pydantic type: it accepts every form that AMPECO documents or was seen to send,
refuses what Postgres cannot hold, and gives one canonical Python value. A refusal is a
``ValueError``, which pydantic reports with the field's place; ``ampeco.model`` decides whether the
object is still usable.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

#: The smallest and the largest integer, and so id, that Postgres holds in a column of the type bigint.
MIN_BIGINT = -(2**63)
MAX_BIGINT = 2**63 - 1

#: Above this a float cannot represent every integer, so a parsed id may be another id.
_MAX_EXACT_FLOAT = 2**53

#: Far more than any real quantity has, and well within Postgres's numeric (131072 digits before the
#: point, 16383 after it).
_MAX_DIGITS = 1000

#: Postgres indexes at most 2704 bytes of a row. Two such words, a number and the ids fit, whatever
#: their characters; AMPECO's longest word has about 30.
MAX_CHARACTERS = 200

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)

#: AMPECO's times have at most 32 characters; a longer one is not kept in memory once it is read.
_SHORT_TIME = 40

#: NUL, and halves of surrogate pairs: valid in a JSON string, but refused by Postgres's text.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def clean_text(value: str) -> str:
    """Return ``value`` with every character that Postgres cannot hold replaced by U+FFFD."""
    if value.isascii() and "\x00" not in value:
        return value  # nearly always, and several times faster than the search
    return _UNSTORABLE.sub(_REPLACEMENT, value)


def _big_int(value: object) -> int:
    if type(value) is int and MIN_BIGINT <= value <= MAX_BIGINT:
        return value  # nearly always
    match value:
        case str() if _INTEGER.fullmatch(value):
            number = int(value)
        case float() if value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
            number = int(value)
        case int() if not isinstance(value, bool):
            number = value
        case _:
            raise ValueError("not an integer, nor a string that contains one")
    if not MIN_BIGINT <= number <= MAX_BIGINT:
        raise ValueError("an integer beyond 64 bits")
    return number


def _number(value: object) -> Decimal:
    if type(value) is int and -_MAX_EXACT_FLOAT <= value <= _MAX_EXACT_FLOAT:
        return Decimal(value)
    if type(value) is float and isfinite(value):
        return Decimal(repr(value))  # as below, and no double is too large or too fine
    match value:
        case str() if len(value) <= _MAX_DIGITS and _NUMBER.fullmatch(value):
            number = Decimal(value)
        case float():
            number = Decimal(repr(value))  # the shortest text: 0.1 is 0.1, not its 55 binary digits
        case int() | Decimal() if not isinstance(value, bool):
            number = Decimal(value)
        case _:
            raise ValueError("not a number, nor a string that contains one")
    if not number.is_finite():
        raise ValueError("not a finite number")
    if abs(number.adjusted()) >= _MAX_DIGITS or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise ValueError("a number too large or too fine to keep")
    return number


def _whole_number(value: object) -> int:
    return _big_int(int(_number(value).to_integral_value(ROUND_HALF_EVEN)))


def _instant_of_text(text: str) -> datetime:
    text = text.strip().upper()
    if not _INSTANT.fullmatch(text):
        raise ValueError("not a time: ISO 8601 text such as 2026-03-04T07:04:00Z is expected")
    moment = datetime.fromisoformat(text)
    return _in_utc(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


#: The same times come again and again: a session's start comes with each of its updates.
_instant_of_short_text = lru_cache(maxsize=4096)(_instant_of_text)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time that falls outside years 1 to 9999 in UTC") from None


def _instant(value: object) -> datetime:
    if type(value) is str and len(value) <= _SHORT_TIME:
        return _instant_of_short_text(value)  # nearly always
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone")
        return _in_utc(value)
    return _instant_of_text(value if isinstance(value, str) else "")


def _instant_or_day(value: object) -> datetime:
    if isinstance(value, str) and _DAY.fullmatch(value):
        return _instant(f"{value}T00:00:00Z")
    return _instant(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    raise ValueError("not text")


def _word(value: object) -> str:
    text = _text(value)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"text of more than {MAX_CHARACTERS} characters, where a word is expected")
    return text


#: The statuses of charge points and EVSEs in AMPECO's own words; other spellings of a word have other case, or blanks,
#: hyphens and underscores in other places.
_HARDWARE_STATUSES = (
    "available",
    "preparing",
    "charging",
    "suspendedEV",
    "suspendedEVSE",
    "finishing",
    "reserved",
    "unavailable",
    "faulted",
    "occupied",
)
_SEPARATORS = re.compile(r"[\s_-]+")


def _folded(text: str) -> str:
    return _SEPARATORS.sub("", text).lower()


_HARDWARE_STATUS_BY_FOLDED = {_folded(status): status for status in _HARDWARE_STATUSES}


def _hardware_status(value: object) -> str:
    text = _word(value).strip()
    return _HARDWARE_STATUS_BY_FOLDED.get(_folded(text), text)


def _network_status(value: object) -> str:
    return _SEPARATORS.sub("_", _word(value).strip()).lower()


def _system_status(value: object) -> str:
    status = _SEPARATORS.sub("_", _text(value).strip()).lower()
    return "enabled" if status == "active" else status


def _settled_text(value: object) -> str | None:
    return None if value is None or value == "null" else _text(value)


def _localised(value: object) -> dict[str, str]:
    pairs: list[tuple[object, object] | None]
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = [(item.get("locale"), item.get("translation")) if isinstance(item, dict) else None for item in value]
    elif value is None:
        pairs = []
    else:
        raise ValueError("neither a list of translations nor an object of them")
    texts: dict[str, str] = {}
    faults: list[InitErrorDetails] = []
    for place, pair in enumerate(pairs):
        try:
            if pair is None:
                raise ValueError("not a translation")
            locale, text = pair
            if locale is not None and text is not None:
                texts[_text(locale)] = _text(text)
        except ValueError as error:
            why = PydanticCustomError("value_error", "Value error, {why}", {"why": str(error)})
            faults.append(InitErrorDetails(type=why, loc=(place,), input=None))
    if faults:
        raise ValidationError.from_exception_data("Localised", faults, hide_input=True)
    return texts


def _empty_object(value: object) -> object:
    return {} if value == [] else value


BigInt = Annotated[int, BeforeValidator(_big_int)]
"""A signed 64-bit integer, from a JSON number or from a string: AMPECO sends the same session's id
in both forms (AMPECO API, sessions v1.0)."""

WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""A quantity in full units, from any JSON number, rounded half to even."""

Number = Annotated[Decimal, BeforeValidator(_number)]
"""A finite decimal of at most 1000 digits, from a JSON number or from a string."""

Instant = Annotated[datetime, BeforeValidator(_instant)]
"""An aware UTC time, from ISO 8601 text or ``YYYY-MM-DD hh:mm:ss``; text without a zone is UTC
(AMPECO API, date formats). A number is refused, because AMPECO documents no Unix times."""

InstantOrDay = Annotated[datetime, BeforeValidator(_instant_or_day)]
"""An ``Instant``, or a ``YYYY-MM-DD`` as the beginning of that day in UTC."""

Text = Annotated[str, BeforeValidator(_text)]
"""Text that Postgres can hold. A JSON number becomes its text."""

Word = Annotated[str, BeforeValidator(_word)]
"""Text of at most 200 characters: a word of an open vocabulary, or a reference. Text that is part
of a key, and so of an index, has this type."""

HardwareStatusText = Annotated[str, BeforeValidator(_hardware_status)]
"""What the hardware of a charge point or an EVSE reports, in the one spelling that AMPECO's
documents have, such as ``suspendedEV``. A word that AMPECO adds stays as it is."""

NetworkStatus = Annotated[str, BeforeValidator(_network_status)]
"""A charge point's connection: ``available``, ``never_connected``, ``temporarily_unavailable``,
``long_term_unavailable``, or a word that AMPECO adds. Notifications write it with spaces, the API
with underscores and a hyphen; this type has one spelling."""

SystemStatus = Annotated[str, BeforeValidator(_system_status)]
"""A status that the operator sets: ``enabled``, ``disabled``, ``out_of_order``, ``demo``, or a word
that AMPECO adds. The first API's ``active`` becomes ``enabled``."""

SettledText = Annotated[str | None, BeforeValidator(_settled_text)]
"""Text or None, where the string ``"null"`` means None, as in a session's payment status."""

Localised = Annotated[dict[str, str], BeforeValidator(_localised)]
"""Translations by locale, from ``[{"locale", "translation"}]`` or ``{"en": ...}``; those without
a text are left out. One that cannot be parsed is a fault of its place alone."""

JsonObject = Annotated[dict[str, Any], BeforeValidator(_empty_object)]
"""A free-form object. An empty one may arrive as ``[]``, which is how PHP writes it."""
