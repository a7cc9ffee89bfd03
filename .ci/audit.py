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


def locked(directory: Path) -> Path:
    """Write every dependency of uv.lock with its hashes to a requirements file, and return its path."""
    requirements = directory / "requirements.txt"
    command = [BIN / "uv", "export", "--quiet", "--frozen", "--all-extras", "--all-groups", "--no-emit-project"]
    subprocess.run([*command, "--output-file", requirements], check=True, stdout=subprocess.DEVNULL)
    return requirements


def advised(requirements: Path) -> tuple[list[dict[str, Any]], str]:
    """Return what pip-audit reports for each dependency; or an empty list and the reason."""
    command = [BIN / "pip-audit", "--requirement", requirements, "--require-hashes", "--disable-pip"]
    ended = subprocess.run(
        [*command, "--progress-spinner=off", "--format=json"], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(ended.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        return [], (ended.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]


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
