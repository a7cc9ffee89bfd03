"""How the page of a notification writes its body."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.notifications.catalogue import CATALOGUE
from receiver.console.pages.notification import explanation, indented

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(DOCUMENTS, st.booleans())
def test_line_breaks_change_nothing_but_whitespace(document: object, ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert json.loads(indented(body)) == document


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"a":1.10,"a":[],"b":{ },"c":[1e5,"x,{"]}', '{\n  "a": 1.10,\n  "a": [],\n  "b": { },\n  "c": [\n    1e5,\n    "x,{"\n  ]\n}'),
        (b"{not JSON", "{not JSON"),
        (b"\xff\x00", "\\xff\x00"),
        (b"[" * 900 + b"]" * 900, None),
    ],
)  # fmt: skip
def test_a_body_is_written_as_it_is_stored(body: bytes, written: str | None) -> None:
    shown = indented(body)
    assert written is None or shown == written
    assert "".join(shown.split()) == "".join(body.decode("utf-8", "backslashreplace").split())


def test_every_type_is_explained_in_words() -> None:
    for known in CATALOGUE:
        words = explanation(known.name, known)
        assert words.endswith(".")
        assert "`" not in words
        assert known.successor is None or known.successor in words
    assert "does not know" in explanation("from.the.future", None)
