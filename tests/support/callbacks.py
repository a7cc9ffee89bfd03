"""The functions behind the commands of the receiver, and what they use."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType

from tests.support.programs import receiver_program


def used_by(command: str) -> Iterator[object]:
    """Yield the module-level objects that a command's function uses, and those that our functions among them use."""
    seen: set[int] = set()
    waiting = [_callback(command)]
    while waiting:
        current = waiting.pop()
        for name in current.__code__.co_names:
            used = current.__globals__.get(name)
            if used is None or id(used) in seen:
                continue
            seen.add(id(used))
            yield used
            # A context manager's function is wrapped.
            inner = getattr(used, "__wrapped__", used)
            if isinstance(inner, FunctionType) and inner.__module__.startswith("receiver."):
                waiting.append(inner)


def _callback(command: str) -> FunctionType:
    callback = inspect.unwrap(receiver_program().commands[command].callback)  # type: ignore[arg-type]
    assert isinstance(callback, FunctionType)
    return callback
