"""Ask the advisory database about every dependency in uv.lock.

The exit code is 0 if no dependency has a known vulnerability, 1 if one has, and 3 if the database
could not be asked about all of them, so that the result is unknown. With ``--if-reachable`` the
last case is only printed, and the exit code is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent

VULNERABLE = 1
NOT_ASKED = 3


#: What is installed together: dbt wants other releases of what dev needs.
TOGETHER = (("--all-extras", "--all-groups", "--no-group", "dbt"), ("--only-group", "dbt"))


def locked(directory: Path) -> list[Path]:
    """Write every dependency of uv.lock with its hashes to requirements files, and return their paths."""
    written = []
    for number, options in enumerate(TOGETHER):
        requirements = directory / f"requirements-{number}.txt"
        command = [BIN / "uv", "export", "--quiet", "--frozen", *options, "--no-emit-project"]
        subprocess.run([*command, "--output-file", requirements], check=True, stdout=subprocess.DEVNULL)
        written.append(requirements)
    return written


def advised(requirements: list[Path]) -> tuple[list[dict[str, Any]], str]:
    """Return what pip-audit reports for each dependency; or an empty list and the reason."""
    dependencies: list[dict[str, Any]] = []
    for path in requirements:  # one at a time: pip-audit refuses two versions of a dependency
        command = [BIN / "pip-audit", "--requirement", path, "--require-hashes", "--disable-pip"]
        ended = subprocess.run(
            [*command, "--progress-spinner=off", "--format=json"], capture_output=True, text=True, check=False
        )
        try:
            dependencies += json.loads(ended.stdout)["dependencies"]
        except (ValueError, KeyError):
            return [], (ended.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
    return dependencies, ""


def main() -> int:
    """Print the known vulnerabilities, and return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        dependencies, error = advised(locked(Path(directory)))
    audited = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    vulnerable = [(dependency, advisory) for dependency in audited for advisory in dependency["vulns"]]
    for dependency, advisory in vulnerable:
        fixed = ", ".join(advisory["fix_versions"]) or "no version"
        print(f"{dependency['name']} {dependency['version']}: {advisory['id']}, fixed in {fixed}")
    if vulnerable:
        return VULNERABLE
    if not audited or len(audited) < len(dependencies):
        reasons = (dependency["skip_reason"] for dependency in dependencies if "skip_reason" in dependency)
        count = len(dependencies) - len(audited) or "all"
        print(f"NOT AUDITED: {count} dependencies could not be asked about: {next(reasons, error)}")
        return 0 if "--if-reachable" in sys.argv else NOT_ASKED
    print(f"{len(audited)} dependencies, none with a known vulnerability.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
