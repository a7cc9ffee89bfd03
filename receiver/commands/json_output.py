"""JSON on standard output, for scripts: the option ``--json`` and the documents that it prints.

docs/operations/commands.md lists the keys of each document.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import typer

from receiver.terminal import console, print_line

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")]


def print_json(document: dict[str, Any]) -> None:
    """Print a document; its times are in UTC, as ISO 8601.

    Only a terminal gets colors: a script's output has none, even with ``FORCE_COLOR``, which many CI systems set.
    """
    plain = json.dumps(document, default=_plain, indent=2, ensure_ascii=False)
    if sys.stdout.isatty():
        console.print_json(plain)
    else:
        print_line(plain)


def print_json_line(document: dict[str, Any]) -> None:
    """Print a document on a line of its own, as :func:`print_json` spells it."""
    print_line(json.dumps(document, default=_plain))


def _plain(value: object) -> str | float:
    """Return a value that JSON has no form for as one that it has."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
