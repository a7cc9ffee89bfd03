"""Describe why pydantic refuses a value, without the value, which may be a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import NamedTuple

from pydantic import ValidationError

#: Faults that a text names: the first ones show the cause.
MAX_NAMED = 5


#: What pydantic says of a URL that has no scheme or another one, by its type of fault or the pattern of the value.
_URL_FAULTS = ("url_parsing", "url_scheme", "^https?://")
_URL_EXPECTED = "must be a URL that begins with https:// or http://"


class Fault(NamedTuple):
    """One fault: the dotted path of the field, empty for the value as a whole, and the message."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def faults(error: ValidationError) -> list[Fault]:
    """Return the faults that a validation error reports, field by field."""
    return [
        Fault(
            ".".join(str(part) for part in detail["loc"]),
            _URL_EXPECTED
            if detail.get("ctx", {}).get("pattern", detail["type"]) in _URL_FAULTS
            else detail["msg"].removeprefix("Value error, "),
        )
        for detail in error.errors(include_input=False, include_url=False)
    ]


def first_fault(error: ValidationError, table: str, settings: Collection[str]) -> str:
    """Return the first fault of a table of a file as a sentence, without the value.

    Parameters:
        table: the name of the table.
        settings: the names of its settings, of which the most similar one is suggested for an unknown one, as the most
            similar choice is for a wrong one.
    """
    details = error.errors(include_url=False)
    # An unknown name comes first, because a setting that is missing may be the one that was misspelled.
    for name in (str(detail["loc"][-1]) for detail in details if detail["type"] == "extra_forbidden"):
        similar = difflib.get_close_matches(name, settings, n=1)
        return f"{table}.{name} is no setting of this release" + (f", but {similar[0]} is." if similar else ".")
    fault = faults(error)[0]
    choices = re.findall("'([^']*)'", details[0]["ctx"]["expected"]) if details[0]["type"] == "literal_error" else []
    meant = difflib.get_close_matches(str(details[0]["input"]), choices, n=1)
    suggestion = f"; the nearest is {meant[0]}." if meant else "."
    return f"{'.'.join(filter(None, (table, fault.field)))}: {fault.message}{suggestion}"


def describe_faults(error: ValidationError) -> str:
    """Return the first few faults as one line."""
    return "; ".join(map(str, faults(error)[:MAX_NAMED]))
