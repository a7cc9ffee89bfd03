"""Parse a ``REDIS_URL`` that names sentinels, which know the current primary of a service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from redis.connection import SSLConnection, parse_url

DEFAULT_PORT = 26_379


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The parts of such a URL.

    Attributes:
        addresses: host and port of each sentinel.
        service: the name under which the sentinels know the primary.
        options: the arguments of connections to the primary, such as the password and the database.
        tls: the arguments of connections to the sentinels that concern TLS.
    """

    addresses: list[tuple[str, int]]
    service: str
    options: dict[str, Any]
    tls: dict[str, Any]


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Parse ``redis+sentinel://[user:password@]host[:port],…/service[/database][?options]``.

    Raises:
        ValueError: the URL has no service, or a part of it is wrong.
    """
    scheme, _, rest = url.partition("://")
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    service, _, database = path.partition("/")
    if not hosts or not service:
        raise ValueError("it names no sentinel or no service")
    plain = f"{scheme.removesuffix('+sentinel')}://{credentials}{at}redis/{database}{question}{query}"
    options: dict[str, Any] = dict(parse_url(plain))  # type: ignore[no-untyped-call] # as of redis-py 8.1
    options.pop("host", None)
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    return SentinelUrl([_address(host) for host in hosts.split(",")], unquote(service), options, tls)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port)
