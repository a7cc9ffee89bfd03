"""Every command that prints a table also prints JSON, and its times are in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import FunctionType
from typing import Any
from uuid import UUID

import pytest
import typer
from rich.table import Table
from typer.core import TyperGroup

from receiver.commands import main
from receiver.commands.json_output import print_json, print_json_line

GROUP = typer.main.get_command(main.app)
assert isinstance(GROUP, TyperGroup)


def reachable(function: FunctionType) -> Iterator[Any]:
    """Yield the objects of its module that a function uses, and those that these use."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        for name in current.__code__.co_names:
            used = current.__globals__.get(name)
            if id(used) in seen:
                continue
            seen.add(id(used))
            yield used
            if isinstance(used, FunctionType) and used.__module__.startswith("receiver."):
                waiting.append(used)


def prints_a_table(function: FunctionType) -> bool:
    return any(used is Table for used in reachable(function))


def callback(name: str) -> FunctionType:
    """Return the function of a command."""
    assert isinstance(GROUP, TyperGroup)
    for info in main.app.registered_commands:
        if isinstance(info.callback, FunctionType) and name in (info.name, info.callback.__name__):
            return info.callback
    raise AssertionError(name)


@pytest.mark.parametrize("name", GROUP.commands)
def test_every_command_that_prints_a_table_also_prints_json(name: str) -> None:
    assert isinstance(GROUP, TyperGroup)
    has_json = any("--json" in parameter.opts for parameter in GROUP.commands[name].params)
    prints_lines_of_data = name in ("doctor", "tail")
    assert has_json == (prints_lines_of_data or prints_a_table(callback(name)))


def test_a_table_is_found_in_what_a_command_uses() -> None:
    assert prints_a_table(callback("status"))
    assert not prints_a_table(callback("serve"))


def test_times_are_in_utc_and_other_values_have_a_form(capsys: pytest.CaptureFixture[str]) -> None:
    sofia = timezone(timedelta(hours=2))
    document = {
        "at": datetime(2026, 3, 4, 1, tzinfo=sofia),
        "id": UUID(int=1),
        "share": Decimal("0.5"),
        "none": None,
    }
    for show in (print_json, print_json_line):
        show(document)
        shown = json.loads(capsys.readouterr().out)
        assert datetime.fromisoformat(shown["at"]) == datetime(2026, 3, 3, 23, tzinfo=UTC)
        assert shown["at"].endswith("+00:00")
        assert (shown["id"], shown["share"], shown["none"]) == (str(UUID(int=1)), 0.5, None)
    print_json_line(document)
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(TypeError):
        print_json({"set": {1}})
