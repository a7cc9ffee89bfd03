"""The program that builds the documentation as a site."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_builder() -> ModuleType:
    """Return ``.ci/site.py`` as a module."""
    specification = importlib.util.spec_from_file_location("documentation_site", ROOT / ".ci" / "site.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def build_site(folder: Path) -> Path:
    """Build the site below a folder, and return where it is.

    If Zensical is not installed, skip the test; in CI, where ``.ci/run`` installs it, let it fail.
    """
    if not (Path(sys.executable).parent / "zensical").exists():
        assert "CI" not in os.environ, "`make site` installs Zensical"
        pytest.skip("Zensical is not installed: run `make site`")
    built: Path = load_builder().build(folder)
    return built
