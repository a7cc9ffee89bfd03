"""An address that can move: clients keep the address while the server behind it changes, as in a failover."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

#: The address of a server: a Unix socket's path, or a host and a port.
Target = str | tuple[str, int]

CHUNK_BYTES = 65_536


@dataclass
class Address:
    """A TCP proxy on the loopback interface.

    Attributes:
        target: the server for new connections; None refuses them.
    """

    target: Target | None
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _open: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        """The port to which clients connect."""
        port: int = self.listener.getsockname()[1]
        return port

    def move(self, target: Target | None, *, cut: bool = False) -> None:
        """Send new connections to another server.

        Parameters:
            cut: end the open connections too; otherwise they stay with the previous server.
        """
        self.target = target
        if cut:
            self.cut()

    def cut(self) -> None:
        """End the open connections with a reset."""
        with self._lock:
            for connection in self._open:
                _close(connection)

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        target = self.target
        try:
            if target is None:
                raise ConnectionRefusedError
            server = _connect(target)
        except OSError:
            client.close()
            return
        pair = {client, server}
        with self._lock:
            self._open |= pair
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()
        with self._lock:
            self._open -= pair
        for connection in pair:
            connection.close()


def _connect(target: Target) -> socket.socket:
    if isinstance(target, str):
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(target)
        except OSError:
            server.close()
            raise
        return server
    return socket.create_connection(target, timeout=5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    for connection in (source, sink):  # the end of one side ends the other, in both directions
        _close(connection)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def moving_address(target: Target | None) -> Iterator[Address]:
    """Serve an address until the end of the block."""
    address = Address(target)
    thread = threading.Thread(target=address.serve, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        address.listener.shutdown(socket.SHUT_RDWR)
        address.listener.close()
        address.cut()
        thread.join(10)
