"""Find the values of a JSON document in its bytes, even if the document is invalid.

To parse a body and write it again would change its text: spaces, escapes, the digits of numbers.
With the positions, a value can be replaced in place, and every other byte stays.
"""

from __future__ import annotations

import re
from functools import lru_cache

import orjson

from ampeco.json_text import read_json

# A string may be cut off by the end of the body.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[{}\[\],:]|[^\s"{}\[\],:]++', re.DOTALL)


class Node:
    """A value of a document: its position in the bytes, and its members.

    ``members`` are the keys and values of an object, each key without case, ``_`` and ``-``; in an
    array the keys are empty. A scalar has None. ``key`` is the position of the value's own key.
    """

    __slots__ = ("end", "is_object", "key", "members", "start")

    def __init__(
        self,
        start: int,
        end: int,
        members: list[tuple[str, Node]] | None,
        *,
        is_object: bool = False,
        key: tuple[int, int] = (0, 0),
    ) -> None:
        self.start = start
        self.end = end
        self.members = members
        self.is_object = is_object
        self.key = key


def unescaped(key: bytes) -> str:
    """Return the text of a JSON string, such as a key, from its bytes with the quotes; empty for no bytes."""
    if not key:
        return ""
    try:
        return str(read_json(key))
    except orjson.JSONDecodeError:
        return key[1:-1].decode("utf-8", "replace")


@lru_cache(maxsize=4096)  # AMPECO uses the same few hundred keys in every body
def _plain(key: bytes) -> str:
    return unescaped(key).replace("_", "").replace("-", "").lower()


def parsed(document: bytes) -> Node:
    """Return the root node of a document; invalid JSON is parsed as far as possible."""
    root = Node(0, len(document), [])
    open_, key, key_at = [root], "", (0, 0)
    for token in _TOKEN.finditer(document):
        first = document[token.start()]
        members = open_[-1].members
        assert members is not None
        if first == ord(":"):
            if members and not members[-1][0] and members[-1][1].members is None:
                named = members.pop()[1]
                key_at = named.start, named.end
                key = _plain(document[named.start : named.end])
            continue
        if first in b"}]":
            if len(open_) > 1:
                open_.pop().end = token.end()
        elif first in b"{[":
            node = Node(token.start(), len(document), [], is_object=first == ord("{"), key=key_at)
            members.append((key, node))
            open_.append(node)
        elif first != ord(","):
            members.append((key, Node(token.start(), token.end(), None, key=key_at)))
        key, key_at = "", (0, 0)
    return root
