"""Remove secrets, and characters that Postgres cannot hold, from AMPECO's JSON.

A charge point has its OCPP password, its PIN and its sharing code, and reports its authorization
key with its configuration. A user may have a password hash, a bank account and the number of an
identity card. A payment and a roaming connection have a token. An invitation and a report have an
address that opens them. A payment terminal has tokens and keys (AMPECO API, charge points v2.0, users v1.1 and
the callbacks). We need none of these,
so none is kept: all JSON is cleaned here before it is stored or parsed by a model.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ampeco.values import clean_text

#: Deep enough for everything that AMPECO documents (nine levels), and shallow enough for every
#: JSON encoder that has to write it again.
MAX_DEPTH = 100

#: The folded keys whose values are secrets. `ampeco.privacy.body_redaction`, which finds secrets in bytes, has parts of
#: them; a test holds that it misses none.
SECRET_KEYS = frozenset(
    {b"pin", b"sharingcode", b"token", b"authorizationkey", b"accepturl", b"downloadurl"}
    | {b"bankdetails", b"bankiban", b"bankaccountnumber"}
)

#: A folded key with one of these endings is secret, too, whatever it belongs to: `networkPassword`, `adyenApiKey`,
#: `individualPersonalId`. Other tokens than these are no secrets, such as the `cdrToken` of roaming.
SECRET_ENDINGS = (
    b"password",
    b"passwordhash",
    b"secret",
    b"secretkey",
    b"apikey",
    b"privatekey",
    b"personalid",
    b"citizenid",
    b"verificationcode",
    b"hashedpin",
    b"admintoken",
    b"accesstoken",
    b"refreshtoken",
)

_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")


def folded(text: bytes) -> bytes:
    """Return text in lower case without ``_`` and ``-``, so that all spellings of a key are equal."""
    return text.translate(_LOWER, b"_-")


class CleanObject(dict[str, Any]):
    """A JSON object that is cleaned, with everything in it, so that it is not cleaned again."""

    __slots__ = ()


@lru_cache(maxsize=4096)  # AMPECO uses the same few hundred keys in every body
def is_secret(key: str) -> bool:
    """Return whether the value under ``key`` is a secret, whatever the spelling of the key."""
    plain = folded(key.encode("utf-8", "surrogatepass"))
    return plain in SECRET_KEYS or plain.endswith(SECRET_ENDINGS)


def clean(value: Any) -> Any:
    """Return a copy of a JSON value without secrets and without characters that Postgres cannot hold.

    Raises:
        ValueError: the value is nested deeper than ``MAX_DEPTH``.
    """
    return _clean(value, MAX_DEPTH)


def redact(value: dict[str, Any]) -> CleanObject:
    """Return a cleaned copy of a JSON object, as ``clean`` does, to be stored as raw JSON.

    Raises:
        ValueError: the object is nested deeper than ``MAX_DEPTH``.
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
            {clean_text(key): _clean(member, depth_left - 1) for key, member in value.items() if not is_secret(key)}
        )
        # A charge point's configuration is a list of objects, each with the name of a key and its value.
        if "value" in cleaned and isinstance(name := cleaned.get("key"), str) and is_secret(name):
            del cleaned["value"]
        return cleaned
    return [_clean(item, depth_left - 1) for item in value]
