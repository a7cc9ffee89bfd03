"""Tests stand alone: what two of them need is in a support module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "tests").rglob("*.py"))

PACKAGES = {"ampeco", "storage", "runtime", "workers", "receiver", "simulator", "migrations", "analytics", "bench"}


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import; the name is empty if it is the module itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def is_test_module(module: str, name: str) -> bool:
    parts = [*module.split("."), name]
    return parts[0] == "tests" and any(part.startswith("test_") or part == "conftest" for part in parts)


def is_private(module: str, name: str) -> bool:
    parts = [*module.split("."), name]
    return parts[0] in PACKAGES and any(part.startswith("_") and not part.startswith("__") for part in parts)


def test_what_is_refused_is_recognised() -> None:
    source = (
        "from tests.unit.test_a import b\nimport storage.x\nfrom storage.x import _y, z\nfrom tests.support import log"
    )
    assert [name for module, name in imported(source) if is_test_module(module, name)] == ["b"]
    assert [name for module, name in imported(source) if is_private(module, name)] == ["_y"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_a_test_module_or_a_private_name(path: Path) -> None:
    refused = [
        f"{module} {name}"
        for module, name in imported(path.read_text())
        if is_test_module(module, name) or is_private(module, name)
    ]
    assert refused == []
