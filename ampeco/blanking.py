"""Blanks single values in a body's bytes, and leaves every other byte as it came.

Reading a body and writing it anew would change its spelling: spaces, escapes, the digits of
numbers. The log is to stay what AMPECO sent, so the bytes themselves are gone through. This
takes broken JSON as it takes sound JSON, and its time grows with the body's length alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import orjson

from ampeco.redaction import is_secret

#: What stands in the log where a secret stood.
BLANK = b'"[blanked]"'

# Both also take a string that the end of the body cuts off.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_KEY = re.compile(_STRING.pattern + rb"\s*+(:?+)\s*+", re.DOTALL)
_STRING_OR_BRACKET = re.compile(_STRING.pattern + rb"|[{}\[\]]", re.DOTALL)
_LITERAL = re.compile(rb"[^\s,\]}]*+")

#: Values that hold nothing to hide.
_EMPTY = frozenset({b"null", b'""', BLANK})

_FOLDED = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")


def blank_secrets(body: bytes) -> bytes:
    """Return ``body`` with the value of every key that names a secret blanked.

    What :func:`ampeco.redaction.clean` makes of it stays the same, as it drops those keys. A body
    without secrets is returned as it is.
    """
    return blank(body, _names_secret, BLANK) if _may_hold_secret(body) else body


def blank(body: bytes, is_blanked: Callable[[bytes], bool], replacement: bytes) -> bytes:
    """Return ``body`` with the value of each chosen key replaced, whatever is nested in it.

    Parameters:
        is_blanked: decides by the key as it is spelt, with its quotes.
        replacement: JSON; a value that is empty already is left as it is.
    """
    parts: list[bytes] = []
    copied = position = 0
    while (key := _KEY.search(body, position)) is not None:
        position = key.end()
        if not key[1] or not is_blanked(key[0][: key[0].rindex(b'"') + 1]):
            continue
        end = _end_of_value(body, position)
        value = body[position:end]
        if value not in _EMPTY and value != replacement:
            parts += body[copied:position], replacement
            copied = end
        position = end
    return b"".join([*parts, body[copied:]]) if parts else body


def spelt(key: bytes) -> str:
    """The text of a key as it is spelt in JSON, with its quotes."""
    try:
        return str(orjson.loads(key))
    except orjson.JSONDecodeError:
        return key[1:-1].decode("utf-8", "replace")


@lru_cache(maxsize=4096)  # the few hundred keys that AMPECO uses, over and over
def _names_secret(key: bytes) -> bool:
    return is_secret(spelt(key))


def _may_hold_secret(body: bytes) -> bool:
    """A cheap look, which errs on the safe side: nearly every body holds no secret."""
    folded = body.translate(_FOLDED, b"_-")
    return (
        b'password"' in folded
        or b'"pin"' in folded
        or b'"sharingcode"' in folded
        or (b"\\u00" in folded and _ESCAPED_ASCII.search(folded) is not None)
    )


def _end_of_value(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first == b'"':
        found = _STRING.match(body, start)
        assert found is not None
        return found.end()
    if first not in (b"{", b"["):
        literal = _LITERAL.match(body, start)
        assert literal is not None
        return literal.end()
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body, start):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
        if depth == 0:
            return token.end()
    return len(body)
