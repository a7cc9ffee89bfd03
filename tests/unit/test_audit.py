"""A dependency that is known to be vulnerable stops a change, and one that was not checked is reported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOUND = {"name": "sound", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
VULNERABLE = {"name": "weak", "version": "2", "vulns": [{"id": "GHSA-1", "fix_versions": ["3"]}]}


@pytest.fixture
def audit() -> ModuleType:
    specification = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "lenient", "ends_with", "message"),
    [
        ([SOUND], False, 0, "1 dependencies, none"),
        ([SOUND, VULNERABLE], True, 1, "weak 2: GHSA-1, fixed in 3"),
        ([UNKNOWN, VULNERABLE], True, 1, "weak 2: GHSA-1, fixed in 3"),
        ([SOUND, UNKNOWN], False, 3, "NOT AUDITED: 1 dependencies could not be asked about: not found"),
        ([], False, 3, "NOT AUDITED: all dependencies could not be asked about: no route"),
        ([], True, 0, "NOT AUDITED"),
    ],
)
def test_what_the_database_says_decides(
    audit: ModuleType,
    found: list[dict[str, Any]],
    lenient: bool,
    ends_with: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "locked", lambda directory: directory)
    monkeypatch.setattr(audit, "advised", lambda _requirements: (found, "no route"))
    monkeypatch.setattr("sys.argv", ["audit", *(["--if-reachable"] if lenient else [])])
    assert audit.main() == ends_with
    assert message in capsys.readouterr().out


@pytest.mark.process
def test_every_pinned_dependency_has_its_hashes(audit: ModuleType, tmp_path: Path) -> None:
    content = "".join(path.read_text() for path in audit.locked(tmp_path))
    lines = content.replace("\\\n", "").splitlines()
    pinned = [line for line in lines if "==" in line and not line.lstrip().startswith("#")]
    assert len(pinned) > 50
    assert all("--hash=sha256:" in line for line in pinned)
    assert {"dbt-core", "sqlalchemy"} <= {line.partition("==")[0] for line in pinned}
