"""Processes: the supervisor, what it starts, and the embedded servers."""

from __future__ import annotations
