"""The command ``doctor``: what is right and wrong with a deployment, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import typer

from receiver.commands.json_output import JsonOption, print_json
from receiver.doctor.diagnosis import Diagnosis, DiagnosisState
from receiver.doctor.examination import examine
from receiver.terminal import console
from runtime.logging import configure_logging
from runtime.settings import SettingsError, load_settings

_STYLES: dict[DiagnosisState, str] = {"ok": "green", "warning": "yellow", "failed": "red", "not checked": "dim"}

_WIDTH = max(map(len, _STYLES))


def doctor(as_json: JsonOption = False) -> None:
    """Check settings, servers, processes and tenants, and show what to do; exit code 1 if something failed."""
    diagnoses: list[Diagnosis] = []
    for diagnosis in _examine():
        diagnoses.append(diagnosis)
        if not as_json:
            _print(diagnosis)
    is_ok = not any(diagnosis.state == "failed" for diagnosis in diagnoses)
    if as_json:
        print_json({"is_ok": is_ok, "checks": [asdict(diagnosis) for diagnosis in diagnoses]})
    if not is_ok:
        raise typer.Exit(1)


def _examine() -> Iterator[Diagnosis]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Diagnosis("settings", "failed", str(error), "correct it; no other check can be made before")
        return
    configure_logging(settings.log_format, settings.log_level, process="doctor")
    yield from examine(settings)


def _print(diagnosis: Diagnosis) -> None:
    of_tenant = "" if diagnosis.tenant is None else f"{diagnosis.tenant}: "
    console.print(f"{diagnosis.state:<{_WIDTH}}", style=_STYLES[diagnosis.state], end="  ")
    line = f"{of_tenant}{diagnosis.check}: {diagnosis.detail}"
    console.print(line, highlight=False, soft_wrap=True)
    if diagnosis.advice is not None:
        console.print(f"{'':<{_WIDTH}}  → {diagnosis.advice}", highlight=False, soft_wrap=True)
