"""The simulated API."""

from __future__ import annotations
