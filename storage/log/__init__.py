"""Read the log: page by page, newest first for people, as it grows, and for one entity."""

from __future__ import annotations
