"""How AMPECO signs a notification, and how to verify it.

``X-Signature`` is HMAC-SHA256 over the raw request body, keyed with the API access
token that created the subscription. The digest's encoding is not published, so hex (in
either case) and standard base64 are both understood, with an optional ``sha256=``
prefix; what matched is reported, so that an operator can later pin it.
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

#: Both encodings of a 32-byte digest have one length only, so the length tells them apart.
_ENCODING_BY_LENGTH: dict[int, Encoding] = {64: "hex", 44: "base64"}


@dataclass(frozen=True, slots=True)
class SigningToken:
    """An API access token in its role as a signing key.

    ``token_id`` names the token in logs and rows without revealing it: the first eight
    hex digits of a hash made for this one purpose.
    """

    secret: bytes = field(repr=False)
    token_id: str

    @classmethod
    def from_secret(cls, secret: str) -> SigningToken:
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

    Every token is tried and every comparison takes constant time, so the time taken
    tells nothing about which token, or how much of a signature, was right.

    Parameters:
        body: the raw request body, before any parsing.
        signature: the ``X-Signature`` header, or None where it was absent.
        tokens: the tenant's tokens; several, so that tokens can rotate without a gap.
        encodings: the encodings to accept.

    Returns:
        The match, or None where nothing matched.
    """
    claimed = (signature or "").strip()
    if claimed[: len(PREFIX)].lower() == PREFIX:
        claimed = claimed[len(PREFIX) :]
    encoding = _ENCODING_BY_LENGTH.get(len(claimed))
    # A signature of no known form still costs one comparison a token: the answer to a
    # malformed one takes as long as the answer to a wrong one.
    readable = encoding in encodings and claimed.isascii()
    offered = claimed if readable else "-"
    if encoding == "hex":
        offered = offered.lower()
    found: Match | None = None
    covered = signed_bytes(body)
    for token in tokens:
        digest = hmac.digest(token.secret, covered, "sha256")
        expected = base64.b64encode(digest).decode() if encoding == "base64" else digest.hex()
        if hmac.compare_digest(expected, offered) and found is None and encoding is not None:
            found = Match(token.token_id, encoding)
    return found
