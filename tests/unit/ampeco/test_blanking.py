"""Blanking takes the secrets out of a body, and not one byte more."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.blanking import BLANK, blank_secrets
from ampeco.redaction import clean, is_secret
from tests.support.facts import SAMPLES

SECRET = "hunter2-7f3a"

KEYS = st.sampled_from(
    ["pin", "PIN", "p_i-n", "sharingCode", "sharing_code", "networkPassword", "saslPassword", "password", "Password-"]
) | st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def secrets(value: Any) -> list[Any]:
    """Whatever stands under a secret's key."""
    if isinstance(value, list):
        return [one for held in value for one in secrets(held)]
    if not isinstance(value, dict):
        return []
    return [one for key, held in value.items() for one in ([held] if is_secret(key) else secrets(held))]


@given(document=JSON, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_no_secret_is_left_and_what_is_read_stays_the_same(document: Any, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    blanked = blank_secrets(body)
    read = orjson.loads(blanked)
    assert clean(read) == clean(orjson.loads(body))
    assert all(left in (None, "", orjson.loads(BLANK)) for left in secrets(read))
    assert blank_secrets(blanked) == blanked


def test_every_other_byte_stays_as_it_came() -> None:
    body = b'{ "a":1.50e+1,\n\t"PIN" : 1234 ,"net\\u0077orkPassword":"x\\"y" , "o": {"sharingCode":{"b":["]}"]},"z":"\\/"}}'
    assert blank_secrets(body) == (
        b'{ "a":1.50e+1,\n\t"PIN" : "[blanked]" ,"net\\u0077orkPassword":"[blanked]" ,'
        b' "o": {"sharingCode":"[blanked]","z":"\\/"}}'
    )


@pytest.mark.parametrize(
    "body", [b'{"pin":null}', b'{"pin":""}', b'{"x":"pin"}', b'{"pinned":1}', b'{"x":"\\"pin\\":1"}']
)
def test_a_body_without_a_secret_is_the_very_same(body: bytes) -> None:
    assert blank_secrets(body) is body


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_the_samples_read_as_before(path: Any) -> None:
    body = path.read_bytes()
    assert clean(orjson.loads(blank_secrets(body))) == clean(orjson.loads(body))


@pytest.mark.parametrize("body", [b'{"pin":"1234', b'{"pin":"12\\', b'{"pin":{"a":[1234', b'{"pin":1234', b'{"pin":'])
def test_a_body_that_is_cut_off_keeps_no_secret_either(body: bytes) -> None:
    assert b"12" not in blank_secrets(body)


@pytest.mark.parametrize("filling", [b'"\\', b'"', b'\\"', b'{"pin":', b'"pin":[', b"\\u0070"])
def test_nothing_that_is_sent_takes_long(filling: bytes) -> None:
    body = (b'{"pin":' + filling * (1024 * 1024))[: 1024 * 1024]
    began = time.process_time()
    blank_secrets(body)
    # A time that grows with the square of the length would be hours.
    assert time.process_time() - began < 20
