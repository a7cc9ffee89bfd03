"""Erasing people, and the list that keeps them from coming back."""

from __future__ import annotations
