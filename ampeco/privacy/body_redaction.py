"""Redact single values in a body's bytes, and keep every other byte.

The log must stay what AMPECO sent, so this works on the bytes themselves. It accepts invalid
JSON as well as valid JSON, and its time grows only with the body's length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from ampeco.json_nodes import Node, parsed, unescaped
from ampeco.privacy.redaction import MAX_DEPTH, folded, is_secret

#: The text that replaces a secret in the log.
REDACTED = b'"[redacted]"'

# Both also match a string that the end of the body cuts off.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_KEY = re.compile(_STRING.pattern + rb"\s*+(:?+)\s*+", re.DOTALL)
_STRING_OR_BRACKET = re.compile(_STRING.pattern + rb"|[{}\[\]]", re.DOTALL)
_LITERAL = re.compile(rb"[^\s,\]}]*+")

#: Values that contain nothing to redact.
_EMPTY = frozenset({b"null", b'""', REDACTED})

#: One of these is in every folded body with a secret, unless the key is written with escapes. They are parts of the
#: keys that several have in common, because each search costs the same.
_TRACES = (
    *(b'pin"', b'token"', b'key"', b'url"', b"password", b'secret"'),
    *(b'"bank', b'sharingcode"', b'verificationcode"', b'personalid"', b'citizenid"'),
)
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
_UNSTORABLE = re.compile(rb"\\u(?:0000|[dD][89abcdefABCDEF])")

#: A charge point's configuration is a list of objects, each with the name of a key and its value.
_NAME, _VALUE = "key", "value"
_NAMED = re.compile(rb'"key"\s*+:\s*+(' + _STRING.pattern + rb")", re.DOTALL)


def redact_secrets(body: bytes) -> bytes:
    """Return ``body`` with the value of every key that names a secret redacted.

    :func:`ampeco.privacy.redaction.clean` drops those keys, so it returns the same for the body before and
    after. A body without secrets is returned unchanged.
    """
    if not _may_hold_secret(body):
        return body
    return _redact_configuration(redact_bodies(body, _names_secret, REDACTED))


def redact_bodies(body: bytes, is_redacted: Callable[[bytes], bool], replacement: bytes) -> bytes:
    """Return ``body`` with the value of each chosen key replaced, whatever is nested in it.

    Parameters:
        is_redacted: decides by the key's bytes in the body, with its quotes.
        replacement: JSON; an empty value is not replaced.
    """
    parts: list[bytes] = []
    copied = position = 0
    while (key := _KEY.search(body, position)) is not None:
        position = key.end()
        if not key[1] or not is_redacted(key[0][: key[0].rindex(b'"') + 1]):
            continue
        end = _end_of_value(body, position)
        value = body[position:end]
        if value not in _EMPTY and value != replacement:
            parts += body[copied:position], replacement
            copied = end
        position = end
    return b"".join([*parts, body[copied:]]) if parts else body


@lru_cache(maxsize=4096)  # AMPECO uses the same few hundred keys in every body
def _names_secret(key: bytes) -> bool:
    return is_secret(unescaped(key))


def needs_cleaning(body: bytes) -> bool:
    """Return whether :func:`ampeco.privacy.redaction.clean` may change a body's JSON or refuse it.

    It may return True for a body that stays as it is, but never False for another one.
    """
    return (
        _may_hold_secret(body)
        or (b"\\u" in body and _UNSTORABLE.search(body) is not None)
        or body.count(b"{") + body.count(b"[") > MAX_DEPTH
    )


def _may_hold_secret(body: bytes) -> bool:
    """Return whether a body may contain a secret; nearly every body contains none.

    It may return True for a body without secrets, but never False for one with a secret.
    """
    plain = folded(body)
    return any(map(plain.__contains__, _TRACES)) or (b"\\u00" in plain and _ESCAPED_ASCII.search(plain) is not None)


def _redact_configuration(body: bytes) -> bytes:
    """Redact the values of those configuration keys that name a secret."""
    if b"\\u00" not in body and not any(is_secret(unescaped(match[1])) for match in _NAMED.finditer(body)):
        return body  # nearly always; the code below takes several times as long
    parts: list[bytes] = []
    copied = 0
    for start, end in sorted((value.start, value.end) for value in _secret_values(body)):
        if start >= copied and body[start:end] not in _EMPTY:
            parts += body[copied:start], REDACTED
            copied = end
    return b"".join([*parts, body[copied:]]) if parts else body


def _secret_values(body: bytes) -> Iterator[Node]:
    waiting = [parsed(body)]
    while waiting:
        node = waiting.pop()
        members = [(unescaped(body[slice(*value.key)]), value) for _, value in node.members or () if node.is_object]
        names = [value for key, value in members if key == _NAME]
        if names and is_secret(unescaped(body[names[-1].start : names[-1].end])):
            yield from (value for key, value in members if key == _VALUE)
        waiting += [value for _, value in node.members or () if value.members is not None]


def _end_of_value(body: bytes, start: int) -> int:
    first = body[start : start + 1]
    if first == b'"':
        string = _STRING.match(body, start)
        assert string is not None
        return string.end()
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
