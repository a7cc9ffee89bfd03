"""Commands of the receiver, each in a process of its own.

A start costs a second of computing, nearly all of it for imports. So the processes are forked from one that has
imported everything: each has its own environment, folder, signals and exit code, as one that a shell starts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

#: The width of tables and messages. The consoles read it when they are imported, so it is the same for all commands.
COLUMNS = "200"

#: A request holds an environment, of which Linux allows more than anybody has.
MAX_REQUEST_BYTES = 1 << 17

TIMEOUT_SECONDS = 100

ROOT = Path(__file__).parents[2]


#: Variables that count when a process starts, not when it is forked.
READ_AT_START = {"LD_PRELOAD", "PYTHONPATH", "FORCE_COLOR"}


class ForkedProcess:
    """A command that runs, with what tests use of :class:`subprocess.Popen`."""

    def __init__(self, request: bytes, output: int, errors: int) -> None:
        self.returncode: int | None = None
        self._answers, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_parent(), [request], [output, errors, theirs.fileno()])
        self._answers.settimeout(TIMEOUT_SECONDS)
        self.pid = int(self._answers.recv(20))

    def poll(self) -> int | None:
        """Return the exit code; None if the process runs."""
        if self.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most so many seconds, and return the exit code."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = int(self._answers.recv(20))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if the process runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process if it runs."""
        self.send_signal(signal.SIGKILL)


def can_be_forked(environment: dict[str, str]) -> bool:
    """Return whether a forked process with these variables behaves as one that was started with them."""
    return not READ_AT_START & environment.keys()


def fork(directory: Path, command: list[str], environment: dict[str, str], output: int, errors: int) -> ForkedProcess:
    """Start a command in a folder.

    Parameters:
        command: the arguments of ``python``: ``-m receiver`` and its own, or ``-c`` and code.
        environment: the whole of it.
        output, errors: the descriptors to which it writes.
    """
    own: list[str]
    code: str | None
    match command:
        case ["-m", "receiver", *arguments]:
            own, code = ["ampeco-receiver", *arguments], None
        case ["-c", code]:
            own = ["-c"]
        case _:
            raise ValueError(f"no process is forked for {command}")
    request = {"arguments": own, "code": code, "environment": environment, "directory": str(directory)}
    return ForkedProcess(json.dumps(request).encode(), output, errors)


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the receiver to its end in a folder; the environment is added to ours."""
    own = {**os.environ, **environment, "COLUMNS": COLUMNS}
    command = ["-m", "receiver", *arguments]
    if not can_be_forked(environment):
        program = [sys.executable, *command]
        return subprocess.run(
            program, cwd=directory, env=own, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = fork(directory, command, own, output.fileno(), errors.fileno())
        try:
            exit_code = process.wait(TIMEOUT_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(
            arguments, exit_code, stdout=output.read().decode(), stderr=errors.read().decode()
        )


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


def _serve(requests: socket.socket) -> str | None:
    """Fork for each request; return, in the process that shall run the command, its code; None for the receiver's."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the ones that wait for the commands
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
                return _become(**json.loads(request))
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


def _become(arguments: list[str], code: str | None, environment: dict[str, str], directory: str) -> str | None:
    sys.argv[:] = arguments
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    # A suite that a shell runs in the background ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return code


def _leave(exit_code: int) -> NoReturn:
    """End as the interpreter does, but for the removal of all modules, which would copy each page that is shared."""
    threading._shutdown()  # type: ignore[attr-defined] # as multiprocessing does in what it forks
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        file.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    # What commands import when they are called, each would import again.
    import receiver.commands.failures  # noqa: F401
    import workers.process  # noqa: F401
    from receiver.commands.main import main
    from tests.support.programs import receiver_program

    receiver_program()

    gc.collect()
    gc.freeze()  # else the first collection of each process would copy the pages of everything that is shared
    with socket.socket(fileno=int(sys.argv[1])) as served:
        code = _serve(served)
    try:
        if code is None:
            main()
        else:
            exec(code, {"__name__": "__main__"})
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        _leave(ended.code or 0)
    _leave(0)
