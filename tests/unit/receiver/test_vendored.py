"""The console's assets of others are those that ``vendor.json`` names: the same bytes, with their licences."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import receiver.console

VENDOR = Path(receiver.console.__file__).parent / "static" / "vendor"
PACKAGES: list[dict[str, Any]] = json.loads((VENDOR / "vendor.json").read_text())["packages"]
FILES: dict[str, str] = {each["file"]: each["sha256"] for package in PACKAGES for each in package["files"]}

#: How the text of each licence begins to name it.
LICENCES = {
    "0BSD": "Zero-Clause BSD",
    "MIT": "MIT License",
    "ISC": "Permission to use, copy, modify, and/or distribute",
}


@pytest.mark.parametrize("name", FILES)
def test_a_vendored_file_has_the_hash_of_the_manifest(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == FILES[name]


def test_no_file_is_vendored_that_the_manifest_does_not_name() -> None:
    assert {path.name for path in VENDOR.iterdir()} == FILES.keys() | {"vendor.json"}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package["name"]))
def test_the_licence_of_a_package_lies_beside_its_files(package: dict[str, Any]) -> None:
    (licence,) = [each["file"] for each in package["files"] if each["source"] == "LICENSE"]
    text = " ".join((VENDOR / licence).read_text().split())
    assert LICENCES[package["licence"]].casefold() in text.casefold()


def test_the_map_is_small_enough_to_be_loaded_with_a_page() -> None:
    assert (VENDOR / "world.svg").stat().st_size < 250_000
