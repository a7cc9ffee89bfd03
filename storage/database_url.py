"""``DATABASE_URL``, read once by libpq's own parser for every connection of ours."""

from __future__ import annotations

import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_MAX_PORT = 65_535

_FORM = (
    f"DATABASE_URL must begin with {' or '.join(SCHEMES)}, or be a connection string of libpq such as"
    " `host=… dbname=… user=…`."
)
_URL_ADVICE = (
    "DATABASE_URL cannot be read: in the user, the password and the name of the database each of / @ : % ? # and"
    " space is written percent-encoded (%2F %40 %3A %25 %3F %23 %20), and only parameters that libpq knows may follow."
)
_STRING_ADVICE = (
    "DATABASE_URL cannot be read: in a connection string a value with a space is put in single quotes, each ' and \\"
    " in a value gets a \\ before it, and only parameters that libpq knows may be named."
)


class DatabaseUrlError(Exception):
    """``DATABASE_URL`` cannot be used; the message is one sentence that shows no part of it."""


def parse_database_url(database_url: str) -> dict[str, str]:
    """Return the parameters of a connection, by the names that libpq gives them.

    Parameters:
        database_url: ``postgresql://…`` in any form that libpq takes, or a connection string ``host=… dbname=…``.

    Raises:
        DatabaseUrlError: libpq cannot read it. Its own message would show parts of a password.
    """
    given = database_url.removeprefix("\ufeff").strip()
    if _SCHEME.match(given):
        scheme, _, rest = given.partition("://")
        if f"{scheme}://" not in SCHEMES:
            raise DatabaseUrlError(_FORM)
        return _parsed(f"postgresql://{rest}", _URL_ADVICE, is_misread=_has_stray_at(rest))
    if "=" not in given:
        raise DatabaseUrlError(_FORM)
    return _parsed(given, _STRING_ADVICE)


def conninfo(database_url: str) -> str:
    """Return the URL as a connection string of libpq, the password in it."""
    return make_conninfo(**parse_database_url(database_url))


def shown_url(database_url: str) -> str:
    """Return what may be shown of the URL, as a connection string: everything but secrets."""
    secret = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
    return make_conninfo(
        **{name: value for name, value in parse_database_url(database_url).items() if name not in secret}
    )


def _parsed(given: str, advice: str, *, is_misread: bool = False) -> dict[str, str]:
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(given).items()}
    except (psycopg.Error, ValueError):
        raise DatabaseUrlError(advice) from None
    # A / in a password ends the host, so that what follows is a port, and would be shown when connecting fails.
    if is_misread or not all(_is_port(port) for port in found.get("port", "").split(",")):
        raise DatabaseUrlError(advice)
    return found


def _has_stray_at(rest: str) -> bool:
    """Whether an @ is left after the user and the password; libpq takes them to end at the first."""
    credentials, at, others = rest.partition("@")
    where = others if at and "/" not in credentials else rest
    return "@" in where.partition("?")[0]


def _is_port(given: str) -> bool:
    return not given or (given.isascii() and given.isdecimal() and int(given) <= _MAX_PORT)
