"""The sample notifications and API answers in ``tests/samples``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SAMPLES = Path(__file__).parents[2] / "samples"

#: The file names of every sample notification.
NOTIFICATIONS = sorted(path.name for path in _SAMPLES.glob("*.json") if not path.name.startswith("_"))


def sample(name: str) -> dict[str, Any]:
    """Return a fresh copy of one sample, by its path below ``tests/samples``."""
    content: dict[str, Any] = json.loads((_SAMPLES / name).read_text())
    return content
