"""Renew the assets that others made, from npm, at the versions that each ``vendor.json`` names.

There is one for the console and one for the site of the documentation. To upgrade a package, change its version there
and run ``make vendor``. The same versions make the same files. It needs Node's ``npm``; nothing else in
the project does.
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

ROOT = Path(__file__).parents[1]
MANIFESTS = (
    ROOT / "receiver" / "console" / "static" / "vendor" / "vendor.json",
    ROOT / "docs" / "assets" / "vendor.json",
)


def fetch(name: str, version: str, directory: Path) -> Path:
    """Download a package of npm, and return the folder of its files."""
    command = ["npm", "pack", f"{name}@{version}", "--silent", "--pack-destination", str(directory)]
    archive = directory / subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    with tarfile.open(archive) as opened:
        opened.extractall(directory / name, filter="data")
    return directory / name / "package"


def renew(package: dict[str, Any], vendor: Path, directory: Path) -> None:
    """Write the files of a package into a folder, and their hashes into its entry."""
    fetched = fetch(package["name"], package["version"], directory)
    for entry in package["files"]:
        source, target = fetched / entry["source"], vendor / entry["file"]
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
    for path in MANIFESTS:
        manifest = json.loads(path.read_text())
        with tempfile.TemporaryDirectory() as directory:
            for package in manifest["packages"]:
                renew(package, path.parent, Path(directory))
                print(f"{package['name']} {package['version']}: {', '.join(each['file'] for each in package['files'])}")
        path.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
