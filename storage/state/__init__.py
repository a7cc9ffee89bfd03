"""The state of entities and its history: facts, how they are folded, and how they are written."""

from __future__ import annotations
