"""Renew the assets of the console that others made, from npm, at the versions that ``vendor.json`` names.

To upgrade a package, change its version there and run ``make vendor``. The same versions make the same files. It needs
Node's ``npm``; nothing else in the project does.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from world_map import draw

VENDOR = Path(__file__).parents[1] / "receiver" / "console" / "static" / "vendor"
MANIFEST = VENDOR / "vendor.json"


def fetch(name: str, version: str, directory: Path) -> Path:
    """Download a package of npm, and return the folder of its files."""
    command = ["npm", "pack", f"{name}@{version}", "--silent", "--pack-destination", str(directory)]
    archive = directory / subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with tarfile.open(archive) as opened:
        opened.extractall(directory / name, filter="data")
    return directory / name / "package"


def renew(package: dict[str, Any], directory: Path) -> None:
    """Write the files of a package, and their hashes into its entry."""
    fetched = fetch(package["name"], package["version"], directory)
    for entry in package["files"]:
        source, target = fetched / entry["source"], VENDOR / entry["file"]
        if target.suffix == ".svg":
            target.write_text(draw(json.loads(source.read_text())), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
        entry["sha256"] = hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> int:
    """Renew every file, and return the exit code."""
    if shutil.which("npm") is None:
        print("vendor: there is no npm: install Node, which only this target needs.", file=sys.stderr)
        return 1
    manifest = json.loads(MANIFEST.read_text())
    with tempfile.TemporaryDirectory() as directory:
        for package in manifest["packages"]:
            renew(package, Path(directory))
            print(f"{package['name']} {package['version']}: {', '.join(each['file'] for each in package['files'])}")
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
