"""Blanking takes the secrets out of a body, and not one byte more."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.json_text import read_json
from ampeco.privacy.body_redaction import REDACTED, needs_cleaning, redact_secrets
from ampeco.privacy.redaction import MAX_DEPTH, SECRET_ENDINGS, SECRET_KEYS, clean, is_secret
from tests.support.facts import SAMPLES

SECRET = "hunter2-7f3a"

#: A key for each rule by which one names a secret.
NAMES = [key.decode() for key in (*sorted(SECRET_KEYS), *SECRET_ENDINGS)] + ["networkPassword"]


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """A secret's key in any case, with `_` and `-` anywhere."""
    letters = list(draw(st.sampled_from(NAMES)))
    letters = [draw(st.sampled_from((letter.lower(), letter.upper()))) for letter in letters]
    for _ in range(draw(st.integers(0, 3))):
        letters.insert(draw(st.integers(0, len(letters))), draw(st.sampled_from("_-")))
    return "".join(letters)


KEYS = spelled() | st.sampled_from(["key", "value"]) | st.text(st.characters(codec="utf-8"), max_size=8)
TEXTS = st.text(st.characters(codec="utf-8")) | st.just(SECRET) | spelled()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def secrets(value: Any) -> list[Any]:
    """Whatever stands under a secret's key, or beside one in a configuration."""
    if isinstance(value, list):
        return [one for held in value for one in secrets(held)]
    if not isinstance(value, dict):
        return []
    name = value.get("key")
    is_configured = isinstance(name, str) and is_secret(name)
    return [
        one
        for key, held in value.items()
        for one in ([held] if is_secret(key) or (is_configured and key == "value") else secrets(held))
    ]


@given(document=JSON, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_no_secret_is_left_and_what_is_read_stays_the_same(document: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    redacted = redact_secrets(body)
    read = orjson.loads(redacted)
    assert clean(read) == clean(orjson.loads(body))
    assert all(left in (None, "", orjson.loads(REDACTED)) for left in secrets(read))
    assert redact_secrets(redacted) == redacted


@given(key=spelled(), is_escaped=st.booleans(), at=st.integers(0, 30))
def test_a_secret_of_any_kind_is_found_where_it_stands_alone(key: str, is_escaped: bool, at: int) -> None:
    spelling = json.dumps(key)
    if is_escaped:
        letter = key[at % len(key)]
        spelling = spelling.replace(letter, f"\\u{ord(letter):04x}")
    for body in (
        f'{{{spelling}:"{SECRET}"}}',
        f'{{"chargePoint":{{"list":[{{"id":7,{spelling}: {{"a":["{SECRET}"]}}}}]}}}}',
        f'{{"configuration":[{{"key":{spelling},"readonly":false,"value":"{SECRET}"}}]}}',
        f'{{"configuration":[{{"value" : "{SECRET}", "key" : {spelling}}},{{"key":"other","value":"kept"}}]}}',
    ):
        redacted = redact_secrets(body.encode())
        assert SECRET.encode() not in redacted, body
        assert redacted.count(REDACTED) == 1
        assert (b"kept" in redacted) == ("kept" in body)


#: Documents with characters that Postgres cannot hold, in keys and in texts.
UNCLEAN = st.recursive(
    st.none() | st.text(st.characters() | st.sampled_from("\0\ud800\udfff\\u")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(document=JSON | UNCLEAN, ascii_only=st.booleans(), upper=st.booleans())
def test_a_body_that_needs_no_cleaning_is_clean(document: Any, ascii_only: bool, upper: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if upper:
        body = re.sub(rb"\\u[0-9a-f]{4}", lambda escape: b"\\u" + escape[0][2:].upper(), body)
    try:
        read = read_json(body)
    except orjson.JSONDecodeError:
        return  # it is not applied
    if not needs_cleaning(body):
        assert clean(read) == read
        assert redact_secrets(body) is body


@given(depth=st.integers(MAX_DEPTH - 3, MAX_DEPTH + 3), is_list=st.booleans())
def test_a_body_that_is_too_deep_needs_cleaning(depth: int, is_list: bool) -> None:
    body = b"[" * depth + b"]" * depth if is_list else b'{"a":' * depth + b"1" + b"}" * depth
    assert needs_cleaning(body) == (depth > MAX_DEPTH)


@pytest.mark.parametrize("key", NAMES)
def test_every_name_of_a_secret_needs_cleaning(key: str) -> None:
    assert needs_cleaning(json.dumps({key: SECRET}).encode())


@pytest.mark.parametrize("escape", ["0000", "d800", "D800", "dfff", "DFFF", "dBfF", "Dc00"])
def test_every_spelling_of_a_character_that_cannot_be_stored_needs_cleaning(escape: str) -> None:
    assert needs_cleaning(b'{"a":"\\u%s"}' % escape.encode())
    assert needs_cleaning(b'{"\\u%s":1}' % escape.encode())


@pytest.mark.parametrize(
    "name", ["HardwareStatusNotification.evse", "SessionMeterValuesNotification", "SessionUpdateNotification.active"]
)
def test_the_most_frequent_notifications_need_no_cleaning(name: str) -> None:
    assert not needs_cleaning((SAMPLES / f"{name}.json").read_bytes())


def test_every_other_byte_stays_as_it_came() -> None:
    body = b'{ "a":1.50e+1,\n\t"PIN" : 1234 ,"net\\u0077orkPassword":"x\\"y" , "o": {"sharingCode":{"b":["]}"]},"z":"\\/"}}'
    assert redact_secrets(body) == (
        b'{ "a":1.50e+1,\n\t"PIN" : "[redacted]" ,"net\\u0077orkPassword":"[redacted]" ,'
        b' "o": {"sharingCode":"[redacted]","z":"\\/"}}'
    )


@pytest.mark.parametrize(
    "body", [b'{"pin":null}', b'{"pin":""}', b'{"x":"pin"}', b'{"pinned":1}', b'{"x":"\\"pin\\":1"}']
)
def test_a_body_without_a_secret_is_the_very_same(body: bytes) -> None:
    assert redact_secrets(body) is body


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_samples_read_as_before(path: Any) -> None:
    body = path.read_bytes()
    assert clean(orjson.loads(redact_secrets(body))) == clean(orjson.loads(body))


@pytest.mark.parametrize("body", [b'{"pin":"1234', b'{"pin":"12\\', b'{"pin":{"a":[1234', b'{"pin":1234', b'{"pin":'])
def test_a_body_that_is_cut_off_keeps_no_secret_either(body: bytes) -> None:
    assert b"12" not in redact_secrets(body)


@pytest.mark.parametrize(
    "filling", [b'"\\', b'"', b'\\"', b'{"pin":', b'"pin":[', b"\\u0070", b'{"key":"pin","value":', b'{"key":"pin",[']
)
def test_nothing_that_is_sent_takes_long(filling: bytes) -> None:
    body = (b'{"pin":' + filling * (1024 * 1024))[: 1024 * 1024]
    began = time.process_time()
    redact_secrets(body)
    # A time that grows with the square of the length would be hours.
    assert time.process_time() - began < 20
