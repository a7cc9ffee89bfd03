"""What may not be kept: secrets, and what belongs to a person."""

from __future__ import annotations
