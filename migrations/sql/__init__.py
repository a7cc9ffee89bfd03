"""The functions and views of the database, one file each; its name begins with the revision that makes it."""

from __future__ import annotations

from pathlib import Path


def read_sql(name: str) -> str:
    """Return the statement in a file of this folder.

    Parameters:
        name: the name of the file, without ``.sql``.
    """
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
