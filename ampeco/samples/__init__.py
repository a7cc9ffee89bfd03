"""Sample notifications, one or several of each type whose payload AMPECO documents, and sample answers of the API.

A sample is named by its type, and by a variant if there are several: ``HardwareStatusNotification.faulted``.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from ampeco.notifications.catalogue import CATALOGUE


@cache
def samples() -> dict[str, tuple[str, ...]]:
    """Return the names of the samples of each notification type; none if AMPECO does not document its payload."""
    names = sorted(path.name.removesuffix(".json") for path in files(__name__).iterdir() if path.name.endswith(".json"))
    types = {name: _read(name)["notification"] for name in names if not name.startswith("_")}
    return {known.name: tuple(name for name, of_type in types.items() if of_type == known.name) for known in CATALOGUE}


def sample(name: str) -> dict[str, Any]:
    """Return the body of a notification.

    Parameters:
        name: a notification type, for the first of its samples, or the name of a sample.

    Raises:
        KeyError: there is neither a type nor a sample of that name.
    """
    known = samples()
    if name in known:
        return _read(known[name][0]) if known[name] else {"notification": name}
    if not any(name in names for names in known.values()):
        raise KeyError(name)
    return _read(name)


def _read(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8"))
    return body
