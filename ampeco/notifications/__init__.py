"""Notifications: their types, and how each is parsed."""

from __future__ import annotations
