"""What a person reads of a page of the console."""

from __future__ import annotations

import html
import re


def words(page: str) -> str:
    """Return the text of a page, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
