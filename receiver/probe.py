"""The health check of a container: ``python -m receiver.probe``, with ``work``, ``consume`` or ``console`` for those.

It calls ``/healthz`` at the address that the process listens on, without any proxy that the environment names, and
exits with 1 if there is no answer. It imports nothing of the service, because it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping, Sequence

TIMEOUT_SECONDS = 3.0

#: The addresses at which a process is reached that listens on every address of one family, or of both. The keys are
#: compared, not bound.
_LOOPBACK = {"0.0.0.0": ["127.0.0.1"], "::": ["127.0.0.1", "::1"]}  # noqa: S104 - compared with, not listened on  # nosec B104


def reached_at(host: str) -> list[str]:
    """Return the addresses at which this machine reaches a process that listens on a host."""
    return _LOOPBACK.get(host, [host])


def is_alive(host: str, port: int) -> bool:
    """Return whether ``/healthz`` at this address answers 200."""
    for address in reached_at(host):
        connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == http.client.OK:
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Check the process that these settings describe; return the exit code."""
    if arguments == ["work"]:
        host, port = environment.get("RECEIVER_ADMIN_HOST", "127.0.0.1"), environment["RECEIVER_WORK_METRICS_PORT"]
    elif arguments == ["consume"]:
        host, port = environment.get("RECEIVER_ADMIN_HOST", "127.0.0.1"), environment["RECEIVER_CONSUME_METRICS_PORT"]
    elif arguments == ["console"]:
        host = environment.get("RECEIVER_CONSOLE_HOST", "127.0.0.1")
        port = environment.get("RECEIVER_CONSOLE_PORT", "8082")
    else:
        host, port = environment.get("RECEIVER_HOST", "127.0.0.1"), environment.get("RECEIVER_PORT", "8080")
    return 0 if is_alive(host, int(port)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
