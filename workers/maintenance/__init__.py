"""Replay, rebuild and erase."""

from __future__ import annotations
