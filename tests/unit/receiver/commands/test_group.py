"""A command costs what it needs: the others, and the libraries that they need, are not imported."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from importlib import import_module

import pytest

from receiver.commands.group import COMMANDS, importing
from tests.support.programs import receiver_program

pytestmark = pytest.mark.process

#: Our modules that any start of the program loads; a new one is paid by each command and each completion.
ALWAYS = {
    "migrations",
    "receiver",
    "receiver.commands",
    "receiver.commands.group",
    "receiver.commands.main",
    "receiver.exits",
    "runtime",
    "runtime.supervised",
}

OURS = ("ampeco", "analytics", "migrations", "receiver", "runtime", "simulator", "storage", "workers")

#: What takes long to import. Typer itself loads pydantic to convert the values of options.
HEAVY = {
    "alembic",
    "asyncio",
    "dramatiq",
    "httpx",
    "prometheus_client",
    "psycopg",
    "redis",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
}

#: Runs the program, and writes what it has loaded to the file descriptor 2.
LISTING = """
import sys
from receiver.commands.main import main
sys.argv[0] = "ampeco-receiver"
try:
    main()
finally:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


def loaded(*arguments: str, **environment: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout
    return set(done.stderr.split())


def completion(words: str) -> dict[str, str]:
    return {
        "_AMPECO_RECEIVER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"ampeco-receiver {words}",
        "COMP_CWORD": str(len(words.split())),
    }


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--version"], {}), (["--help"], {}), ([], completion("re"))],
    ids=["version", "help", "completion"],
)
def test_what_names_no_command_imports_none(arguments: list[str], environment: dict[str, str]) -> None:
    modules = loaded(*arguments, **environment)
    assert {name for name in modules if name.partition(".")[0] in OURS} == ALWAYS
    assert not modules & HEAVY


def test_a_command_imports_no_other() -> None:
    modules = loaded("tail", "--help")
    others = {place.partition(":")[0] for place, _ in COMMANDS.values()} - {"tail"}
    assert not modules & {f"receiver.commands.{module}" for module in others}
    assert not modules & {"alembic", "dramatiq", "httpx", "redis", "starlette", "uvicorn"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says(name: str) -> None:
    command = receiver_program().commands[name]
    assert command.name == name
    assert command.help is not None
    assert COMMANDS[name][1] == command.help.partition("\n\n")[0]


@pytest.mark.parametrize("module", ["receiver.commands.serve", "workers.process", "receiver.console.serve"])
def test_a_process_that_does_not_migrate_loads_no_alembic(module: str) -> None:
    listing = f"import sys, {module}, migrations; migrations.head(); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert module in modules
    assert not modules & {"alembic", "mako"}


def test_what_a_command_imports_is_left_out_of_garbage_collections() -> None:
    code = """
import gc
from receiver.commands.group import CommandGroup
collections = [each["collections"] for each in gc.get_stats()]
CommandGroup().commands["status"].load()
print(gc.isenabled(), gc.get_freeze_count() > 100_000, gc.get_stats()[2]["collections"] - collections[2])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "0"]


def test_garbage_is_collected_again_if_an_import_fails() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        import_module("receiver.commands.nothing")
    assert gc.isenabled()
