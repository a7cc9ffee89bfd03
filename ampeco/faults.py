"""Describe why pydantic refuses a value, without the value, which may be a secret."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

#: Faults that a text names: the first ones show the cause.
MAX_NAMED = 5


class Fault(NamedTuple):
    """One fault: the dotted path of the field, empty for the value as a whole, and the message."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def faults(error: ValidationError) -> list[Fault]:
    """Return the faults that a validation error reports, field by field."""
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return [
        Fault(".".join(str(part) for part in detail["loc"]), detail["msg"].removeprefix("Value error, "))
        for detail in details
    ]


def describe_faults(error: ValidationError) -> str:
    """Return the first few faults as one line."""
    return "; ".join(map(str, faults(error)[:MAX_NAMED]))
