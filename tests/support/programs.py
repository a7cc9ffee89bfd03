"""The commands of the programs, imported."""

from __future__ import annotations

from functools import cache

import typer
from typer.core import TyperGroup

from receiver.commands.group import LazyCommand
from receiver.commands.main import app


@cache
def receiver_program() -> TyperGroup:
    """Return the group ``ampeco-receiver`` with the commands themselves, whose parameters and functions can be read."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        assert isinstance(command, LazyCommand)
        group.commands[name] = command.load()
    return group
