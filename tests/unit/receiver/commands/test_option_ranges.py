"""Values that no option can have are refused in words: numbers out of range, URLs, future times, what is not UTF-8."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperOption

from receiver.commands.group import COMMANDS, CommandGroup
from tests.support.programs import receiver_program

#: Numbers of which every one has a meaning.
UNLIMITED = {("chaos", "seed")}


def numbers(command: str) -> Iterator[TyperOption]:
    for option in receiver_program().commands[command].params:
        if not isinstance(option, TyperOption) or option.type_descriptor is None:
            continue
        if option.type_descriptor.annotation in (int, float) and (command, option.name) not in UNLIMITED:
            yield option


@pytest.mark.parametrize("command", COMMANDS)
def test_a_number_beyond_the_range_of_its_option_is_refused(command: str) -> None:
    for option in numbers(command):
        assert option.min is not None, option.name
        assert option.max is not None, option.name
        assert math.isfinite(option.min), option.name
        assert math.isfinite(option.max), option.name
        for value in ("nan", "inf", str(10**30), "-1", "x"):
            with pytest.raises(typer.BadParameter) as refused:
                CommandGroup().commands[command].make_context(command, [option.opts[0], value])
            assert refused.value.param is not None
            assert refused.value.param.name == option.name
            assert "Input should" not in refused.value.message


def test_the_options_with_numbers_are_found() -> None:
    assert {option.name for option in numbers("replay")} == {"session", "evse", "charge_point"}
    assert {option.name for option in numbers("completeness")} == {"days"}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_that_is_not_utf_8_is_refused(command: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"argument 2 of {command} is not UTF-8"):
        CommandGroup().commands[command].make_context(command, ["--some", "a\udcff"])


@pytest.mark.parametrize("value", ["", "foo", "ftp://host", "http://", "http://host:99999", "http://[::1"])
@pytest.mark.parametrize(
    ("command", "option"),
    [("subscribe", "--public-url"), ("unsubscribe", "--public-url"), ("chaos", "--against")],
)
def test_what_is_no_url_is_refused(command: str, option: str, value: str) -> None:
    with pytest.raises(typer.BadParameter, match=f"^{re.escape(value)} is no URL such as https://"):
        CommandGroup().commands[command].make_context(command, [option, value])
    CommandGroup().commands[command].make_context(command, [option, "http://127.0.0.1:8080"])


@pytest.mark.parametrize("command", ["backfill", "resend"])
def test_a_time_in_the_future_is_refused_before_anything_is_asked(command: str) -> None:
    context = CommandGroup().commands[command].make_context(command, ["--since", "2999-01-01"])
    with pytest.raises(typer.BadParameter, match="2999-01-01 00:00:00 UTC is in the future"):
        context.command.invoke(context)
