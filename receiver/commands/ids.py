"""Ids on the command line."""

from __future__ import annotations

from typing import Any

import typer

from ampeco.values import MAX_BIGINT


def id_option(name: str, meaning: str) -> Any:
    """Return an option whose value is an id or number that a column can have."""
    return typer.Option(name, min=1, max=MAX_BIGINT, help=meaning)
