"""Apply: from accepted notifications to state and history."""

from __future__ import annotations
