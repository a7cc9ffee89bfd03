"""Print how many lines and branches of the packages the tests reach, and fail below the floors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

#: The smallest shares, in percent.
FLOORS = {"lines": 95.0, "branches": 90.0}

#: How many of the least covered files are shown.
SHOWN = 15


def main() -> None:
    """Read what `coverage combine` left."""
    report = Path(".local/reached.json")
    report.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)]
    subprocess.run(command, check=True)
    document = json.loads(report.read_text())
    missing = sorted(document["files"].items(), key=lambda file: -file[1]["summary"]["missing_lines"])
    for path, file in missing[:SHOWN]:
        print(f"{file['summary']['percent_covered']:6.1f} %  {path}: {_ranges(file['missing_lines'])}")
    totals = document["totals"]
    reached = {
        "lines": 100 * totals["covered_lines"] / totals["num_statements"],
        "branches": 100 * totals["covered_branches"] / totals["num_branches"],
    }
    for name, share in reached.items():
        print(f"{share:.1f} % of {name} are reached; the floor is {FLOORS[name]:.0f} %.")
    if any(share < FLOORS[name] for name, share in reached.items()):
        sys.exit(1)


def _ranges(lines: list[int]) -> str:
    parts: list[list[int]] = []
    for line in lines:
        if parts and line == parts[-1][-1] + 1:
            parts[-1].append(line)
        else:
            parts.append([line])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


if __name__ == "__main__":
    main()
