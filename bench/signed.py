"""Signed requests in a file, made before the measurement, so that the generator only sends.

For each request the file has one line with the request's length in bytes, then its bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from ampeco.signature import sign

TENANT = "bench"
TOKEN = "bench-token-that-opens-nothing"

PATH = f"/notifications/{TENANT}"


def write_requests(path: Path, bodies: Iterable[bytes]) -> int:
    """Sign the bodies and write the file; return the number of requests."""
    count = 0
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    with path.open("wb") as file:
        for body in bodies:
            head = (
                f"POST {PATH} HTTP/1.1\r\n"
                "Host: 127.0.0.1\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n"
                f"X-Signature: {sign(body, TOKEN)}\r\n"
                f"X-Timestamp: {timestamp}\r\n"
                f"X-Tenant: {TENANT}\r\n"
                "\r\n"
            )
            request = head.encode() + body
            file.write(b"%d\n%s" % (len(request), request))
            count += 1
    return count


def read_requests(path: Path) -> list[bytes]:
    """Read the requests of a file."""
    requests = []
    with path.open("rb") as file:
        while line := file.readline():
            requests.append(file.read(int(line)))
    return requests
