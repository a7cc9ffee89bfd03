"""Misbehaving clients of a server, and the memory of its process."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

HEAD = b"POST /notifications/demo HTTP/1.1\r\nHost: receiver\r\nX-Signature: 00\r\n"


def connect(url: str) -> socket.socket:
    """Return a connection with a timeout of a minute."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=60)


@contextlib.contextmanager
def connections(url: str, count: int) -> Iterator[list[socket.socket]]:
    """Open ``count`` connections that send nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        raise OSError(f"the limit of open files, {hard}, allows no {count} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(url)) for _ in range(count)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_until_refused(connection: socket.socket, part: bytes, max_bytes: int) -> int:
    """Send the same bytes again and again; return how many were sent before the other side closed."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < max_bytes:
            sent += connection.send(part)
    return sent


def answer(connection: socket.socket) -> bytes:
    """Return everything that the other side sent until it closed."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            received += part
    return received


def resident_bytes(pid: int, measure: str = "VmRSS") -> int:
    """Return the memory of a process now or, with ``VmHWM``, at its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{measure}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {measure}")
