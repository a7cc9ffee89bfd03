"""The accept path: from a request to a committed notification and its 202."""

from __future__ import annotations
