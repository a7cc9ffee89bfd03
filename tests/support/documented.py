"""The commands that a page of the documentation shows, so that a test follows them as an operator does."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def section(page: str, title: str) -> str:
    """Return the text of a section with its subsections, without the title.

    Parameters:
        page: the path of the page, from the root of the project.
        title: the heading, with its ``#``.
    """
    level = len(title) - len(title.lstrip("#"))
    _, found, rest = f"\n{(ROOT / page).read_text()}".partition(f"\n{title}\n")
    assert found, f"{page} has no section {title}"
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(text: str, language: str = "sh") -> list[str]:
    """Return the code blocks of one language, without the indentation of the list that they are in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]
