"""No table cuts a value: one that does not fit is printed as lines with names and values."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest
from rich.box import SIMPLE_HEAD
from rich.table import Table

from receiver.commands import status_tables
from receiver.terminal import console
from storage.reports.overview import TenantOverview
from workers.api.state import ApiState

ROOT = Path(__file__).parents[4]

HEADINGS = ("Tenant", "Applied", "Pending", "Ignored", "Failed", "Oldest pending", "Since", "Callback URL", "Answer")
ROW = (
    "a-tenant-with-a-long-name",
    "25,123,456",
    "1,234,567",
    "12,345",
    "0",
    "25 min",
    "2026-11-28 10:45",
    "https://receiver.example.com/notifications/a-tenant-with-a-long-name",
    "AMPECO answered 403: this token has no permission to read what the reconciliation asks for",
)


def printed(table: Table, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(console, "width", width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def values(cell: str) -> list[str]:
    """Return what has to be readable in one piece: a short value as it is, and each word of a long one."""
    return [cell] if len(cell) <= 20 else cell.split()


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
@pytest.mark.parametrize("first", range(len(HEADINGS)))
@pytest.mark.parametrize("box", [None, SIMPLE_HEAD], ids=["plain", "simple"])
def test_every_value_is_whole_at_every_width(
    width: int, first: int, box: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in range(1, len(HEADINGS) - first + 1):
        chosen = slice(first, first + count)
        table = Table(*HEADINGS[chosen], title="Some title", title_justify="left")
        if box is not None:
            table.box = SIMPLE_HEAD
        table.add_row(*ROW[chosen])
        shown = printed(table, width, monkeypatch)
        for value in itertools.chain.from_iterable(map(values, (*ROW[chosen], *HEADINGS[chosen]))):
            assert value in shown
        assert "…" not in shown


@pytest.mark.parametrize("width", [60, 80, 100])
def test_status_shows_the_numbers_of_a_tenant_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = TenantOverview("example", 25_123_456, 1_234_567, 89_012, 345, 7_200.0, None, 9_876, 543, 21, 3)
    shown = printed(status_tables.overview_table([tenant], ApiState({"example": 79_000}, {})), width, monkeypatch)
    for value in ("example", "25,123,456", "1,234,567", "89,012", "345", "9,876", "543", "79,000", "open"):
        assert re.search(rf"(?<!\S){re.escape(value)}(?!\S)", shown), value


def test_every_command_prints_its_tables_by_this_console() -> None:
    for file in (ROOT / "receiver" / "commands").rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        assert "Console" not in names, file
