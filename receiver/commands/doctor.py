"""The command ``doctor``: what is right and wrong with a deployment, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import typer

from receiver.commands.json_output import JsonOption, print_json
from receiver.doctor.examination import examine
from receiver.doctor.findings import Finding, State
from receiver.terminal import console
from runtime.logging import configure_logging
from runtime.settings import SettingsError, load_settings

_STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "red", "not checked": "dim"}

_WIDTH = max(map(len, _STYLES))


def doctor(as_json: JsonOption = False) -> None:
    """Check settings, servers, processes and tenants, and show what to do; exit code 1 if something failed."""
    findings: list[Finding] = []
    for finding in _examine():
        findings.append(finding)
        if not as_json:
            _print(finding)
    is_ok = not any(finding.state == "failed" for finding in findings)
    if as_json:
        print_json({"is_ok": is_ok, "checks": [asdict(finding) for finding in findings]})
    if not is_ok:
        raise typer.Exit(1)


def _examine() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding("settings", "failed", str(error), "correct it; no other check can be made before")
        return
    configure_logging(settings.log_format, settings.log_level, process="doctor")
    yield from examine(settings)


def _print(finding: Finding) -> None:
    of_tenant = "" if finding.tenant is None else f"{finding.tenant}: "
    console.print(f"{finding.state:<{_WIDTH}}", style=_STYLES[finding.state], end="  ")
    line = f"{of_tenant}{finding.check}: {finding.detail}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if finding.advice is not None:
        console.print(f"{'':<{_WIDTH}}  → {finding.advice}", markup=False, highlight=False, soft_wrap=True)
