"""Takes secrets, and what Postgres cannot hold, out of AMPECO's JSON.

A charge point carries its OCPP password, its PIN and its sharing code, and reports its
authorization key among its configuration; a user may carry a password hash, a bank account and
a number of an identity card, a payment and a roaming connection a token, an invitation and a
report an address that opens them (AMPECO API, charge points v2.0 and the callbacks). None of
them is needed here, so none is kept: whatever is stored or modelled goes through here first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ampeco.values import clean_text

#: Deep enough for anything AMPECO documents (nine levels), and shallow enough for every
#: JSON writer that has to store it again.
MAX_DEPTH = 100

#: The keys whose values are secrets, folded, and how others of them end. This is the one list: what looks
#: for secrets in bytes, `ampeco.body_redaction`, is made from it.
SECRET_KEYS = frozenset(
    {b"pin", b"sharingcode", b"token", b"authorizationkey", b"accepturl", b"downloadurl"}
    | {b"bankdetails", b"bankiban", b"bankaccountnumber", b"personalid"}
)
SECRET_ENDING = b"password"  # `password`, `networkPassword`, `saslPassword`

_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


def folded(text: bytes) -> bytes:
    """Return text without case, ``_`` and ``-``, so that a key is the same in each of its spellings."""
    return text.translate(_LOWER, b"_-")


class CleanObject(dict[str, Any]):
    """A JSON object that was cleaned, with all below it, so that it need not be cleaned again."""

    __slots__ = ()


@lru_cache(maxsize=4096)  # the few hundred keys that AMPECO uses, over and over
def is_secret(key: str) -> bool:
    """Tell whether the value under ``key`` is a secret, in whichever case the key is written."""
    plain = folded(key.encode("utf-8", "surrogatepass"))
    return plain in SECRET_KEYS or plain.endswith(SECRET_ENDING)


def clean(value: Any) -> Any:
    """Return a copy of a JSON value without secrets, its text fit for Postgres.

    Raises:
        ValueError: where it is nested deeper than ``MAX_DEPTH``.
    """
    return _clean(value, MAX_DEPTH)


def redact(value: dict[str, Any]) -> CleanObject:
    """Return a copy of a JSON object, cleaned as ``clean`` does, to be kept as raw JSON.

    Raises:
        ValueError: where it is nested deeper than ``MAX_DEPTH``.
    """
    cleaned: CleanObject = _clean(value, MAX_DEPTH)
    return cleaned


def _clean(value: Any, depth_left: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if not depth_left:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        cleaned = CleanObject(
            {clean_text(key): _clean(held, depth_left - 1) for key, held in value.items() if not is_secret(key)}
        )
        # A charge point's configuration is a list of keys and values, each an object of both.
        if "value" in cleaned and isinstance(name := cleaned.get("key"), str) and is_secret(name):
            del cleaned["value"]
        return cleaned
    return [_clean(held, depth_left - 1) for held in value]
