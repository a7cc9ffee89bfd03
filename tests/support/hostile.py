"""Hostile bodies: samples with hostile values in one or several places."""

from __future__ import annotations

import copy
import random
import string
from typing import Any

from hypothesis import strategies as st

from tests.support.facts import SAMPLES, sample

NAMES = sorted(
    path.stem
    for path in SAMPLES.glob("*.json")
    if not path.stem.startswith("_") and "notification" in sample(path.stem)
)

#: Longer than an index entry may be, and random, so that Postgres cannot compress it.
LONG = "".join(random.Random(54).choices(string.ascii_letters + string.digits, k=9_000))

#: Values each of which has broken a parser, a driver, a database or a report.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    1e-320,
    1e308,
    -0.0,
    0.1 + 0.2,
    "",
    " ",
    "0",
    "-0",
    "1e400",
    "NaN",
    "Infinity",
    "9" * 400,
    "0." + "9" * 2_000,
    "null",
    "a\0b",
    "\ud800",
    "\udfff tail",
    "\u202e right to left",
    "é" * 3_000,
    LONG,
    "'; DROP TABLE charging.session; --",
    "{}",
    "\\u0000",
    "__proto__",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00",
    "2026-02-30T00:00:00Z",
    "2026-03-04T24:00:00Z",
    "2026-03-04T23:59:60Z",
    "2026-03-04",
    "2026-03-04 07:20:00",
    [],
    {},
    [[]],
    {"id": {}},
    [None, 1, "x"],
    {"\0": "\0"},
    {"en": None},
    {"locale": 5, "translation": []},
)


def places(body: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a JSON document, except the document itself."""
    paths: list[tuple[Any, ...]] = [path] if path else []
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in inner:
        paths += places(value, (*path, key))
    return paths


def replaced(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a copy with another value in one place; an equal copy if the place does not exist."""
    changed = copy.deepcopy(body)
    holder: Any = changed
    for key in path[:-1]:
        try:
            holder = holder[key]
        except (KeyError, IndexError, TypeError):
            return changed
    if isinstance(holder, dict) or (isinstance(holder, list) and isinstance(path[-1], int) and path[-1] < len(holder)):
        holder[path[-1]] = copy.deepcopy(value)
    return changed


@st.composite
def hostile_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a sample notification with up to four hostile values; it keeps its type, so that its model parses it."""
    body = sample(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from([path for path in places(body) if path != ("notification",)] or [("x",)]))
        body = replaced(body, path, draw(st.sampled_from(VALUES)))
    return body
