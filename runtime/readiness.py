"""Readiness: whether a process can do its work, and what keeps it from working.

Checks run in the background, so that the answer is fast whatever a server does: if a server drops packets or hangs,
it blocks a thread, but not the request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runtime.errors import cause
from runtime.logging import get_logger

logger = get_logger(__name__)

#: A check that has not ended after this long has failed. A request is answered within two seconds.
ANSWER_SECONDS = 1.5

#: How long a result is reused: servers are checked no more often than this, however many requests there are.
FRESH_SECONDS = 1.0

#: How long a stop waits for the checks that are under way: longer than a connection of theirs waits for its server.
STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check.

    Attributes:
        ok: whether the check succeeded.
        detail: the result in a few words; of a failure, its cause.
        advice: what to do about a failure; None if nothing is wrong.
        required: whether the process cannot work while this fails.
    """

    ok: bool
    detail: str
    advice: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """A function that makes checks.

    Attributes:
        name: the name of the check that fails if ``look`` raises or does not end.
        look: returns the checks by name. It is called in a thread of its own.
        advice: what to do if it raises or does not end.
        required: whether the process cannot work then.
    """

    name: str
    look: Callable[[], Mapping[str, Check]]
    advice: str
    required: bool = True


class Readiness:
    """The checks of what a process needs for its work, made on request.

    Parameters:
        probes: the functions that make the checks.
    """

    def __init__(self, *probes: Probe) -> None:
        self._runs = [_Runs(probe) for probe in probes]
        self._failing: str | None = None

    def checks(self) -> dict[str, Check]:
        """Return the checks by name; wait no longer than ``ANSWER_SECONDS``."""
        for runs in self._runs:
            runs.begin()
        return {name: check for runs in self._runs for name, check in runs.checks().items()}

    def stop(self) -> None:
        """Make no further checks, and wait for those that are under way, because they use the caller's connections."""
        deadline = time.monotonic() + STOP_SECONDS
        for runs in self._runs:
            runs.refuse()
        for runs in self._runs:
            runs.wait(max(deadline - time.monotonic(), 0.0))

    def problem(self) -> str | None:
        """Return what keeps the process from its work, in one sentence; None if nothing does.

        It is logged if a different check fails than at the last call, and if no check fails any more.
        """
        checks = self.checks()
        problem, failing = problem_of(checks), next(_failing(checks), None)
        if failing != self._failing:
            if problem is not None:
                logger.warning("not ready", problem=problem)
            else:
                logger.info("ready again")
        self._failing = failing
        return problem


def problem_of(checks: Mapping[str, Check]) -> str | None:
    """Return the first failure that keeps a process from its work, in one sentence; None if there is none."""
    for name in _failing(checks):
        check = checks[name]
        return f"{name}: {check.detail}" + (f"; {check.advice}" if check.advice else "")
    return None


def _failing(checks: Mapping[str, Check]) -> Iterator[str]:
    return (name for name, check in checks.items() if check.required and not check.ok)


def document_of(checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return the document that ``/readyz`` shows to operators."""
    status = "ready" if problem_of(checks) is None else "not ready"
    return {"status": status, "checks": {name: asdict(check) for name, check in checks.items()}}


class _Runs:
    """The runs of one probe: never two at a time, each in a thread of its own."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._is_refused = False
        self._began_at = -FRESH_SECONDS
        self._checks: Mapping[str, Check] = {}

    def begin(self) -> None:
        """Start a run, unless the last one is recent or has not ended, or runs are refused."""
        with self._lock:
            now = time.monotonic()
            if self._is_refused or not self._ended.is_set() or now < self._began_at + FRESH_SECONDS:
                return
            self._began_at = now
            self._ended.clear()
        # A daemon thread, because a check that hangs must not delay the end of the process.
        threading.Thread(target=self._run, name=f"check {self._probe.name}", daemon=True).start()

    def refuse(self) -> None:
        """Start no further run."""
        with self._lock:
            self._is_refused = True

    def wait(self, seconds: float) -> None:
        """Wait for the run that is under way, if there is one."""
        self._ended.wait(seconds)

    def checks(self) -> Mapping[str, Check]:
        """Return the result of the last run, after it has ended or its time is up."""
        began_at = self._began_at
        if self._ended.wait(max(began_at + ANSWER_SECONDS - time.monotonic(), 0)):
            return self._checks
        return self._failed(f"no answer within {ANSWER_SECONDS:g} s")

    def _run(self) -> None:
        try:
            self._checks = self._probe.look()
        except Exception as error:  # noqa: BLE001 - any exception is the result of the check
            self._checks = self._failed(cause(error))
        finally:
            self._ended.set()

    def _failed(self, detail: str) -> dict[str, Check]:
        return {self._probe.name: Check(False, detail, self._probe.advice, self._probe.required)}
