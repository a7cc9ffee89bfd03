"""The demo and the chaos test, against the simulator."""

from __future__ import annotations
