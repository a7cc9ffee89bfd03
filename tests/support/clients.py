"""Clients that a server would rather not have, and the figures of the process that bears them."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

HEAD = b"POST /notifications/demo HTTP/1.1\r\nHost: receiver\r\nX-Signature: 00\r\n"


def connect(url: str) -> socket.socket:
    """A connection; it waits no longer than a minute for anything."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=60)


@contextlib.contextmanager
def connections(url: str, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        raise OSError(f"the limit of open files, {hard}, allows no {count} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(url)) for _ in range(count)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_until_refused(connection: socket.socket, part: bytes, max_bytes: int) -> int:
    """Send the same again and again; returns how many bytes were taken before the other side closed."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < max_bytes:
            sent += connection.send(part)
    return sent


def answer(connection: socket.socket) -> bytes:
    """What the other side said until it closed; empty where it closed without a word."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


def resident_bytes(pid: int, what: str = "VmRSS") -> int:
    """Memory of a process now; with ``VmHWM``, the most that it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} tells no {what}")
