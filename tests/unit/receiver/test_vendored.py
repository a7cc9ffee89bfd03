"""The assets of others are those that each ``vendor.json`` names: the same bytes, with their licences."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import receiver.console

#: The folders of the console, and of the site of the documentation.
CONSOLE = Path(receiver.console.__file__).parent / "static" / "vendor"
FOLDERS = (CONSOLE, Path(__file__).parents[3] / "docs" / "assets")

PACKAGES: list[tuple[Path, dict[str, Any]]] = [
    (folder, package) for folder in FOLDERS for package in json.loads((folder / "vendor.json").read_text())["packages"]
]
FILES: dict[Path, str] = {
    folder / each["file"]: each["sha256"] for folder, package in PACKAGES for each in package["files"]
}

#: How the text of each licence begins to name it.
LICENCES = {
    "0BSD": "Zero-Clause BSD",
    "MIT": "MIT License",
    "ISC": "Permission to use, copy, modify, and/or distribute",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_vendored_file_has_the_hash_of_the_manifest(path: Path) -> None:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == FILES[path]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_file_is_vendored_that_the_manifest_does_not_name(folder: Path) -> None:
    named = {path.name for path in FILES if path.parent == folder}
    assert {path.name for path in folder.iterdir()} == named | {"vendor.json"}


@pytest.mark.parametrize(("folder", "package"), PACKAGES, ids=[str(package["name"]) for _, package in PACKAGES])
def test_the_licence_of_a_package_lies_beside_its_files(folder: Path, package: dict[str, Any]) -> None:
    (licence,) = [each["file"] for each in package["files"] if each["source"] == "LICENSE"]
    text = " ".join((folder / licence).read_text().split())
    assert LICENCES[package["licence"]].casefold() in text.casefold()


def test_the_map_is_small_enough_to_be_loaded_with_a_page() -> None:
    assert (CONSOLE / "world.svg").stat().st_size < 250_000
