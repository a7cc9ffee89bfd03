"""Whether a process can do its work, and what keeps it from it.

Checks run in the background, so that the answer comes soon whatever a server does: one that swallows packets, or
stands still, keeps a thread waiting, and nobody who asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workers.errors import cause
from workers.logs import get_logger

logger = get_logger(__name__)

#: A check that has not ended after this long has failed. Those who ask are answered within two seconds.
ANSWER_SECONDS = 1.5

#: How long an answer is good for: servers are asked no more often, however often we are.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        detail: what was found, in a few words; of a failure, its cause.
        advice: what to do about a failure; None where nothing is wrong.
        required: whether the process cannot do its work while this fails.
    """

    ok: bool
    detail: str
    advice: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """How something is checked.

    Attributes:
        name: of the check that fails when ``look`` raises, or does not end.
        look: returns what it found, by name. It is called in a thread of its own.
        advice: what to do when it raises, or does not end.
        required: whether the process cannot do its work then.
    """

    name: str
    look: Callable[[], Mapping[str, Check]]
    advice: str
    required: bool = True


class Readiness:
    """What a process needs for its work, checked when somebody asks.

    Parameters:
        probes: how each need is checked.
    """

    def __init__(self, *probes: Probe) -> None:
        self._runs = [_Runs(probe) for probe in probes]
        self._failing: str | None = None

    def checks(self) -> dict[str, Check]:
        """Return what is found, by name; waits no longer than ``ANSWER_SECONDS``."""
        for runs in self._runs:
            runs.begin()
        return {name: check for runs in self._runs for name, check in runs.found().items()}

    def problem(self) -> str | None:
        """Return what keeps the process from its work, in one sentence; None where nothing does.

        It is logged when another check fails than when this was last called, and when none does any more.
        """
        checks = self.checks()
        found, failing = problem_of(checks), next(_failing(checks), None)
        if failing != self._failing:
            if found is not None:
                logger.warning("not ready", problem=found)
            else:
                logger.info("ready again")
        self._failing = failing
        return found


def problem_of(checks: Mapping[str, Check]) -> str | None:
    """Return the first of the failures that keep a process from its work, in one sentence."""
    for name in _failing(checks):
        check = checks[name]
        return f"{name}: {check.detail}" + (f"; {check.advice}" if check.advice else "")
    return None


def _failing(checks: Mapping[str, Check]) -> Iterator[str]:
    return (name for name, check in checks.items() if check.required and not check.ok)


def document_of(checks: Mapping[str, Check]) -> dict[str, Any]:
    """Return the checks as ``/readyz`` shows them to operators."""
    status = "ready" if problem_of(checks) is None else "not ready"
    return {"status": status, "checks": {name: asdict(check) for name, check in checks.items()}}


class _Runs:
    """The runs of one probe: never two at once, each with a thread of its own."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._began_at = -FRESH_SECONDS
        self._found: Mapping[str, Check] = {}

    def begin(self) -> None:
        """Look again, unless the last look is young or has not ended."""
        with self._lock:
            now = time.monotonic()
            if not self._ended.is_set() or now < self._began_at + FRESH_SECONDS:
                return
            self._began_at = now
            self._ended.clear()
        # A daemon: a look that hangs does not hold up the end of the process.
        threading.Thread(target=self._run, name=f"check {self._probe.name}", daemon=True).start()

    def found(self) -> Mapping[str, Check]:
        """Return what the last look found, once it has ended or its time is up."""
        began_at = self._began_at
        if self._ended.wait(max(began_at + ANSWER_SECONDS - time.monotonic(), 0)):
            return self._found
        return self._failed(f"no answer within {ANSWER_SECONDS:g} s")

    def _run(self) -> None:
        try:
            self._found = self._probe.look()
        except Exception as error:  # noqa: BLE001 - whatever it raises is what was found
            self._found = self._failed(cause(error))
        finally:
            self._ended.set()

    def _failed(self, detail: str) -> dict[str, Check]:
        return {self._probe.name: Check(False, detail, self._probe.advice, self._probe.required)}
