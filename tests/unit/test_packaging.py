"""The package holds what it promises, uv notices each change of it, and the release is the same wherever it is named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import migrations

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
PACKAGES: list[str] = WHEEL["packages"]
EXCLUDED = [ROOT / path for path in WHEEL["exclude"]]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def packaged_files(package: str) -> list[Path]:
    files = [path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [path for path in files if not any(path.is_relative_to(excluded) for excluded in EXCLUDED)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_uv_builds_again_when_any_file_of_a_package_changes(package: str) -> None:
    (pattern,) = [key["file"] for key in PROJECT["tool"]["uv"]["cache-keys"] if "/" in key["file"]]
    folders, suffixes = re.fullmatch(r"\{([\w,]+)\}/\*\*/\*\.\{([\w,]+)\}", pattern).groups()  # type: ignore[union-attr]
    assert package in folders.split(",")
    assert {path.suffix or path.name for path in packaged_files(package)} <= {
        f".{name}" for name in suffixes.split(",")
    }


def test_the_functions_of_the_database_can_be_made_in_one_of_any_encoding() -> None:
    for path in (ROOT / "migrations" / "sql").glob("*.sql"):
        assert path.read_text(encoding="utf-8").isascii(), path.name


def test_the_release_is_the_same_wherever_it_is_named() -> None:
    release = PROJECT["project"]["version"]
    assert version("ampeco-receiver") == release
    dated = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.MULTILINE)
    assert dated[0] == release
    patches = [f"deploy/kubernetes/base/patches/{kind}.yaml" for kind in ("deployment", "job", "cronjob")]
    naming = ["deploy/README.md", "deploy/Dockerfile", "deploy/compose.yaml", "docs/operations/kubernetes.md", *patches]
    for file in naming:
        assert set(re.findall(r"ampeco-receiver:(\d[\w.]*)", (ROOT / file).read_text())) == {release}, file
    for file in ("docs/openapi.yaml", "docs/openapi-admin.yaml"):
        described = yaml.safe_load((ROOT / file).read_text())["info"]["version"]
        assert release.startswith(f"{described}."), file


def test_the_changelog_names_the_release_of_each_revision() -> None:
    rows = re.findall(r"^\| ([\d.]+|unreleased) \| ([\d-]+|–) \| (\d{4})(?: to (\d{4}))? \|$", CHANGELOG, re.MULTILINE)
    named = [f"{number:04}" for *_, first, last in rows for number in range(int(first), int(last or first) + 1)]
    assert sorted(named) == migrations.revisions()
    released = dict(re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$", CHANGELOG, re.MULTILINE))
    assert {release: date for release, date, *_ in rows if release != "unreleased"} == released


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("ampeco-receiver", f"ampeco-receiver {version('ampeco-receiver')}, tables of revision {migrations.head()}\n"),
        ("ampeco-simulator", f"ampeco-simulator {version('ampeco-receiver')}\n"),
    ],
)
def test_a_program_shows_its_version(program: str, shown: str) -> None:
    path = Path(sys.executable).parent / program
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, shown), done.stderr
