"""Commands of the receiver, each in a process of its own.

A start costs a second of computing, nearly all of it for imports. So the processes are forked from one that has
imported everything: each has its own environment, folder, signals and exit code, as one that a shell starts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

#: The width of tables and messages. The consoles read it when they are imported, so it is the same for all commands.
COLUMNS = "200"

#: A request holds an environment, of which Linux allows more than anybody has.
MAX_REQUEST_BYTES = 1 << 17

TIMEOUT_SECONDS = 100

ROOT = Path(__file__).parents[2]


#: Variables that count when a process starts, not when it is forked.
READ_AT_START = {"LD_PRELOAD", "PYTHONPATH"}


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the receiver to its end in a folder; the environment is added to ours."""
    own = {**os.environ, **environment, "COLUMNS": COLUMNS}
    if READ_AT_START & environment.keys():
        command = [sys.executable, "-m", "receiver", *arguments]
        return subprocess.run(
            command, cwd=directory, env=own, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    request = {"arguments": ["ampeco-receiver", *arguments], "environment": own, "directory": str(directory)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        exit_code = _fork(json.dumps(request).encode(), output.fileno(), errors.fileno())
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(
            arguments, exit_code, stdout=output.read().decode(), stderr=errors.read().decode()
        )


def _fork(request: bytes, output: int, errors: int) -> int:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(_parent(), [request], [output, errors, theirs.fileno()])
        theirs.close()
        ours.settimeout(TIMEOUT_SECONDS)
        pid = int(ours.recv(20))
        try:
            return int(ours.recv(20))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise


@functools.cache
def _parent() -> socket.socket:
    """Start the process from which commands are forked; it ends when our end of the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.commands", str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": COLUMNS},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(requests: socket.socket) -> None:
    """Fork for each request; return in the process that shall run the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the commands
    while True:
        request, (*outputs, answer), _, _ = _receive(requests)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if pid == 0:
                for number, output in zip((1, 2), outputs, strict=True):
                    os.dup2(output, number)
                for descriptor in (*outputs, answer, requests.fileno()):
                    os.close(descriptor)
                requests.detach()
                _become(**json.loads(request))
                return
            _answer(answer, pid)
        for descriptor in (*outputs, answer):
            os.close(descriptor)


def _receive(requests: socket.socket) -> tuple[bytes, list[int], int, object]:
    received = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
    if not received[0]:
        sys.exit()
    return received


def _answer(answer: int, pid: int) -> NoReturn:
    with contextlib.suppress(BrokenPipeError):
        os.write(answer, f"{pid:<20}".encode())
        _, status = os.waitpid(pid, 0)
        os.write(answer, f"{os.waitstatus_to_exitcode(status):<20}".encode())
    os._exit(0)


def _become(arguments: list[str], environment: dict[str, str], directory: str) -> None:
    sys.argv[:] = arguments
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)


if __name__ == "__main__":
    import workers.process  # noqa: F401 - most commands import it, and each would do so again
    from receiver.commands.main import main

    with socket.socket(fileno=int(sys.argv[1])) as served:
        _serve(served)
    main()
