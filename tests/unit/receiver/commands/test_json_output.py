"""Every command that prints a table also prints JSON, and its times are in UTC."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from rich.table import Table

from receiver.commands.json_output import print_json, print_json_line
from tests.support.callbacks import used_by
from tests.support.programs import receiver_program

COMMANDS = receiver_program().commands


def prints_a_table(command: str) -> bool:
    return any(used is Table for used in used_by(command))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_prints_a_table_also_prints_json(name: str) -> None:
    has_json = any("--json" in parameter.opts for parameter in COMMANDS[name].params)
    prints_lines_of_data = name in ("doctor", "tail")
    assert has_json == (prints_lines_of_data or prints_a_table(name))


def test_a_table_is_found_in_what_a_command_uses() -> None:
    assert prints_a_table("status")
    assert not prints_a_table("serve")


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
