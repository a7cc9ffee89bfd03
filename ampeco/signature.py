"""How AMPECO signs a notification, and how to verify it.

``X-Signature`` is HMAC-SHA256 over the raw request body, keyed with the API access token that
created the subscription. The digest's encoding is not published, so both hex (in either case) and
standard base64 are accepted, with an optional ``sha256=`` prefix. The encoding that matched is
reported, so that an operator can pin it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Encoding = Literal["hex", "base64"]

PREFIX = "sha256="

#: Each encoding of a 32-byte digest has a fixed length, so the length identifies the encoding.
_ENCODING_BY_LENGTH: dict[int, Encoding] = {64: "hex", 44: "base64"}


@dataclass(frozen=True, slots=True)
class SigningToken:
    """An API access token in its role as a signing key.

    ``token_id`` names the token in logs and rows without revealing it: it is the first eight hex
    digits of a hash that has no other use.
    """

    secret: bytes = field(repr=False)
    token_id: str

    @classmethod
    def from_secret(cls, secret: str) -> SigningToken:
        """Return the signing key of an API access token."""
        raw = secret.encode()
        return cls(raw, hashlib.sha256(b"token id:" + raw).hexdigest()[:8])


@dataclass(frozen=True, slots=True)
class Match:
    """Which token and which encoding verified a body."""

    token_id: str
    encoding: Encoding


def signed_bytes(body: bytes) -> bytes:
    """Return the bytes that the signature covers.

    This is the one place to change for subscriptions made with
    ``includeTimestampInSignature``: how the timestamp is joined to the body is not
    published, so today the body alone is covered.
    """
    return body


def sign(body: bytes, token: str, encoding: Encoding = "hex") -> str:
    """Return the ``X-Signature`` value that AMPECO would send for ``body``."""
    digest = hmac.digest(token.encode(), signed_bytes(body), "sha256")
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


def verify(
    body: bytes,
    signature: str | None,
    tokens: Sequence[SigningToken],
    encodings: Sequence[Encoding] = ("hex", "base64"),
) -> Match | None:
    """Find the token that signed ``body``.

    Every token is tried and every comparison takes constant time, so the duration does not reveal
    which token, or how much of a signature, was right.

    Parameters:
        body: the raw request body, before any parsing.
        signature: the ``X-Signature`` header, or None if it is absent.
        tokens: the tenant's tokens; several, so that tokens can rotate without a gap.
        encodings: the encodings to accept.

    Returns:
        The match, or None if no token matches.
    """
    claimed = (signature or "").strip()
    if claimed[: len(PREFIX)].lower() == PREFIX:
        claimed = claimed[len(PREFIX) :]
    encoding = _ENCODING_BY_LENGTH.get(len(claimed))
    # A malformed signature is compared with every token too, so that its answer takes as long as
    # the answer to a wrong one.
    readable = encoding in encodings and claimed.isascii()
    offered = claimed if readable else "-"
    if encoding == "hex":
        offered = offered.lower()
    match: Match | None = None
    covered = signed_bytes(body)
    for token in tokens:
        digest = hmac.digest(token.secret, covered, "sha256")
        expected = base64.b64encode(digest).decode() if encoding == "base64" else digest.hex()
        if hmac.compare_digest(expected, offered) and match is None and encoding is not None:
            match = Match(token.token_id, encoding)
    return match
