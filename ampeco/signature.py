"""How AMPECO signs a notification, and how to verify it.

``X-Signature`` is HMAC-SHA256 over the raw request body, keyed with the API access token that
created the subscription. The digest's encoding is not published, so both hex (in either case) and
standard base64 are accepted, with an optional ``sha256=`` prefix. The encoding that matched is
reported, so that an operator can pin it.

A subscription with ``includeTimestampInSignature`` also signs ``X-Timestamp``. How AMPECO joins it to
the body is not published, so the likely forms in ``COVERAGES`` are accepted, and the one that
matched is reported as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Encoding = Literal["hex", "base64"]

#: What a signature covers: the body alone, or the text of ``X-Timestamp`` and the body, joined in one of these ways.
Coverage = Literal["body", "timestamp.body", "timestamp body", "body timestamp", "body.timestamp"]

#: What a signature covers before and after the body, made of the timestamp.
COVERAGES: Mapping[Coverage, Callable[[bytes], tuple[bytes, bytes]]] = MappingProxyType(
    {
        "body": lambda _timestamp: (b"", b""),
        "timestamp.body": lambda timestamp: (timestamp + b".", b""),
        "timestamp body": lambda timestamp: (timestamp, b""),
        "body timestamp": lambda timestamp: (b"", timestamp),
        "body.timestamp": lambda timestamp: (b"", b"." + timestamp),
    }
)

#: A longer ``X-Timestamp`` is not one of AMPECO's.
_MAX_TIMESTAMP = 64

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
    _keyed: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Copying it costs less than preparing the key again for each digest.
        object.__setattr__(self, "_keyed", hmac.new(self.secret, digestmod="sha256"))

    @classmethod
    def from_secret(cls, secret: str) -> SigningToken:
        """Return the signing key of an API access token."""
        raw = secret.encode()
        return cls(raw, hashlib.sha256(b"token id:" + raw).hexdigest()[:8])

    def digests(self, body: bytes, surroundings: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """Return the hex HMAC of a body between each of some beginnings and ends.

        What begins with the body shares that part of the work.
        """
        of_body = self._keyed.copy()
        of_body.update(body)
        digests: list[str] = []
        for before, after in surroundings:
            mac = of_body
            if before:
                mac = self._keyed.copy()
                mac.update(before + body + after)
            elif after:
                mac = of_body.copy()
                mac.update(after)
            digests.append(mac.hexdigest())
        return digests


@dataclass(frozen=True, slots=True)
class Match:
    """Which token verified a body, in which encoding, and what its signature covers."""

    token_id: str
    encoding: Encoding
    coverage: Coverage = "body"

    @property
    def form(self) -> str:
        """The encoding, and the coverage unless it is the body alone: ``hex`` or ``hex timestamp.body``."""
        return self.encoding if self.coverage == "body" else f"{self.encoding} {self.coverage}"


def sign(
    body: bytes, token: str, encoding: Encoding = "hex", *, timestamp: str = "", coverage: Coverage = "body"
) -> str:
    """Return the ``X-Signature`` value that AMPECO would send for ``body``.

    Parameters:
        timestamp: the value of ``X-Timestamp``, if the signature covers it.
        coverage: what the signature covers.
    """
    before, after = COVERAGES[coverage](timestamp.encode())
    digest = hmac.digest(token.encode(), before + body + after, "sha256")
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()


def verify(
    body: bytes,
    signature: str | None,
    tokens: Sequence[SigningToken],
    encodings: Sequence[Encoding] = ("hex", "base64"),
    *,
    timestamp: str | None = None,
) -> Match | None:
    """Find the token that signed ``body``.

    Every token is tried with every coverage, and every comparison takes constant time, so the
    duration does not reveal which token, or how much of a signature, was right.

    Parameters:
        body: the raw request body, before any parsing.
        signature: the ``X-Signature`` header, or None if it is absent.
        tokens: the tenant's tokens; several, so that tokens can rotate without a gap.
        encodings: the encodings to accept.
        timestamp: the ``X-Timestamp`` header, or None if it is absent; then only the body can be covered.

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
    coverages = _coverages(timestamp)
    match: Match | None = None
    for token in tokens:
        for coverage, digest in zip(coverages, token.digests(body, coverages.values()), strict=True):
            expected = base64.b64encode(bytes.fromhex(digest)).decode() if encoding == "base64" else digest
            if hmac.compare_digest(expected, offered) and match is None and encoding is not None:
                match = Match(token.token_id, encoding, coverage)
    return match


def _coverages(timestamp: str | None) -> dict[Coverage, tuple[bytes, bytes]]:
    """Return what a signature may cover before and after the body, by the name of the coverage."""
    if not timestamp or len(timestamp) > _MAX_TIMESTAMP:
        return _BODY_ALONE
    raw = timestamp.encode()
    return {coverage: surround(raw) for coverage, surround in COVERAGES.items()}


_BODY_ALONE: dict[Coverage, tuple[bytes, bytes]] = {"body": (b"", b"")}
