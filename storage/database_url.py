"""Parse ``DATABASE_URL`` with libpq's own parser, once for all connections."""

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
    """Return the connection parameters in a URL or connection string, by their names in libpq.

    Parameters:
        database_url: ``postgresql://…`` in any form that libpq accepts, or a connection string ``host=… dbname=…``.

    Raises:
        DatabaseUrlError: libpq cannot read it. Libpq's own message would show parts of a password.
    """
    url = database_url.removeprefix("\ufeff").strip()
    if _SCHEME.match(url):
        scheme, _, rest = url.partition("://")
        if f"{scheme}://" not in SCHEMES:
            raise DatabaseUrlError(_FORM)
        return _parsed(f"postgresql://{rest}", _URL_ADVICE, is_misread=_has_stray_at(rest))
    if "=" not in url:
        raise DatabaseUrlError(_FORM)
    return _parsed(url, _STRING_ADVICE)


def conninfo(database_url: str) -> str:
    """Return the URL as a connection string of libpq, including the password."""
    return make_conninfo(**parse_database_url(database_url))


def shown_url(database_url: str) -> str:
    """Return the URL as a connection string of libpq, without secrets, for display."""
    secret = {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
    return make_conninfo(
        **{name: value for name, value in parse_database_url(database_url).items() if name not in secret}
    )


def _parsed(url: str, advice: str, *, is_misread: bool = False) -> dict[str, str]:
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except (psycopg.Error, ValueError):
        raise DatabaseUrlError(advice) from None
    # A / in a password ends the host. Libpq then takes part of the password for the port, and would show it in the
    # error when connecting fails.
    if is_misread or not all(_is_port(port) for port in parameters.get("port", "").split(",")):
        raise DatabaseUrlError(advice)
    return parameters


def _has_stray_at(rest: str) -> bool:
    """Return whether an @ follows the user and the password, which end at the first @ for libpq."""
    credentials, at, others = rest.partition("@")
    where = others if at and "/" not in credentials else rest
    return "@" in where.partition("?")[0]


def _is_port(port: str) -> bool:
    return not port or (port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT)
