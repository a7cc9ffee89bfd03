"""What is watched: processes, subscriptions, traffic, tokens and resends."""

from __future__ import annotations
