"""The garbage collector does not look through what a process loaded at its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.service import write_tenants

ACCEPT = """
import gc, os
from receiver.accept.serve import app
before = gc.get_freeze_count()
made = app()
print(before, gc.get_freeze_count(), gc.isenabled(), flush=True)
os._exit(0)
"""

WORK = """
import gc, os, sys, threading, time
from receiver.commands.main import main
before = gc.get_freeze_count()
def look():
    while "workers.process" not in sys.modules or not gc.isenabled():
        time.sleep(0.01)
    print(before, gc.get_freeze_count(), gc.isenabled(), flush=True)
    os._exit(0)
threading.Thread(target=look, daemon=True).start()
sys.argv = ["ampeco-receiver", "work", "--queue", "refresh"]
main()
"""


def frozen(code: str, database_url: str, redis_url: str, directory: Path) -> tuple[int, int]:
    """Return how many objects are left out of collections before and after the start of a process."""
    settings = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(write_tenants(directory)),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, check=True
    )
    before, after, is_enabled = done.stdout.splitlines()[-1].split()
    assert is_enabled == "True"
    return int(before), int(after)


def test_each_process_that_accepts_freezes_what_it_loaded(database_url: str, redis_url: str, tmp_path: Path) -> None:
    before, after = frozen(ACCEPT, database_url, redis_url, tmp_path)
    assert before == 0
    assert after > 50_000


def test_a_work_process_freezes_what_it_loaded(database_url: str, redis_url: str, tmp_path: Path) -> None:
    before, after = frozen(WORK, database_url, redis_url, tmp_path)
    assert after > before + 100_000
