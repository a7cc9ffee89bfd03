"""What others wrote is printed as they wrote it."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from receiver.commands import status_tables
from receiver.terminal import console, errors, styled
from storage.reports.overview import TenantOverview, Trouble
from storage.sync.inaccessible_kinds import InaccessibleKind

ROOT = Path(__file__).parents[4]

NOW = datetime(2026, 3, 4, 7, tzinfo=UTC)

#: It closes a tag that was never opened, opens others, and names a picture.
HOSTILE = "[/data] [red]no[/red] [0] :warning:"


@pytest.mark.parametrize(
    "shown",
    [
        HOSTILE,
        styled("red", "wrong", f": {HOSTILE}"),
        status_tables.trouble_table([Trouble("demo", "a read", HOSTILE, 1)]),
        status_tables.inaccessible_table([InaccessibleKind("demo", "evse", "forbidden", NOW, NOW, NOW, HOSTILE, 1)]),
    ],
    ids=["line", "styled line", "troubles", "kinds that cannot be read"],
)
@pytest.mark.parametrize("terminal", [console, errors], ids=["output", "errors"])
def test_an_error_of_ampeco_is_printed_as_it_is(
    terminal: Console, shown: RenderableType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "width", 200)
    with terminal.capture() as captured:
        terminal.print(shown)
    assert HOSTILE in captured.get()


@pytest.mark.parametrize("package", ["receiver", "simulator"])
def test_every_console_prints_texts_as_they_are(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        if "from rich.console import" not in (source := file.read_text()):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Console":
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert (given.get("markup"), given.get("emoji")) == ("False", "False"), f"{file}:{node.lineno}"


def test_an_api_of_which_redis_does_not_answer_is_not_called_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 200)
    with console.capture() as captured:
        console.print(status_tables.overview_table([TenantOverview("demo")], None))
    assert "unknown: Redis fails" in captured.get()
    assert " open " not in captured.get()
