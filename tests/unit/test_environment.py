"""What stands in the way of the virtual environment is said in one sentence."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "environment.py"


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.process
def test_a_path_that_can_hold_no_environment_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, SCRIPT, ".venv"], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    said = f"make: no virtual environment can be in {folder}, because of the : in its path: move the folder.\n"
    assert done.stderr == said


def test_an_old_python_is_named(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit, match=r"is Python 3\.9, and 3\.11 or later is needed"):
        environment.check(".venv")


@pytest.mark.process
def test_where_the_index_is_not_trusted_the_certificates_of_the_system_are_tried(environment: ModuleType) -> None:
    needs = ["sh", "-c", 'test -n "$STORE" || { echo "invalid peer certificate: UnknownIssuer" >&2; exit 2; }']
    environment.run(needs, {}, {"STORE": "1"}, "uv")
    with pytest.raises(SystemExit, match="uv does not trust the certificate of the package index"):
        environment.run(needs, {}, {}, "uv")


def test_the_project_is_found_by_a_path_that_any_locale_can_read(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "mü"
    packages = project / ".venv/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    (packages / "_editable.pth").write_text(f"{project}\n")
    (packages / "other.pth").write_text("import os\n")
    monkeypatch.chdir(project)
    environment.make_path_relative(".venv")
    assert (packages / "_editable.pth").read_text() == "../../../.."
    assert (packages / "other.pth").read_text() == "import os\n"
