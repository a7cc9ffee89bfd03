"""The sample notifications and API answers in ``ampeco/samples``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ampeco

_SAMPLES = Path(ampeco.__file__).parent / "samples"

#: The file names of every sample notification.
NOTIFICATIONS = sorted(path.name for path in _SAMPLES.glob("*.json") if not path.name.startswith("_"))


def sample(name: str) -> dict[str, Any]:
    """Return a fresh copy of one sample, by its path below ``ampeco/samples``."""
    content: dict[str, Any] = json.loads((_SAMPLES / name).read_text())
    return content
