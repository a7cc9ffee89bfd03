"""Ask the advisory database about every dependency in uv.lock.

Ends with 0 where none is known to be vulnerable, with 1 where one is, and with 3 where the
database could not be asked about all of them: no bad news, and no good news either. With
``--if-reachable`` that is told, and is no failure.
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
    """Every dependency of uv.lock with its hashes, as a file of requirements."""
    requirements = directory / "requirements.txt"
    command = [BIN / "uv", "export", "--quiet", "--frozen", "--all-extras", "--all-groups", "--no-emit-project"]
    subprocess.run([*command, "--output-file", requirements], check=True, stdout=subprocess.DEVNULL)
    return requirements


def advised(requirements: Path) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit found for each dependency; or nothing, and why."""
    command = [BIN / "pip-audit", "--requirement", requirements, "--require-hashes", "--disable-pip"]
    ended = subprocess.run(
        [*command, "--progress-spinner=off", "--format=json"], capture_output=True, text=True, check=False
    )
    try:
        return json.loads(ended.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        return [], (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        found, why = advised(locked(Path(directory)))
    asked = [one for one in found if "skip_reason" not in one]
    vulnerable = [(one, weakness) for one in asked for weakness in one["vulns"]]
    for one, weakness in vulnerable:
        mended = ", ".join(weakness["fix_versions"]) or "no version"
        print(f"{one['name']} {one['version']}: {weakness['id']}, mended in {mended}")
    if vulnerable:
        return VULNERABLE
    if not asked or len(asked) < len(found):
        skipped = next((one["skip_reason"] for one in found if "skip_reason" in one), why)
        print(f"NOT AUDITED: {len(found) - len(asked) or 'all'} dependencies could not be asked about: {skipped}")
        return 0 if "--if-reachable" in sys.argv else NOT_ASKED
    print(f"{len(asked)} dependencies, none with a known vulnerability.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
