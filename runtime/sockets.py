"""Sockets to listen on, of IPv4, IPv6 or both."""

from __future__ import annotations

import ipaddress
import socket

from runtime.settings import SettingsError
from runtime.supervised import notify_when_listening


def bind(host: str, port: int, *, setting: str) -> list[socket.socket]:
    """Bind a TCP socket to each address of a host, without listening yet.

    Parameters:
        host: a name or an address; ``::`` means every address of IPv6 and of IPv4.
        port: the port; 0 means any free port.
        setting: the setting of the port, which an error names; a supervisor may wait until the sockets listen.

    Raises:
        SettingsError: the address or the port is not available.
    """
    bound: list[socket.socket] = []
    try:
        for family, _type, _protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            listener = socket.socket(family)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # systems differ in their default
            listener.bind((address[0], port, *address[2:]))
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in bound:
            listener.close()
        raise SettingsError(
            f"{setting}: {address_of(host, port)} cannot be listened on: {error.strerror}; choose another port,"
            " or another host."
        ) from None
    notify_when_listening(bound, setting=setting)
    return bound


def address_of(host: str, port: int) -> str:
    """Return ``host:port`` as in a URL, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine reaches a bound socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
