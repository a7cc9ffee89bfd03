from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.privacy.body_redaction import redact_secrets
from ampeco.privacy.redaction import MAX_DEPTH, clean, redact

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "networkPassword",
        "network_password",
        "network-password",
        "NETWORKPASSWORD",
        "saslPassword",
        "pin",
        "PIN",
        "Pin",
        "sharingCode",
        "sharing_code",
        "SharingCode",
        "token",
        "authorizationKey",
        "acceptUrl",
        "downloadUrl",
        "bankDetails",
        "bankIban",
        "bankAccountNumber",
        "personalId",
    ],
)
def test_a_secret_is_removed_at_any_depth_in_any_spelling(key: str) -> None:
    body = {key: "hunter2", "a": [{"b": {key: {"nested": "hunter2"}, "kept": 1}}]}

    assert redact(body) == {"a": [{"b": {"kept": 1}}]}


#: What a secret may belong to, and what makes it one; AMPECO adds such keys without notice.
OWNERS = st.lists(st.sampled_from(["individual", "adyen", "network", "terminal", "owner", "company", "x"]), max_size=3)
MEANINGS = st.sampled_from(
    [
        ["password"],
        ["password", "hash"],
        ["client", "secret"],
        ["secret", "key"],
        ["api", "key"],
        ["private", "key"],
        ["personal", "id"],
        ["citizen", "id"],
        ["verification", "code"],
        ["hashed", "pin"],
        ["admin", "token"],
        ["access", "token"],
        ["refresh", "token"],
    ]
)
SPELLINGS: list[Callable[[list[str]], str]] = [
    lambda words: words[0] + "".join(map(str.title, words[1:])),
    lambda words: "".join(map(str.title, words)),
    "_".join,
    "-".join,
    lambda words: "_".join(words).upper(),
]


@given(owners=OWNERS, meaning=MEANINGS, spelling=st.sampled_from(SPELLINGS))
def test_a_key_is_secret_by_its_meaning_whatever_it_belongs_to(
    owners: list[str], meaning: list[str], spelling: Callable[[list[str]], str]
) -> None:
    key = spelling([*owners, *meaning])
    assert redact({"a": [{key: "hunter2", "kept": 1}]}) == {"a": [{"kept": 1}]}
    body = orjson.dumps({"a": [{key: "hunter2", "kept": 1}]})
    assert b"hunter2" not in redact_secrets(body)
    assert clean(orjson.loads(redact_secrets(body))) == clean(orjson.loads(body))


@pytest.mark.parametrize(
    "key",
    [
        "pinned",
        "shipping",
        "opinion",
        "pins",
        "mapping",
        "sharingCodes",
        "cdrToken",
        "bankMessage",
        "publicKey",
        "errorCode",
        "secretary",
        "passwordReset",
    ],
)
def test_a_key_that_only_contains_a_secrets_name_is_kept(key: str) -> None:
    assert redact({key: "kept"}) == {key: "kept"}


def test_the_value_of_a_configuration_key_that_names_a_secret_is_removed() -> None:
    configuration = [{"key": "AuthorizationKey", "value": "hunter2"}, {"key": "HeartbeatInterval", "value": "300"}]

    assert redact({"configuration": configuration}) == {
        "configuration": [{"key": "AuthorizationKey"}, {"key": "HeartbeatInterval", "value": "300"}]
    }


def test_characters_that_postgres_cannot_hold_are_marked_in_keys_and_values() -> None:
    assert redact({"a\x00": ["\ud800", {"b": "\x00"}]}) == {"a\ufffd": ["\ufffd", {"b": "\ufffd"}]}


def test_the_original_is_left_as_it_was() -> None:
    body = {"pin": "1234", "a": [{"pin": "1234"}]}

    redact(body)

    assert body == {"pin": "1234", "a": [{"pin": "1234"}]}


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for held in value:
            yield from texts(held)
    elif isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from texts(held)


@given(JSON)
def test_every_text_that_was_cleaned_can_be_stored_by_postgres(value: Any) -> None:
    for text in texts(clean(value)):
        assert "\x00" not in text
        text.encode()  # no lone surrogate


@given(JSON)
def test_cleaning_twice_changes_nothing(value: Any) -> None:
    once = clean(value)

    assert clean(once) == once


def test_nesting_beyond_all_reason_is_refused_instead_of_exhausting_the_stack() -> None:
    deep: dict[str, Any] = {}
    for _ in range(10 * MAX_DEPTH):
        deep = {"a": deep}

    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        redact(deep)


def test_nesting_up_to_the_limit_is_kept() -> None:
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH):
        deep = [deep]

    assert clean(deep) == deep
