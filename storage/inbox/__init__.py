"""The inbox: the log of accepted notifications, and the batches that are to be applied."""

from __future__ import annotations
