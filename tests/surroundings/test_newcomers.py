"""A fresh copy of the project, with an environment of its own, shows the demo wherever a newcomer puts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.requirements import AS_NOBODY, needs_root

PROJECT = Path(__file__).parents[2]

#: What cannot be left out: where the commands are. Variables that name certificates or servers are not among it, so
#: that the certificates are those that the system trusts.
PATH = os.environ["PATH"]


@dataclass(frozen=True)
class Newcomer:
    """Where somebody tries the project, and with which environment."""

    folder: str = "project"
    locale: str = "C.UTF-8"
    path: str = PATH
    is_another_user: bool = False


WITHOUT_SBIN = ":".join(entry for entry in PATH.split(":") if not entry.rstrip("/").endswith("sbin"))

NEWCOMERS = {
    "a path with a space": Newcomer(folder="my project"),
    "another user of the machine": Newcomer(is_another_user=True),
    "no locale, and a path that is not ASCII": Newcomer(folder="prüfung", locale="C"),
    "a path with signs of the shell": Newcomer(folder="a'b;c&d*(e)"),
    "no /usr/sbin in PATH": Newcomer(path=WITHOUT_SBIN),
}


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path, which others may enter."""
    folder = Path(tempfile.mkdtemp(prefix="re-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def copy_of_the_project(to: Path) -> Path:
    """Copy every file that git knows or would add, and nothing that was made from them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    for name in map(os.fsdecode, filter(None, listed.stdout.split(b"\0"))):
        if (PROJECT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, to / name)
    return to


def run_the_demo(newcomer: Newcomer, home: Path) -> tuple[int, str]:
    """Return the exit code of `make demo`, and all that it printed."""
    folder = copy_of_the_project(home / newcomer.folder)
    if newcomer.is_another_user:
        subprocess.run(["chown", "--recursive", "nobody", home], check=True)
    environment = {"PATH": newcomer.path, "LC_ALL": newcomer.locale, "HOME": str(home), "COLUMNS": "200"}
    ran = subprocess.run(
        [*(AS_NOBODY if newcomer.is_another_user else ()), "make", "demo", "DEMO=--seconds 5"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    return ran.returncode, ran.stdout.decode(errors="replace")


def show_the_demo(newcomer: Newcomer, home: Path) -> None:
    exit_code, printed = run_the_demo(newcomer, home)
    assert exit_code == 0, printed
    assert printed.rstrip().endswith("Stopped; nothing is left running."), printed


@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize(
    "newcomer",
    [
        pytest.param(newcomer, id=name, marks=[needs_root] if newcomer.is_another_user else [])
        for name, newcomer in NEWCOMERS.items()
    ],
)
def test_the_demo_runs(newcomer: Newcomer, home: Path) -> None:
    show_the_demo(newcomer, home)


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_path_that_initdb_cannot_run_from_is_named_in_one_sentence(home: Path) -> None:
    exit_code, printed = run_the_demo(Newcomer(folder="a$HOME"), home)
    assert exit_code != 0
    assert "for which the $ in that path has a special meaning; move the project" in printed


@needs_root
@pytest.mark.timeout(900)
@pytest.mark.long
def test_the_demo_runs_with_everything_odd_at_once(home: Path) -> None:
    show_the_demo(Newcomer("prüfung 'a b'", locale="C", path=WITHOUT_SBIN, is_another_user=True), home)
