"""The pages of the documentation, as their readers see them."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def fenced(page: str, *languages: str) -> list[str]:
    """Return the blocks of a page in these languages."""
    return [body for _, language, body in _FENCE.findall(page) if language in languages]


def prose(page: str) -> str:
    """Return the page without its blocks."""
    return _FENCE.sub("", page)


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
