"""What is wrong with a value that pydantic refuses, in words and without the value, which may be a secret."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

#: Faults that a text names: the first tell what the matter is.
MAX_NAMED = 5


class Fault(NamedTuple):
    """One fault: the dotted path of the field, empty for the value as a whole, and the message."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def faults(error: ValidationError) -> list[Fault]:
    """Return what is wrong, field by field."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [
        Fault(".".join(str(part) for part in fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in found
    ]


def describe_faults(error: ValidationError) -> str:
    """Return the first few faults as one line."""
    return "; ".join(map(str, faults(error)[:MAX_NAMED]))
