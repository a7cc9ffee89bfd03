"""Whatever JSON's grammar allows is read, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.json_text import read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(document=JSON)
def test_a_number_beyond_a_double_changes_nothing_else(document: Any) -> None:
    # Given a document that orjson reads, and one that is the same but for a number beyond all doubles
    content = json.dumps(document).encode()
    spoiled = b"[1e400, %s]" % content
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(spoiled)
    # Then both read the same
    assert read_json(content) == orjson.loads(content)
    assert read_json(spoiled) == ["1e400", orjson.loads(content)]


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        ("-1e400", "-1e400"),
        ("9" * 400, "9" * 400),
        ("123456789012345678", 123456789012345678),
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551616", 2.0**64),
        ('"half \\ud83d"', "half \ud83d"),
    ],
)
def test_what_orjson_refuses_is_read_beside_what_it_reads(spelled: str, read: Any) -> None:
    assert read_json(b'{"a": 1e999, "b": %s}' % spelled.encode()) == {"a": "1e999", "b": read}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"NaN",
        b"[1e400, Infinity]",
        b"[1e400, 01]",
        b'["\xff"]',
        b"[" * 100_000,
        '{"a": 1}'.encode("utf-16"),
        b'\xef\xbb\xbf{"a": 1}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_json_is_refused_as_before(content: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        read_json(content)
