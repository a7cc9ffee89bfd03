"""What stands where in the bytes of a JSON document, sound or broken.

Reading a body and writing it again would change its spelling: spaces, escapes, the digits of
numbers. Where every other byte is to stay as it came, values are found and replaced in place.
"""

from __future__ import annotations

import re
from functools import lru_cache

import orjson

from ampeco.json_text import read_json

# A string may be cut off by the end of the body.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[{}\[\],:]|[^\s"{}\[\],:]++', re.DOTALL)


class Node:
    """A value of a document: where it stands in the bytes, and what is in it.

    ``members`` are the keys and values of an object; an array's have no keys. None: a single value.
    ``key`` is where its own key stands.
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


def spelt(key: bytes) -> str:
    """The text of a key as it is spelt in JSON, with its quotes; empty where there is none."""
    if not key:
        return ""
    try:
        return str(read_json(key))
    except orjson.JSONDecodeError:
        return key[1:-1].decode("utf-8", "replace")


@lru_cache(maxsize=4096)  # the few hundred keys that AMPECO uses, over and over
def _plain(key: bytes) -> str:
    return spelt(key).replace("_", "").replace("-", "").lower()


def parsed(document: bytes) -> Node:
    """What stands where, in sound JSON and, as far as it goes, in broken."""
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
