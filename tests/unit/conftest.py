"""Unit tests start nothing, except those that say so: `make unit` leaves these out, and so takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest

#: What Python reports of a process that starts, and of an address on which a server is going to listen.
_STARTS = ("subprocess.Popen", "socket.bind")

_started: list[str] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _STARTS:
        _started.append(f"{event}{arguments!r}")


sys.addaudithook(_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that starts a process or listens, and is not marked."""
    _started.clear()
    result = yield
    if _started and not {"process", "server", "long"} & {mark.name for mark in item.iter_markers()}:
        pytest.fail(f"mark the test as `process`, because `make unit` is for tests that start nothing: {_started[0]}")
    return result
