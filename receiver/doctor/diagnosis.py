"""Diagnoses: the result of each check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from runtime.errors import cause
from runtime.logging import get_logger
from runtime.readiness import Check

logger = get_logger(__name__)

#: ``warning``: the service works, but not as it should. ``not checked``: another failure, or a setting, prevents it.
DiagnosisState = Literal["ok", "warning", "failed", "not checked"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        check: what was checked.
        state: the result.
        detail: what was seen; of ``not checked``, why.
        advice: what to do about it; None if there is nothing to do.
        tenant: the tenant that it is about; None if it is about the deployment.
    """

    check: str
    state: DiagnosisState
    detail: str
    advice: str | None = None
    tenant: str | None = None


def from_check(name: str, check: Check) -> Diagnosis:
    """Return the diagnosis of a check of readiness: what is not required for readiness is a warning."""
    state: DiagnosisState = "ok" if check.ok else "failed" if check.required else "warning"
    return Diagnosis(name, state, check.detail, check.advice)


def not_checked(names: Iterable[str], why: str, tenant: str | None = None) -> Iterator[Diagnosis]:
    """Yield a diagnosis for each check that could not be made, all for the same reason."""
    return (Diagnosis(name, "not checked", why, tenant=tenant) for name in names)


def attempt(name: str, look: Callable[[], Iterable[Diagnosis]], advice: str) -> list[Diagnosis]:
    """Make checks; if one of them raises, return what was found before, and the error as a failure.

    Parameters:
        name: the name of the check that fails.
        look: makes the checks.
        advice: what to do if it raises.
    """
    found: list[Diagnosis] = []
    try:
        found.extend(look())
    except Exception as error:
        logger.debug("check failed", check=name, exc_info=True)
        found.append(Diagnosis(name, "failed", cause(error), advice))
    return found
