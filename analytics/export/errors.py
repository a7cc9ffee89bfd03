"""The error of an export; it is apart, because the other modules need the extra ``export``."""

from __future__ import annotations


class ExportError(Exception):
    """An export cannot be made or continued; the message is one sentence for the operator, without a secret."""
