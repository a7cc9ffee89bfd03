"""Advisory locks: their numbers stand in one place, and the migrations use no others."""

from __future__ import annotations

import re
from pathlib import Path

from storage.locks import Lock

PROJECT = Path(__file__).parents[3]
PACKAGES = ("storage", "workers", "receiver", "migrations")

#: The call of an advisory lock with a number in the statement itself.
NUMBERED = re.compile(r"advisory\w*\(\s*([\d_]+)")


def sources() -> dict[str, str]:
    files = [path for package in PACKAGES for path in (PROJECT / package).rglob("*") if path.suffix in (".py", ".sql")]
    return {str(path.relative_to(PROJECT)): path.read_text() for path in files}


def test_applied_migrations_use_numbers_of_the_list() -> None:
    used = {int(number) for source in sources().values() for number in NUMBERED.findall(source)}
    assert used == {Lock.MAKE_PARTITIONS, Lock.DROP_LOG_DAY, Lock.METER_PARTITIONS}
    assert used < set(Lock)


def test_no_other_module_takes_an_advisory_lock() -> None:
    taking = {name for name, source in sources().items() if "_advisory_" in source}
    assert {name for name in taking if not name.startswith(("migrations/versions", "migrations/sql"))} == {
        "storage/locks.py"
    }
