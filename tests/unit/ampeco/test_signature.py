from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ampeco.signature import COVERAGES, Coverage, Encoding, Match, SigningToken, sign, verify
from bench.timing import measure

BODY = b'{"notification": "evse.changed"}'
TOKEN = SigningToken.from_secret("current-token")
TIMESTAMP = "2026-03-04T07:00:00.000000Z"
OLD_TOKEN = SigningToken.from_secret("previous-token")


def test_the_digest_is_hmac_sha256_of_the_body_keyed_with_the_token() -> None:
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    assert sign(b"what do ya want for nothing?", "Jefe") == expected


@given(body=st.binary(), secret=st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_body_signed_with_any_token_verifies_in_either_encoding(body: bytes, secret: str) -> None:
    token = SigningToken.from_secret(secret)

    for encoding in ("hex", "base64"):
        match = verify(body, sign(body, secret, encoding), [token])
        assert match is not None
        assert (match.token_id, match.encoding) == (token.token_id, encoding)


@pytest.mark.parametrize("spelling", [str.upper, "sha256={}".format, "SHA256={}".format, "  {}\n".format])
def test_a_hex_signature_verifies_in_upper_case_with_a_prefix_and_with_spaces_around(
    spelling: Callable[[str], str],
) -> None:
    assert verify(BODY, spelling(sign(BODY, "current-token")), [TOKEN]) is not None


def test_a_prefixed_base64_signature_verifies() -> None:
    assert verify(BODY, "sha256=" + sign(BODY, "current-token", "base64"), [TOKEN]) is not None


def test_the_case_of_a_base64_signature_matters() -> None:
    signature = sign(BODY, "current-token", "base64")

    assert verify(BODY, signature.swapcase(), [TOKEN]) is None


def test_while_tokens_rotate_either_verifies_and_the_match_names_the_right_one() -> None:
    match = verify(BODY, sign(BODY, "previous-token"), [TOKEN, OLD_TOKEN])

    assert match is not None
    assert match.token_id == OLD_TOKEN.token_id


def test_a_token_that_was_removed_no_longer_verifies() -> None:
    assert verify(BODY, sign(BODY, "previous-token"), [TOKEN]) is None


def test_without_tokens_nothing_verifies() -> None:
    assert verify(BODY, sign(BODY, "current-token"), []) is None


def test_a_body_changed_by_one_byte_does_not_verify() -> None:
    assert verify(BODY + b" ", sign(BODY, "current-token"), [TOKEN]) is None


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "-",
        "sha256=",
        "sha256",
        "0" * 64,
        "g" * 64,
        "=" * 44,
        sign(BODY, "current-token")[:-1],
        sign(BODY, "current-token") + "0",
        "sha512=" + sign(BODY, "current-token"),
        "ſ" + sign(BODY, "current-token")[1:],
        "é" * 64,
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_an_absent_short_long_or_malformed_signature_does_not_verify(signature: str | None) -> None:
    assert verify(BODY, signature, [TOKEN, OLD_TOKEN]) is None


@given(signature=st.text())
def test_no_made_up_signature_verifies_or_raises(signature: str) -> None:
    assert verify(BODY, signature, [TOKEN]) is None


def test_an_encoding_that_was_not_allowed_does_not_verify() -> None:
    assert verify(BODY, sign(BODY, "current-token", "base64"), [TOKEN], encodings=["hex"]) is None
    assert verify(BODY, sign(BODY, "current-token", "hex"), [TOKEN], encodings=["base64"]) is None


@pytest.mark.parametrize(("timestamp", "forms"), [(None, 1), (TIMESTAMP, len(COVERAGES))])
@pytest.mark.parametrize("signature", [sign(BODY, "current-token"), sign(BODY, "previous-token"), "malformed", None])
def test_every_token_is_compared_in_every_form_whatever_the_signature(
    signature: str | None, timestamp: str | None, forms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given
    compared: list[object] = []
    compare_digest = hmac.compare_digest

    def counting(expected: str, offered: str) -> bool:
        compared.append(expected)
        return compare_digest(expected, offered)

    monkeypatch.setattr(hmac, "compare_digest", counting)

    # When
    verify(BODY, signature, [TOKEN, OLD_TOKEN], timestamp=timestamp)

    # Then
    assert len(compared) == 2 * forms


def test_a_token_is_named_without_being_shown() -> None:
    assert "current-token" not in repr(TOKEN)
    assert "current-token" not in TOKEN.token_id
    assert TOKEN.token_id != OLD_TOKEN.token_id
    assert TOKEN.token_id == SigningToken.from_secret("current-token").token_id


def test_every_token_is_compared_in_constant_time_whatever_matched_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given tokens of which one signed, wherever it stands among them
    secrets = ["one", "two", "three", "four"]
    tokens = [SigningToken.from_secret(secret) for secret in secrets]
    compared: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def counted(expected: str, offered: str) -> bool:
        compared.append((expected, offered))
        return compare(expected, offered)

    monkeypatch.setattr("ampeco.signature.hmac.compare_digest", counted)
    right = sign(BODY, "one")
    near = right[:-1] + ("0" if right[-1] != "0" else "1")
    for offered in (*(sign(BODY, secret) for secret in secrets), near, "0" * 64, "x", "", None, "é" * 64):
        compared.clear()
        match = verify(BODY, offered, tokens)
        # Then each is compared once, with the whole of its own digest
        assert [expected for expected, _ in compared] == [sign(BODY, secret) for secret in secrets]
        assert (match is not None) == (offered in [sign(BODY, secret) for secret in secrets])


def test_the_report_on_timing_measures_both_kinds_of_wrong_signature() -> None:
    found = measure(1_000)
    assert found.prefix_right_ns > 0
    assert found.nothing_right_ns > 0
    assert found.error_ns > 0
    assert "1,000 calls of each" in found.render()


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_a_signature_over_the_timestamp_verifies_in_each_likely_form_and_the_form_is_reported(
    coverage: Coverage, encoding: Encoding
) -> None:
    signature = sign(BODY, "current-token", encoding, timestamp=TIMESTAMP, coverage=coverage)
    match = verify(BODY, signature, [OLD_TOKEN, TOKEN], timestamp=TIMESTAMP)
    assert match == Match(TOKEN.token_id, encoding, coverage)
    assert match.form == (encoding if coverage == "body" else f"{encoding} {coverage}")


@pytest.mark.parametrize("coverage", [coverage for coverage in COVERAGES if coverage != "body"])
@pytest.mark.parametrize("timestamp", [None, "", "2026-03-04T07:00:01.000000Z", "x" * 65])
def test_a_signature_over_another_timestamp_or_none_does_not_verify(coverage: Coverage, timestamp: str | None) -> None:
    signature = sign(BODY, "current-token", timestamp=TIMESTAMP, coverage=coverage)
    assert verify(BODY, signature, [TOKEN], timestamp=timestamp) is None
